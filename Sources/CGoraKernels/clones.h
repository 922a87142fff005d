// How the hot loops are compiled: for AVX-512, AVX2 with fused products and the baseline, chosen at load time by what the CPU has.
// (A clone for a named CPU, such as haswell, would be chosen on that one alone.) Not under ThreadSanitizer: what chooses would run before
// the sanitizer is there.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && !__has_feature(thread_sanitizer)
#define CLONES __attribute__((target_clones("avx512f", "arch=x86-64-v3", "default")))
// Where another function is for AVX-512.
#define CLONES_BUT_AVX512 __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define CLONES
#define CLONES_BUT_AVX512
#endif
// Within a function: sums may be reordered into lanes; NaN and infinity keep their meaning.
#define REASSOCIATE _Pragma("clang fp reassociate(on)")

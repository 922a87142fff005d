// How the hot loops are compiled: for AVX-512, AVX2 and the baseline, chosen at load time.
#pragma once

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define CLONES
#endif
// Within a function: sums may be reordered into lanes; NaN and infinity keep their meaning.
#define REASSOCIATE _Pragma("clang fp reassociate(on)")

// Vectors of sixteen elements, as the widest CPUs have them; the compiler cuts them up for others.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

// All of it is inlined: no vector crosses a call.
#pragma clang diagnostic ignored "-Wpsabi"
#define INLINE static inline __attribute__((always_inline))

enum { width = 16 };
typedef float lanes __attribute__((vector_size(4 * width), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * width)));
typedef uint32_t words __attribute__((vector_size(4 * width)));
typedef uint16_t halves __attribute__((vector_size(2 * width), aligned(2)));

// Elements in bf16.
INLINE lanes widened_lanes(const uint16_t *x) { return (lanes)(__builtin_convertvector(*(const halves *)x, words) << 16); }

// The nearest bf16, ties to even, in the upper halves; of a NaN the lower half must be zero, as where the CPU has made it.
INLINE words rounded(lanes v) {
  words bits = (words)v;
  return bits + 0x7FFF + (bits >> 16 & 1);
}

INLINE float widened(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Of memory in f32 or bf16, from element i on.
INLINE float element(const void *w, bool bf16, size_t i) { return bf16 ? widened(((const uint16_t *)w)[i]) : ((const float *)w)[i]; }

INLINE lanes elements(const void *w, bool bf16, size_t i) {
  return bf16 ? widened_lanes((const uint16_t *)w + i) : *(const lanes *)((const float *)w + i);
}

// The sums of eight vectors' lanes: vectors are added to each other half by half, so that one is left of eight.
INLINE void sums_of_eight(const lanes s[8], float *sums) {
  lanes four[4], two[2], one;
  for (int i = 0; i < 4; i++)
    four[i] = __builtin_shufflevector(s[i], s[i + 4], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
              __builtin_shufflevector(s[i], s[i + 4], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  for (int i = 0; i < 2; i++)
    two[i] = __builtin_shufflevector(four[i], four[i + 2], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
             __builtin_shufflevector(four[i], four[i + 2], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  one = __builtin_shufflevector(two[0], two[1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
        __builtin_shufflevector(two[0], two[1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  // Vector 4a + 2b + c has lanes 8a + 4b + 2c and the next.
  for (int i = 0; i < 8; i++) sums[i] = one[2 * i] + one[2 * i + 1];
}

// And of eight vectors of eight.
typedef float eight_lanes __attribute__((vector_size(32), aligned(4)));

INLINE void sums_of_eight_by_eight(const eight_lanes s[8], float *sums) {
  eight_lanes four[4], two[2], one;
  for (int i = 0; i < 4; i++)
    four[i] = __builtin_shufflevector(s[i], s[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) +
              __builtin_shufflevector(s[i], s[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  for (int i = 0; i < 2; i++)
    two[i] = __builtin_shufflevector(four[i], four[i + 2], 0, 1, 8, 9, 4, 5, 12, 13) +
             __builtin_shufflevector(four[i], four[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
  one = __builtin_shufflevector(two[0], two[1], 0, 8, 2, 10, 4, 12, 6, 14) +
        __builtin_shufflevector(two[0], two[1], 1, 9, 3, 11, 5, 13, 7, 15);
  memcpy(sums, &one, sizeof one);
}

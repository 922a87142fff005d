// ggml's blocks of quantised elements, decoded. The scales are f16 and the codes have 8 bits at most, so every product below is exact in
// f32: whether the compiler fuses it with the sum after it does not show, and each element is that of ggml and gguf-py to the bit.
#include "clones.h"
#include "gora_kernels.h"

#include <string.h>

// All of it is inlined: no vector crosses a call.
#pragma clang diagnostic ignored "-Wpsabi"
#define INLINE static inline __attribute__((always_inline))

enum { width = 16 };
typedef float lanes __attribute__((vector_size(4 * width), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * width)));
typedef uint32_t words __attribute__((vector_size(4 * width)));
typedef uint16_t halves __attribute__((vector_size(2 * width), aligned(2)));
typedef uint8_t bytes __attribute__((vector_size(width), aligned(1)));
typedef int8_t signed_bytes __attribute__((vector_size(width), aligned(1)));

INLINE bytes load(const uint8_t *b) { return *(const bytes *)b; }
INLINE ints widened(bytes b) { return __builtin_convertvector(b, ints); }
INLINE lanes numbers(ints i) { return __builtin_convertvector(i, lanes); }

// Where elements go: to one of both.
typedef struct {
  float *wide;
  uint16_t *half;
} target;

INLINE void put(target y, size_t at, lanes v) {
  if (y.wide) {
    *(lanes *)(y.wide + at) = v;
    return;
  }
  // Nearest, ties to even, of what is no NaN.
  words bits = (words)v;
  *(halves *)(y.half + at) = __builtin_convertvector((bits + 0x7FFF + (bits >> 16 & 1)) >> 16, halves);
}

// MARK: One block each, with its scale d and, where it has one, its minimum m

INLINE void q8_0(const uint8_t *b, float d, float m, target y) {
  for (size_t i = 0; i < 32; i += width)
    put(y, i, d * numbers(__builtin_convertvector(*(const signed_bytes *)(b + 2 + i), ints)));
}

// 32 codes of 4 bits, the first half in the low ones.
INLINE void nibbles(const uint8_t *q, ints *low, ints *high) {
  bytes both = load(q);
  *low = widened(both & 15);
  *high = widened(both >> 4);
}

// Their fifth bits, bit i of the word that of element i.
INLINE void fifth_bits(const uint8_t *b, ints *low, ints *high) {
  static const words place = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  uint32_t word;
  memcpy(&word, b, 4);
  *low |= (ints)((((words){} + word) >> place & 1) << 4);
  *high |= (ints)((((words){} + (word >> 16)) >> place & 1) << 4);
}

INLINE void q4_0(const uint8_t *b, float d, float m, target y) {
  ints low, high;
  nibbles(b + 2, &low, &high);
  put(y, 0, d * numbers(low - 8));
  put(y, 16, d * numbers(high - 8));
}

INLINE void q4_1(const uint8_t *b, float d, float m, target y) {
  ints low, high;
  nibbles(b + 4, &low, &high);
  put(y, 0, d * numbers(low) + m);
  put(y, 16, d * numbers(high) + m);
}

INLINE void q5_0(const uint8_t *b, float d, float m, target y) {
  ints low, high;
  nibbles(b + 6, &low, &high);
  fifth_bits(b + 2, &low, &high);
  put(y, 0, d * numbers(low - 16));
  put(y, 16, d * numbers(high - 16));
}

INLINE void q5_1(const uint8_t *b, float d, float m, target y) {
  ints low, high;
  nibbles(b + 8, &low, &high);
  fifth_bits(b + 4, &low, &high);
  put(y, 0, d * numbers(low) + m);
  put(y, 16, d * numbers(high) + m);
}

// Scale and minimum of part j of 8, 6 bits each in 12 bytes: those of the last four have their upper two bits in the first eight bytes.
INLINE void part_scales(const uint8_t *s, int j, float d, float m, float *scale, float *minimum) {
  *scale = d * (float)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
  *minimum = m * (float)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
}

// Q4_K, and Q5_K where there are fifth bits: bit j of byte i is that of element i of part j.
INLINE void q45_k(const uint8_t *s, const uint8_t *fifth, const uint8_t *q, float d, float m, target y) {
  for (int j = 0; j < 8; j++) {
    float scale, minimum;
    part_scales(s, j, d, m, &scale, &minimum);
    for (size_t i = 0; i < 32; i += width) {
      bytes both = load(q + j / 2 * 32 + i), code = j % 2 ? both >> 4 : both & 15;
      if (fifth) code |= (load(fifth + i) >> (uint8_t)j & 1) << 4;
      put(y, 32 * (size_t)j + i, scale * numbers(widened(code)) - minimum);
    }
  }
}

INLINE void q4_k(const uint8_t *b, float d, float m, target y) { q45_k(b + 4, NULL, b + 16, d, m, y); }
INLINE void q5_k(const uint8_t *b, float d, float m, target y) { q45_k(b + 4, b + 16, b + 48, d, m, y); }

// Two halves of four parts of 32: the lower four bits of two parts share bytes, the upper two of all four.
INLINE void q6_k(const uint8_t *b, float d, float m, target y) {
  const int8_t *scales = (const int8_t *)(b + 192);
  for (int half = 0; half < 2; half++)
    for (int part = 0; part < 4; part++)
      for (int side = 0; side < 2; side++) {
        float scale = d * (float)scales[8 * half + 2 * part + side];
        bytes low = load(b + 64 * half + 32 * (part % 2) + 16 * side), high = load(b + 128 + 32 * half + 16 * side);
        bytes code = (part < 2 ? low & 15 : low >> 4) | (high >> (uint8_t)(2 * part) & 3) << 4;
        put(y, (size_t)(128 * half + 32 * part + 16 * side), scale * numbers(widened(code) - 32));
      }
}

// MARK: Ranges of elements

// The f16 at byte `at` of each of `n` blocks, widened, `n` at most `width`; whether all of them are finite.
INLINE bool scales(const uint8_t *blocks, size_t size, size_t at, size_t n, float *values) {
  uint16_t half[width] = {0};
  for (size_t i = 0; i < n; i++) memcpy(half + i, blocks + i * size + at, sizeof *half);
  words wide = __builtin_convertvector(*(const halves *)half, words), magnitude = wide & 0x7FFF;
  // Scaling by 2^112 renormalises subnormals; infinities and NaNs get the top exponent.
  words bits = (words)((lanes)(magnitude << 13) * 0x1p112f), special = (words)(magnitude >= 0x7C00);
  bits |= (special & 0x7F800000) | (wide & 0x8000) << 16;
  *(lanes *)values = (lanes)bits;
  uint32_t any = 0;
  for (int i = 0; i < width; i++) any |= special[i];
  return !any;
}

// One element to bf16, NaN too.
INLINE uint16_t rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x0040 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

typedef void (*decoder)(const uint8_t *, float d, float m, target);

// How a type's blocks are laid out, all constants where this is inlined.
typedef struct {
  decoder one;
  size_t elements, size;
  size_t scale, minimum;  // where d and m stand
} layout;

// Elements [from, from + count). Blocks of which a part is wanted, and those with a scale that is not finite, go through a buffer.
INLINE void decode(layout l, const uint8_t *blocks, size_t from, size_t count, target y) {
  blocks += from / l.elements * l.size;
  size_t skip = from % l.elements;
  while (count > 0) {
    size_t n = (skip + count + l.elements - 1) / l.elements;
    if (n > width) n = width;
    float d[width], m[width];
    bool isFinite = scales(blocks, l.size, l.scale, n, d);
    isFinite = scales(blocks, l.size, l.minimum, n, m) && isFinite;
    for (size_t i = 0; i < n; i++, blocks += l.size, skip = 0) {
      size_t part = l.elements - skip < count ? l.elements - skip : count;
      if (part == l.elements && (y.wide || isFinite)) {
        l.one(blocks, d[i], m[i], y);
      } else {
        float whole[256];
        l.one(blocks, d[i], m[i], (target){whole, NULL});
        if (y.wide) memcpy(y.wide, whole + skip, part * sizeof *whole);
        else
          for (size_t k = 0; k < part; k++) y.half[k] = rounded(whole[skip + k]);
      }
      if (y.wide) y.wide += part;
      else y.half += part;
      count -= part;
    }
  }
}

INLINE void decode_any(gora_block_type type, const uint8_t *blocks, size_t from, size_t count, target y) {
  switch (type) {
    case GORA_Q8_0: return decode((layout){q8_0, 32, 34, 0, 0}, blocks, from, count, y);
    case GORA_Q4_0: return decode((layout){q4_0, 32, 18, 0, 0}, blocks, from, count, y);
    case GORA_Q4_1: return decode((layout){q4_1, 32, 20, 0, 2}, blocks, from, count, y);
    case GORA_Q5_0: return decode((layout){q5_0, 32, 22, 0, 0}, blocks, from, count, y);
    case GORA_Q5_1: return decode((layout){q5_1, 32, 24, 0, 2}, blocks, from, count, y);
    case GORA_Q4_K: return decode((layout){q4_k, 256, 144, 0, 2}, blocks, from, count, y);
    case GORA_Q5_K: return decode((layout){q5_k, 256, 176, 0, 2}, blocks, from, count, y);
    case GORA_Q6_K: return decode((layout){q6_k, 256, 210, 208, 208}, blocks, from, count, y);
  }
}

CLONES void gora_blocks_decode(gora_block_type type, const void *blocks, size_t from, size_t count, float *y) {
  decode_any(type, blocks, from, count, (target){y, NULL});
}

CLONES void gora_blocks_decode_bf16(gora_block_type type, const void *blocks, size_t from, size_t count, uint16_t *y) {
  decode_any(type, blocks, from, count, (target){NULL, y});
}

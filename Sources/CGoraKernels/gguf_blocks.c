// ggml's blocks of quantised elements, decoded, and multiplied with one token. An element is scale * code + minimum; scales are f16, those
// of K types times an integer, and codes have 8 bits at most. So every product is exact in f32: whether the compiler fuses it with the sum
// after it does not show, and each element is that of ggml and gguf-py to the bit; a NaN is one whatever it was read from.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <string.h>

// CPUs that round to bf16 and multiply it themselves.
#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#define BF16_UNIT __attribute__((target("avx512bf16,avx512bw,avx512vl")))
#endif

typedef uint8_t bytes __attribute__((vector_size(width), aligned(1)));
typedef int8_t signed_bytes __attribute__((vector_size(width), aligned(1)));

INLINE ints codes(const uint8_t *b) { return __builtin_convertvector(*(const bytes *)b, ints); }
INLINE ints signed_codes(const uint8_t *b) { return __builtin_convertvector(*(const signed_bytes *)b, ints); }
INLINE lanes numbers(ints i) { return __builtin_convertvector(i, lanes); }

// MARK: Where elements go, 32 at a time: into memory, or into the sums of their products with those of x, in f32 or rounded to bf16

typedef struct {
  char *memory;
  size_t size;
  lanes *sums;  // two
} target;

typedef void (*taker)(target, size_t at, lanes low, lanes high);

INLINE void put(target y, size_t at, lanes low, lanes high) {
  *(lanes *)((float *)y.memory + at) = low;
  *(lanes *)((float *)y.memory + at + width) = high;
}

INLINE void add(target x, size_t at, lanes low, lanes high) {
  x.sums[0] += low * *(const lanes *)((const float *)x.memory + at);
  x.sums[1] += high * *(const lanes *)((const float *)x.memory + at + width);
}

// A NaN is one that scales_at or the CPU has made.
INLINE void put_rounded(target y, size_t at, lanes low, lanes high) {
  put(y, at, (lanes)(rounded(low) & 0xFFFF0000), (lanes)(rounded(high) & 0xFFFF0000));
}

INLINE void put_half(target y, size_t at, lanes low, lanes high) {
  *(halves *)((uint16_t *)y.memory + at) = __builtin_convertvector(rounded(low) >> 16, halves);
  *(halves *)((uint16_t *)y.memory + at + width) = __builtin_convertvector(rounded(high) >> 16, halves);
}

INLINE void add_rounded(target x, size_t at, lanes low, lanes high) {
  add(x, at, (lanes)(rounded(low) & 0xFFFF0000), (lanes)(rounded(high) & 0xFFFF0000));
}

#ifdef BF16_UNIT
BF16_UNIT INLINE void put_half_in_unit(target y, size_t at, lanes low, lanes high) {
  _mm512_storeu_si512((uint16_t *)y.memory + at, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
}

BF16_UNIT INLINE void add_half_in_unit(target x, size_t at, lanes low, lanes high) {
  __m512bh both = _mm512_cvtne2ps_pbh((__m512)high, (__m512)low), other = (__m512bh)_mm512_loadu_si512((const uint16_t *)x.memory + at);
  // Two sums in turn.
  lanes sum = (lanes)_mm512_dpbf16_ps((__m512)x.sums[0], both, other);
  x.sums[0] = x.sums[1];
  x.sums[1] = sum;
}
#endif

#ifdef BF16_UNIT
// MARK: One token, codes of 4 and 5 bits: the bf16 values of all of a scale's codes stand in a table, out of which codes pick them

BF16_UNIT INLINE lanes counted(void) { return (lanes){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }

// Of 16 codes; twice, so that a code's fifth bit does not matter.
BF16_UNIT INLINE __m512i table_of_16(lanes values) {
  return _mm512_broadcast_i64x4((__m256i)_mm512_cvtneps_pbh((__m512)values));
}

BF16_UNIT INLINE __m512i table_of_32(lanes low, lanes high) { return (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low); }

// 16 bytes' lower halves and then their upper ones; of the lower ones the upper bits are left.
BF16_UNIT INLINE __m512i halves_of_16(const uint8_t *b) {
  __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)b));
  return _mm512_srlv_epi16(_mm512_cvtepu8_epi16(twice), _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1));
}

BF16_UNIT INLINE void add_picked(target x, size_t at, __m512i codes, __m512i table) {
  __m512bh w = (__m512bh)_mm512_permutexvar_epi16(codes, table);
  lanes sum = (lanes)_mm512_dpbf16_ps((__m512)x.sums[0], w, (__m512bh)_mm512_loadu_si512((const uint16_t *)x.memory + at));
  x.sums[0] = x.sums[1];
  x.sums[1] = sum;
}

BF16_UNIT INLINE void pick_q4_0(const uint8_t *b, float d, float m, taker take, target x) {
  add_picked(x, 0, halves_of_16(b + 2), table_of_16(d * (counted() - 8)));
}

BF16_UNIT INLINE void pick_q4_1(const uint8_t *b, float d, float m, taker take, target x) {
  add_picked(x, 0, halves_of_16(b + 4), table_of_16(d * counted() + m));
}

// With fifth bits, bit i of a word that of element i.
BF16_UNIT INLINE __m512i with_fifth(__m512i codes, uint32_t bits) {
  codes = _mm512_and_si512(codes, _mm512_set1_epi16(15));
  return _mm512_or_si512(codes, _mm512_maskz_set1_epi16(bits, 16));
}

BF16_UNIT INLINE void pick_q5_0(const uint8_t *b, float d, float m, taker take, target x) {
  uint32_t bits;
  memcpy(&bits, b + 2, 4);
  add_picked(x, 0, with_fifth(halves_of_16(b + 6), bits), table_of_32(d * (counted() - 16), d * counted()));
}

BF16_UNIT INLINE void pick_q5_1(const uint8_t *b, float d, float m, taker take, target x) {
  uint32_t bits;
  memcpy(&bits, b + 4, 4);
  add_picked(x, 0, with_fifth(halves_of_16(b + 8), bits), table_of_32(d * counted() + m, d * (counted() + 16) + m));
}
#endif

// Keeps values in memory, from where one is spread over a vector as it is read: out of a vector, that takes two shuffles.
INLINE void keep(float values[width]) { __asm__("" : "+m"(*(float (*)[width])values)); }

// MARK: One block each, with its scale d and, where it has one, its minimum m

INLINE void q8_0(const uint8_t *b, float d, float m, taker take, target y) {
  take(y, 0, d * numbers(signed_codes(b + 2)), d * numbers(signed_codes(b + 2 + width)));
}

// 32 codes of 4 bits, the first half in the low ones.
INLINE void q4_0(const uint8_t *b, float d, float m, taker take, target y) {
  ints both = codes(b + 2);
  take(y, 0, d * numbers((both & 15) - 8), d * numbers((both >> 4) - 8));
}

INLINE void q4_1(const uint8_t *b, float d, float m, taker take, target y) {
  ints both = codes(b + 4);
  take(y, 0, d * numbers(both & 15) + m, d * numbers(both >> 4) + m);
}

// And their fifth bits, bit i of a word that of element i.
INLINE void five_bits(const uint8_t *fifth, const uint8_t *q, ints *low, ints *high) {
  static const words place = {1,      1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                              1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  uint32_t word;
  memcpy(&word, fifth, 4);
  ints both = codes(q);
  *low = (both & 15) | ((ints)((word & place) != 0) & 16);
  *high = both >> 4 | ((ints)((word >> 16 & place) != 0) & 16);
}

INLINE void q5_0(const uint8_t *b, float d, float m, taker take, target y) {
  ints low, high;
  five_bits(b + 2, b + 6, &low, &high);
  take(y, 0, d * numbers(low - 16), d * numbers(high - 16));
}

INLINE void q5_1(const uint8_t *b, float d, float m, taker take, target y) {
  ints low, high;
  five_bits(b + 4, b + 8, &low, &high);
  take(y, 0, d * numbers(low) + m, d * numbers(high) + m);
}

// The integers of 8 parts' scales and minima, 6 bits each in 12 bytes: those of the last four parts have their upper two bits in the first
// eight bytes. Times a factor, in the order of four scales, their minima, and so the others.
INLINE void six_bits(const uint8_t *s, float factor, float *values) {
  uint64_t first, both[2];
  uint32_t last;
  memcpy(&first, s, sizeof first);
  memcpy(&last, s + 8, sizeof last);
  both[0] = first & 0x3F3F3F3F3F3F3F3F;
  both[1] = (last & 0x0F0F0F0F) | (uint64_t)(last & 0xF0F0F0F0) << 28 | (first >> 2 & 0x3030303030303030);
  *(lanes *)values = factor * numbers(codes((const uint8_t *)both));
}

// Q4_K, and Q5_K where there are fifth bits: bit j of byte i is that of element i of part j.
INLINE void q45_k(const uint8_t *s, const uint8_t *fifth, const uint8_t *q, float d, float m, taker take, target y) {
  float scale[width], minimum[width];
  six_bits(s, d, scale);
  six_bits(s, m, minimum);
  keep(scale);
  keep(minimum);
  ints bits[2] = {};
  if (fifth) bits[0] = codes(fifth), bits[1] = codes(fifth + width);
  for (int j = 0; j < 8; j += 2) {
    ints both[2] = {codes(q + 16 * j), codes(q + 16 * j + width)}, low[2], high[2];
    for (int i = 0; i < 2; i++) {
      low[i] = both[i] & 15;
      high[i] = both[i] >> 4;
      if (fifth) {
        low[i] |= (j < 4 ? bits[i] << (4 - j) : bits[i] >> (j - 4)) & 16;
        high[i] |= (j < 3 ? bits[i] << (3 - j) : bits[i] >> (j - 3)) & 16;
      }
    }
    for (int k = 0; k < 2; k++) {
      const ints *code = k == 0 ? low : high;
      int part = j + k, place = part < 4 ? part : part + 4;
      float from = scale[place], less = minimum[place + 4];
      take(y, 32 * (size_t)part, from * numbers(code[0]) - less, from * numbers(code[1]) - less);
    }
  }
}

INLINE void q4_k(const uint8_t *b, float d, float m, taker take, target y) { q45_k(b + 4, NULL, b + 16, d, m, take, y); }
INLINE void q5_k(const uint8_t *b, float d, float m, taker take, target y) { q45_k(b + 4, b + 16, b + 48, d, m, take, y); }

#ifdef BF16_UNIT
BF16_UNIT INLINE void pick_q45_k(const uint8_t *s, const uint8_t *fifth, const uint8_t *q, float d, float m, target x) {
  float scale[width], minimum[width];
  six_bits(s, d, scale);
  six_bits(s, m, minimum);
  keep(scale);
  keep(minimum);
  for (int j = 0; j < 8; j++) {
    int place = j < 4 ? j : j + 4;
    float from = scale[place], less = minimum[place + 4];
    __m512i both = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(q + j / 2 * 32)));
    __m512i codes = j % 2 ? _mm512_srli_epi16(both, 4) : both;
    if (!fifth) {
      add_picked(x, 32 * (size_t)j, codes, table_of_16(from * counted() - less));
    } else {
      uint32_t bits = _mm256_test_epi8_mask(_mm256_loadu_si256((const __m256i *)fifth), _mm256_set1_epi8((char)(1 << j)));
      __m512i table = table_of_32(from * counted() - less, from * (counted() + 16) - less);
      add_picked(x, 32 * (size_t)j, with_fifth(codes, bits), table);
    }
  }
}

BF16_UNIT INLINE void pick_q4_k(const uint8_t *b, float d, float m, taker take, target x) {
  pick_q45_k(b + 4, NULL, b + 16, d, m, x);
}
BF16_UNIT INLINE void pick_q5_k(const uint8_t *b, float d, float m, taker take, target x) {
  pick_q45_k(b + 4, b + 16, b + 48, d, m, x);
}
#endif

// Two halves of four parts of 32, each with two scales: the lower four bits of two parts share bytes, the upper two of all four.
INLINE void q6_k(const uint8_t *b, float d, float m, taker take, target y) {
  float scale[16];
  *(lanes *)scale = d * numbers(signed_codes(b + 192));
  keep(scale);
  for (int half = 0; half < 2; half++) {
    ints low[4], high[2];
    for (int i = 0; i < 4; i++) low[i] = codes(b + 64 * half + width * i);
    for (int i = 0; i < 2; i++) high[i] = codes(b + 128 + 32 * half + width * i);
    for (int part = 0; part < 4; part++) {
      lanes values[2];
      for (int i = 0; i < 2; i++) {
        ints lower = low[2 * (part % 2) + i], upper = high[i];
        lower = part < 2 ? lower & 15 : lower >> 4;
        upper = (part < 2 ? upper << (4 - 2 * part) : upper >> (2 * part - 4)) & 48;
        values[i] = scale[8 * half + 2 * part + i] * numbers((lower | upper) - 32);
      }
      take(y, 32 * (size_t)(4 * half + part), values[0], values[1]);
    }
  }
}

// MARK: Many blocks

// So many blocks' scales are widened at once.
enum { batch = 128 };
// The processor's own prefetching stays within a page.
enum { ahead = 4096 };

// The f16 that stand `size` bytes apart, of the last one several where there are fewer than sixteen. They are put together in a register: a
// vector read from memory just after its parts were written would wait for them.
INLINE words sixteen(const uint8_t *first, size_t size, size_t n) {
  halves values = {0};
  for (size_t i = 0; i < width; i++) {
    uint16_t half;
    memcpy(&half, first + (i < n ? i : n - 1) * size, sizeof half);
    values[i] = half;
  }
  return __builtin_convertvector(values, words);
}

// The f16 at byte `at` of each of `n` blocks, widened.
INLINE void scales_at(const uint8_t *blocks, size_t size, size_t at, size_t n, float *values) {
  for (size_t i = 0; i < n; i += width) {
    const uint8_t *first = blocks + i * size + at;
    words wide = n - i >= width ? sixteen(first, size, width) : sixteen(first, size, n - i), magnitude = wide & 0x7FFF;
    // Subnormals are numbers of 2^-24; infinities get the top exponent, and NaNs are all the same.
    words bits = (magnitude << 13) + (112 << 23), small = (words)(numbers((ints)magnitude) * 0x1p-24f);
    words isSmall = (words)(magnitude < 0x400), isInfinite = (words)(magnitude == 0x7C00), isNaN = (words)(magnitude > 0x7C00);
    bits = (bits & ~(isSmall | isNaN)) | (small & isSmall) | (isInfinite & 0x7F800000) | (isNaN & 0x7FC00000);
    *(lanes *)(values + i) = (lanes)(bits | (wide & 0x8000) << 16);
  }
}

// Those at byte `at`, and those after them where `m` is not NULL.
INLINE void scales(const uint8_t *blocks, size_t size, size_t at, size_t n, float *d, float *m) {
  scales_at(blocks, size, at, n, d);
  if (m) scales_at(blocks, size, at + 2, n, m);
}

#ifdef BF16_UNIT
// The same, both read at once, of a block's last two bytes those before them.
BF16_UNIT INLINE void scales_in_unit(const uint8_t *blocks, size_t size, size_t at, size_t n, float *d, float *m) {
  size_t before = at + 4 > size ? 2 : 0;
  __m512i places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                      _mm512_set1_epi32((int)size));
  for (size_t i = 0; i < n; i += width) {
    __mmask16 there = (__mmask16)(n - i < width ? (1u << (n - i)) - 1 : 0xFFFF);
    __m512i both = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), there, places, blocks + i * size + at - before, 1);
    __m512i upper = _mm512_srli_epi32(both, 16);
    _mm512_storeu_ps(d + i, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(before ? upper : both)));
    if (m) _mm512_storeu_ps(m + i, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(upper)));
  }
}
#endif

typedef void (*decoder)(const uint8_t *, float d, float m, taker, target);

// How a type's blocks are laid out; all constants where this is inlined with a constant type.
typedef struct {
  decoder one;
  size_t elements, size;
  size_t scale;      // where d stands
  bool has_minimum;  // m behind it
  void (*scales)(const uint8_t *blocks, size_t size, size_t at, size_t n, float *d, float *m);
} layout;

INLINE layout layout_of(gora_block_type type) {
  switch (type) {
    case GORA_Q8_0: return (layout){q8_0, 32, 34, 0, false, scales};
    case GORA_Q4_0: return (layout){q4_0, 32, 18, 0, false, scales};
    case GORA_Q4_1: return (layout){q4_1, 32, 20, 0, true, scales};
    case GORA_Q5_0: return (layout){q5_0, 32, 22, 0, false, scales};
    case GORA_Q5_1: return (layout){q5_1, 32, 24, 0, true, scales};
    case GORA_Q4_K: return (layout){q4_k, 256, 144, 0, true, scales};
    case GORA_Q5_K: return (layout){q5_k, 256, 176, 0, true, scales};
    case GORA_Q6_K: return (layout){q6_k, 256, 210, 208, false, scales};
  }
}

#ifdef BF16_UNIT
// The same where codes pick their values, which types of more than 5 bits do not.
INLINE layout picking_layout_of(gora_block_type type) {
  layout l = layout_of(type);
  l.scales = scales_in_unit;
  switch (type) {
    case GORA_Q4_0: l.one = pick_q4_0; break;
    case GORA_Q4_1: l.one = pick_q4_1; break;
    case GORA_Q5_0: l.one = pick_q5_0; break;
    case GORA_Q5_1: l.one = pick_q5_1; break;
    case GORA_Q4_K: l.one = pick_q4_k; break;
    case GORA_Q5_K: l.one = pick_q5_k; break;
    case GORA_Q8_0: case GORA_Q6_K: break;
  }
  return l;
}
#endif

INLINE void take_blocks(layout l, taker take, const uint8_t *blocks, size_t count, target y) {
  float d[batch], m[batch] = {0};
  for (size_t n; count > 0; count -= n) {
    n = count < batch ? count : batch;
    l.scales(blocks, l.size, l.scale, n, d, l.has_minimum ? m : NULL);
    for (size_t i = 0; i < n; i++, blocks += l.size, y.memory += l.elements * y.size) {
      for (size_t line = 0; line < l.size; line += 64) __builtin_prefetch(blocks + ahead + line);
      l.one(blocks, d[i], m[i], take, y);
    }
  }
}

// Blocks to be decoded, or the rows of a product with x.
typedef struct {
  taker take;
  const uint8_t *blocks;
  size_t count;  // of blocks, in a row where there are rows
  target memory;
  size_t rows;
  float *sums;  // of each row; NULL: decoded
} job;

INLINE void run(layout l, job j) {
  if (!j.sums) return take_blocks(l, j.take, j.blocks, j.count, j.memory);
  for (size_t i = 0; i < j.rows; i += 8) {
    lanes of_rows[8] = {};
    float sums[8];
    for (size_t k = 0; k < 8 && i + k < j.rows; k++, j.blocks += j.count * l.size) {
      lanes two[2] = {};
      j.memory.sums = two;
      take_blocks(l, j.take, j.blocks, j.count, j.memory);
      of_rows[k] = two[0] + two[1];
    }
    sums_of_eight(of_rows, sums);
    for (size_t k = 0; k < 8 && i + k < j.rows; k++) j.sums[i + k] = sums[k];
  }
}

typedef layout (*chooser)(gora_block_type);

INLINE void run_any(gora_block_type type, chooser layout_of, job j) {
  switch (type) {
    case GORA_Q8_0: return run(layout_of(GORA_Q8_0), j);
    case GORA_Q4_0: return run(layout_of(GORA_Q4_0), j);
    case GORA_Q4_1: return run(layout_of(GORA_Q4_1), j);
    case GORA_Q5_0: return run(layout_of(GORA_Q5_0), j);
    case GORA_Q5_1: return run(layout_of(GORA_Q5_1), j);
    case GORA_Q4_K: return run(layout_of(GORA_Q4_K), j);
    case GORA_Q5_K: return run(layout_of(GORA_Q5_K), j);
    case GORA_Q6_K: return run(layout_of(GORA_Q6_K), j);
  }
}

CLONES static void decode(gora_block_type type, const uint8_t *blocks, size_t count, void *y) {
  run_any(type, layout_of, (job){put, blocks, count, {y, sizeof(float)}});
}

CLONES static void decode_rounded(gora_block_type type, const uint8_t *blocks, size_t count, void *y) {
  run_any(type, layout_of, (job){put_rounded, blocks, count, {y, sizeof(float)}});
}

CLONES static void decode_half(gora_block_type type, const uint8_t *blocks, size_t count, void *y) {
  run_any(type, layout_of, (job){put_half, blocks, count, {y, sizeof(uint16_t)}});
}

CLONES static void multiply(gora_block_type type, const uint8_t *blocks, size_t count, const void *x, size_t rows, float *y) {
  run_any(type, layout_of, (job){add, blocks, count, {(char *)x, sizeof(float)}, rows, y});
}

CLONES static void multiply_rounded(gora_block_type type, const uint8_t *blocks, size_t count, const void *x, size_t rows, float *y) {
  run_any(type, layout_of, (job){add_rounded, blocks, count, {(char *)x, sizeof(float)}, rows, y});
}

#ifdef BF16_UNIT
BF16_UNIT static void decode_half_in_unit(gora_block_type type, const uint8_t *blocks, size_t count, void *y) {
  run_any(type, layout_of, (job){put_half_in_unit, blocks, count, {y, sizeof(uint16_t)}});
}

BF16_UNIT static void multiply_half_in_unit(gora_block_type type, const uint8_t *blocks, size_t count, const void *x, size_t rows,
                                            float *y) {
  run_any(type, picking_layout_of, (job){add_half_in_unit, blocks, count, {(char *)x, sizeof(uint16_t)}, rows, y});
}
#endif

typedef void (*range_decoder)(gora_block_type, const uint8_t *blocks, size_t count, void *y);

static range_decoder half_decoder(void) {
#ifdef BF16_UNIT
  if (gora_few_bf16_unit() != GORA_BF16_NONE) return decode_half_in_unit;
#endif
  return decode_half;
}

// Elements of `size` bytes each; blocks of which a part is wanted go through a buffer.
static void decode_range(range_decoder whole, gora_block_type type, const uint8_t *blocks, size_t from, size_t count, void *y,
                         size_t size) {
  layout l = layout_of(type);
  blocks += from / l.elements * l.size;
  for (size_t skip = from % l.elements, n; count > 0; count -= n, y = (char *)y + n * size) {
    if (skip == 0 && count >= l.elements) {
      size_t all = count / l.elements;
      whole(type, blocks, all, y);
      n = all * l.elements;
      blocks += all * l.size;
    } else {
      float one[256];
      whole(type, blocks, 1, one);
      n = l.elements - skip < count ? l.elements - skip : count;
      memcpy(y, (char *)one + skip * size, n * size);
      skip = 0;
      blocks += l.size;
    }
  }
}

void gora_blocks_decode(gora_block_type type, const void *blocks, size_t from, size_t count, bool rounds, float *y) {
  decode_range(rounds ? decode_rounded : decode, type, blocks, from, count, y, sizeof *y);
}

void gora_blocks_decode_bf16(gora_block_type type, const void *blocks, size_t from, size_t count, uint16_t *y) {
  decode_range(half_decoder(), type, blocks, from, count, y, sizeof *y);
}

void gora_blocks_multiply(gora_block_type type, const void *blocks, bool rounds, const float *x, float *y, size_t rows, size_t columns) {
  (rounds ? multiply_rounded : multiply)(type, blocks, columns / layout_of(type).elements, x, rows, y);
}

void gora_blocks_multiply_bf16(gora_block_type type, const void *blocks, const uint16_t *x, float *y, size_t rows, size_t columns) {
#ifdef BF16_UNIT
  multiply_half_in_unit(type, blocks, columns / layout_of(type).elements, x, rows, y);
#else
  gora_fail(GORA_INTERNAL, "no bf16 unit multiplies blocks here");
#endif
}

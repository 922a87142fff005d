// 4-bit NormalFloat with doubly quantised scales (Dettmers et al. 2023), laid out as bitsandbytes lays it out.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { BLOCK = 64, SCALE_BLOCK = 256 };

const float gora_nf4_table[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

static float scale_map[256];
static float middle[15];         // between neighbours of the table
static float scale_middle[255];  // between neighbours of the map

// The signed dynamic map (Dettmers et al. 2022): seven decades, decade i with the middles of 2^i equal parts of [0.1, 1]; 0; 1.
// The fused steps are those of torch.linspace, so that every bit is bitsandbytes'.
__attribute__((constructor)) static void make_maps(void) {
  static const float decade[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  int k = 0;
  for (int i = 0; i < 7; i++) {
    int parts = 1 << i;
    float step = (1.0f - 0.1f) / (float)parts, from = 0.1f;
    for (int j = 1; j <= parts; j++) {
      float to = j < (parts + 1) / 2 ? fmaf(step, (float)j, 0.1f) : fmaf(-step, (float)(parts - j), 1.0f);
      float value = decade[i] * ((from + to) / 2);
      scale_map[128 + k] = value;
      scale_map[126 - k] = -value;
      from = to;
      k++;
    }
  }
  scale_map[255] = 1.0f;
  for (int i = 0; i < 15; i++) middle[i] = (gora_nf4_table[i] + gora_nf4_table[i + 1]) / 2;
  for (int i = 0; i < 255; i++) scale_middle[i] = (scale_map[i] + scale_map[i + 1]) / 2;
}

const float *gora_nf4_scale_map(void) { return scale_map; }

// |x| by its bits: NaN and infinity are the largest.
static inline float largest_magnitude(const float *x, size_t n) {
  uint32_t top = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, 4);
    bits &= 0x7FFFFFFF;
    top = bits > top ? bits : top;
  }
  float value;
  memcpy(&value, &top, 4);
  return value;
}

// A zero block divides by something.
static inline float inverse(float absmax) { return 1.0f / (absmax < 1e-38f ? 1e-38f : absmax); }

CLONES void gora_nf4_encode(const float *x, size_t n, uint8_t *codes, float *absmax) {
  for (size_t start = 0; start < n; start += BLOCK, codes += BLOCK / 2) {
    size_t length = n - start < BLOCK ? n - start : BLOCK;
    float largest = largest_magnitude(x + start, length), factor = inverse(largest);
    absmax[start / BLOCK] = largest;
    float scaled[BLOCK] = {0};  // what lies behind an odd end is coded as 0
    int32_t code[BLOCK] = {0};
    for (size_t i = 0; i < length; i++) scaled[i] = x[start + i] * factor;
    // At a middle the lower of two neighbours.
    for (int j = 0; j < 15; j++)
      for (size_t i = 0; i < BLOCK; i++) code[i] += scaled[i] > middle[j];
    for (size_t i = 0; i < (length + 1) / 2; i++) codes[i] = (uint8_t)(code[2 * i] << 4 | code[2 * i + 1]);
  }
}

void gora_nf4_encode_scales(const float *absmax, size_t n, float offset, uint8_t *scales, float *second) {
  float centred[SCALE_BLOCK];
  for (size_t start = 0; start < n; start += SCALE_BLOCK) {
    size_t length = n - start < SCALE_BLOCK ? n - start : SCALE_BLOCK;
    for (size_t i = 0; i < length; i++) centred[i] = absmax[start + i] - offset;
    float largest = largest_magnitude(centred, length), factor = inverse(largest);
    second[start / SCALE_BLOCK] = largest;
    for (size_t i = 0; i < length; i++) {
      float value = centred[i] * factor;
      int code = 0;
      // The number of middles below the value, by halving.
      for (int step = 128; step > 0; step /= 2)
        if (value > scale_middle[code + step - 1]) code += step;
      scales[start + i] = (uint8_t)code;
    }
  }
}

static inline float block_scale(const gora_nf4 *w, size_t block) {
  // Volatile, so that the product is rounded before the sum: fused, the last bit would not be bitsandbytes'.
  volatile float product = scale_map[w->scales[block]] * w->second[block / SCALE_BLOCK];
  return product + w->offset;
}

// What the 16 codes of a block stand for, rounded to bf16 where that is asked for; a weight is finite.
INLINE void values_of(const gora_nf4 *w, size_t block, bool rounds, float *values) {
  lanes all = *(const lanes *)gora_nf4_table * block_scale(w, block);
  *(lanes *)values = rounds ? (lanes)(rounded(all) & 0xFFFF0000) : all;
}

// Elements [from, to) of one block.
static void decode_some(const gora_nf4 *w, size_t from, size_t to, bool rounds, float *y) {
  float values[16];
  values_of(w, from / BLOCK, rounds, values);
  for (size_t i = from; i < to; i++) *y++ = values[w->codes[i / 2] >> (i % 2 ? 0 : 4) & 15];
}

static void decode_blocks(const gora_nf4 *w, size_t block, size_t blocks, bool rounds, float *y) {
  for (; blocks > 0; blocks--, block++, y += BLOCK) decode_some(w, block * BLOCK, (block + 1) * BLOCK, rounds, y);
}

#if defined(__x86_64__) && defined(__linux__)

// A byte becomes two indices: one code in the low bits of each half of 64. Bits above the index are not looked at.
__attribute__((target("avx512f"))) static void decode_blocks_avx512(const gora_nf4 *w, size_t block, size_t blocks, bool rounds, float *y) {
  for (; blocks > 0; blocks--, block++, y += BLOCK) {
    const uint8_t *codes = w->codes + block * (BLOCK / 2);
    float values[16];
    values_of(w, block, rounds, values);
    __m512 table = _mm512_loadu_ps(values);
    for (int i = 0; i < 4; i++) {
      __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(codes + 8 * i)));
      __m512i index = _mm512_or_si512(_mm512_srli_epi64(pair, 4), _mm512_slli_epi64(pair, 32));
      _mm512_storeu_ps(y + 16 * i, _mm512_permutexvar_ps(index, table));
    }
  }
}

__attribute__((target("avx2"))) static void decode_blocks_avx2(const gora_nf4 *w, size_t block, size_t blocks, bool rounds, float *y) {
  for (; blocks > 0; blocks--, block++, y += BLOCK) {
    const uint8_t *codes = w->codes + block * (BLOCK / 2);
    float values[16];
    values_of(w, block, rounds, values);
    __m256 low = _mm256_loadu_ps(values), high = _mm256_loadu_ps(values + 8);
    for (int i = 0; i < 8; i++) {
      int32_t four;
      memcpy(&four, codes + 4 * i, 4);
      __m256i pair = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
      __m256i index = _mm256_or_si256(_mm256_srli_epi64(pair, 4), _mm256_slli_epi64(pair, 32));
      __m256 isHigh = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // the fourth bit, as a sign
      _mm256_storeu_ps(
          y + 8 * i,
          _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index), isHigh));
    }
  }
}

// Codes pick the two bytes of their values out of two tables.
__attribute__((target("avx2"))) static void decode_halves_avx2(const gora_nf4 *w, size_t block, size_t blocks, uint16_t *y) {
  const __m256i nibble = _mm256_set1_epi8(15), byte = _mm256_set1_epi16(0xFF);
  for (; blocks > 0; blocks--, block++, y += BLOCK) {
    float values[16];
    values_of(w, block, true, values);
    __m256i low = _mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)values), 16);
    __m256i high = _mm256_srli_epi32(_mm256_loadu_si256((const __m256i *)(values + 8)), 16);
    // Values 0 to 3, 8 to 11, 4 to 7 and 12 to 15; then the lower bytes of the first eight, their upper ones, and those of the others.
    __m256i halves = _mm256_packus_epi32(low, high);
    __m256i bytes = _mm256_packus_epi16(_mm256_and_si256(halves, byte), _mm256_srli_epi16(halves, 8));
    __m256i lower = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
    __m256i upper = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(2, 6, 3, 7, 2, 6, 3, 7));
    __m256i codes = _mm256_loadu_si256((const __m256i *)(w->codes + block * (BLOCK / 2)));
    __m256i even = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble), odd = _mm256_and_si256(codes, nibble);
    __m256i lowerEven = _mm256_shuffle_epi8(lower, even), upperEven = _mm256_shuffle_epi8(upper, even);
    __m256i lowerOdd = _mm256_shuffle_epi8(lower, odd), upperOdd = _mm256_shuffle_epi8(upper, odd);
    // Of bytes 0 to 7 and 16 to 23 of the codes, and of the others.
    __m256i firstEven = _mm256_unpacklo_epi8(lowerEven, upperEven), firstOdd = _mm256_unpacklo_epi8(lowerOdd, upperOdd);
    __m256i otherEven = _mm256_unpackhi_epi8(lowerEven, upperEven), otherOdd = _mm256_unpackhi_epi8(lowerOdd, upperOdd);
    // Elements 0 to 7 and 32 to 39, and so on.
    __m256i a = _mm256_unpacklo_epi16(firstEven, firstOdd), b = _mm256_unpackhi_epi16(firstEven, firstOdd);
    __m256i c = _mm256_unpacklo_epi16(otherEven, otherOdd), d = _mm256_unpackhi_epi16(otherEven, otherOdd);
    __m256i *out = (__m256i *)y;
    _mm256_storeu_si256(out, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(c, d, 0x20));
    _mm256_storeu_si256(out + 2, _mm256_permute2x128_si256(a, b, 0x31));
    _mm256_storeu_si256(out + 3, _mm256_permute2x128_si256(c, d, 0x31));
  }
}

#endif

void gora_nf4_decode(const gora_nf4 *w, size_t from, size_t count, bool rounds, float *y) {
  size_t to = from + count;
  size_t first = (from + BLOCK - 1) / BLOCK, last = to / BLOCK;
  if (first > last) {
    decode_some(w, from, to, rounds, y);
    return;
  }
  if (from < first * BLOCK) decode_some(w, from, first * BLOCK, rounds, y);
  float *whole = y + (first * BLOCK - from);
#if defined(__x86_64__) && defined(__linux__)
  if (__builtin_cpu_supports("avx512f"))
    decode_blocks_avx512(w, first, last - first, rounds, whole);
  else if (__builtin_cpu_supports("avx2"))
    decode_blocks_avx2(w, first, last - first, rounds, whole);
  else
#endif
    decode_blocks(w, first, last - first, rounds, whole);
  if (last * BLOCK < to) decode_some(w, last * BLOCK, to, rounds, whole + (last - first) * BLOCK);
}

void gora_nf4_decode_bf16(const gora_nf4 *w, size_t from, size_t count, uint16_t *y) {
  for (size_t n; count > 0; from += n, count -= n, y += n) {
    size_t left = BLOCK - from % BLOCK;
#if defined(__x86_64__) && defined(__linux__)
    if (left == BLOCK && count >= BLOCK && __builtin_cpu_supports("avx2")) {
      n = count / BLOCK * BLOCK;
      decode_halves_avx2(w, from / BLOCK, n / BLOCK, y);
      continue;
    }
#endif
    float some[BLOCK];
    n = count < left ? count : left;
    decode_some(w, from, from + n, true, some);
    gora_f32_to_bf16(some, y, n);
  }
}

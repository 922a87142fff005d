// Products of a bf16 weight with few tokens on CPUs that multiply bf16 themselves: AVX-512's products of pairs, and tiles where there are
// some. A weight is read once, where it lies, and x is put beside it in the order in which it is read.
#include "gora_kernels.h"
#include "lanes.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNIT __attribute__((target("avx512bf16,avx512bw,avx512vl")))
#define TILES __attribute__((target("amx-tile,amx-bf16,avx512bf16,avx512bw,avx512vl")))

// Elements of a vector and of a tile's row; rows of a tile.
enum { step = 32, tile_rows = 16 };

static gora_bf16_unit unit;

// The system gives a process its tiles when it asks for them.
static void look(void) {
  enum { ask_for_state = 0x1023, tile_data = 18, amx_bf16 = 1 << 22, amx_tile = 1 << 24 };
  unsigned a, b, c, d = 0;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  bool has_tiles = (d & amx_bf16) && (d & amx_tile) && syscall(SYS_arch_prctl, ask_for_state, tile_data) == 0;
  unit = has_tiles ? GORA_BF16_TILES : GORA_BF16_PAIRS;
}

gora_bf16_unit gora_few_bf16_unit(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, look);
  return unit;
}

static bool goes_by_tiles(gora_bf16_unit by, size_t tokens) { return by == GORA_BF16_TILES && tokens > 1; }

static size_t steps_of(size_t columns) { return (columns + step - 1) / step; }

// Column 32 k + i of token t stands at [k][t][i], for tiles at [k][i / 2][t][i % 2]: pairs lie together. Zeros follow the last column.
UNIT static void make_operand(const float *x, size_t tokens, size_t columns, uint16_t *out, bool tiles) {
  __m512i places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                      _mm512_set1_epi32((int)tokens));
  for (size_t k = 0; k < steps_of(columns); k++) {
    size_t left = columns - k * step;
    uint32_t there = left >= step ? ~0u : (1u << left) - 1;
    for (size_t t = 0; t < tokens; t++) {
      const float *from = x + t * columns + k * step;
      __m512 low = _mm512_maskz_loadu_ps((__mmask16)there, from), high = _mm512_maskz_loadu_ps((__mmask16)(there >> 16), from + 16);
      __m512i half = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      uint16_t *to = out + k * step * tokens;
      if (tiles) _mm512_i32scatter_epi32(to + 2 * t, places, half, 4);
      else _mm512_storeu_si512(to + t * step, half);
    }
  }
}

void gora_few_bf16_operand(gora_bf16_unit by, const float *x, size_t tokens, size_t columns, uint16_t *operand) {
  make_operand(x, tokens, columns, operand, goes_by_tiles(by, tokens));
}

INLINE void put_sum(float *y, float sum, bool accumulates) { *y = accumulates ? *y + sum : sum; }

UNIT INLINE lanes added(lanes sum, __m512i w, const uint16_t *x) {
  return (lanes)_mm512_dpbf16_ps((__m512)sum, (__m512bh)w, (__m512bh)_mm512_loadu_si512(x));
}

// MARK: One token: row after row, as they lie

// The processor's own prefetching stays within a page.
enum { ahead = 4096 };

UNIT static void one_token(const uint16_t *w, const uint16_t *x, float *y, size_t rows, size_t columns, bool accumulates) {
  uint32_t rest = (1u << columns % step) - 1;
  for (size_t i = 0; i < rows; i += 8) {
    lanes of_rows[8] = {};
    float sums[8];
    for (size_t k = 0; k < 8 && i + k < rows; k++, w += columns) {
      lanes s[4] = {};
      size_t j = 0;
      for (; j + 4 * step <= columns; j += 4 * step)
        for (size_t part = 0; part < 4; part++) {
          __builtin_prefetch((const char *)(w + j + part * step) + ahead);
          s[part] = added(s[part], _mm512_loadu_si512(w + j + part * step), x + j + part * step);
        }
      for (; j + step <= columns; j += step) {
        __builtin_prefetch((const char *)(w + j) + ahead);
        s[0] = added(s[0], _mm512_loadu_si512(w + j), x + j);
      }
      if (rest) s[1] = added(s[1], _mm512_maskz_loadu_epi16(rest, w + j), x + j);
      of_rows[k] = (s[0] + s[1]) + (s[2] + s[3]);
    }
    sums_of_eight(of_rows, sums);
    for (size_t k = 0; k < 8 && i + k < rows; k++) put_sum(y + i + k, sums[k], accumulates);
  }
}

// MARK: Up to eight tokens, a constant where this is inlined: two rows share every read of x

UNIT INLINE void some_tokens(const uint16_t *w, const uint16_t *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                             bool accumulates) {
  uint32_t rest = (1u << columns % step) - 1;
  for (size_t i = 0; i < rows; i += 2) {
    const uint16_t *w0 = w + i * columns, *w1 = i + 1 < rows ? w0 + columns : w0, *v = x;
    lanes s0[8] = {}, s1[8] = {};
    size_t j = 0;
    for (; j + step <= columns; j += step, v += step * tokens) {
      __builtin_prefetch(w0 + j + 2 * columns);
      __builtin_prefetch(w1 + j + 2 * columns);
      __m512i a = _mm512_loadu_si512(w0 + j), b = _mm512_loadu_si512(w1 + j);
      for (size_t t = 0; t < tokens; t++) {
        s0[t] = added(s0[t], a, v + step * t);
        s1[t] = added(s1[t], b, v + step * t);
      }
    }
    if (rest) {
      __m512i a = _mm512_maskz_loadu_epi16(rest, w0 + j), b = _mm512_maskz_loadu_epi16(rest, w1 + j);
      for (size_t t = 0; t < tokens; t++) {
        s0[t] = added(s0[t], a, v + step * t);
        s1[t] = added(s1[t], b, v + step * t);
      }
    }
    float sums[2][8];
    sums_of_eight(s0, sums[0]);
    sums_of_eight(s1, sums[1]);
    for (size_t t = 0; t < tokens; t++)
      for (size_t k = 0; k < 2 && i + k < rows; k++) put_sum(y + t * stride + i + k, sums[k][t], accumulates);
  }
}

UNIT static void any_tokens(const uint16_t *w, const uint16_t *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                            bool accumulates) {
  switch (tokens) {
    case 1: return one_token(w, x, y, rows, columns, accumulates);
    case 2: return some_tokens(w, x, y, rows, columns, 2, stride, accumulates);
    case 3: return some_tokens(w, x, y, rows, columns, 3, stride, accumulates);
    case 4: return some_tokens(w, x, y, rows, columns, 4, stride, accumulates);
    case 5: return some_tokens(w, x, y, rows, columns, 5, stride, accumulates);
    case 6: return some_tokens(w, x, y, rows, columns, 6, stride, accumulates);
    case 7: return some_tokens(w, x, y, rows, columns, 7, stride, accumulates);
    default: return some_tokens(w, x, y, rows, columns, 8, stride, accumulates);
  }
}

// MARK: Tiles: sixteen rows of the weight, 32 columns at a time, with those of all tokens

// 0 and 1 hold sums in turn, 2 part of x, 3 part of the weight.
TILES static void configure(size_t rows, size_t tokens) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } tiles = {.palette = 1};
  for (int sum = 0; sum < 2; sum++) {
    tiles.rows[sum] = (uint8_t)rows;
    tiles.bytes[sum] = (uint16_t)(4 * tokens);
  }
  tiles.rows[2] = step / 2;
  tiles.bytes[2] = (uint16_t)(4 * tokens);
  tiles.rows[3] = (uint8_t)rows;
  tiles.bytes[3] = 2 * step;
  _tile_loadconfig(&tiles);
}

TILES static void by_tiles(const uint16_t *w, const uint16_t *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                           bool accumulates) {
  size_t whole = columns / step, rest = columns % step, n, configured = 0;
  for (size_t i = 0; i < rows; i += n, w += n * columns) {
    n = rows - i < tile_rows ? rows - i : tile_rows;
    if (n != configured) configure(configured = n, tokens);
    _tile_zero(0);
    _tile_zero(1);
    for (size_t k = 0; k < whole; k++) {
      // The rows that come next.
      const uint16_t *next = w + n * columns + k * step;
      for (size_t row = 0; row < n; row++) __builtin_prefetch(next + row * columns, 0, 2);
      _tile_loadd(2, x + k * step * tokens, 4 * tokens);
      _tile_loadd(3, w + k * step, 2 * columns);
      if (k % 2) _tile_dpbf16ps(1, 3, 2);
      else _tile_dpbf16ps(0, 3, 2);
    }
    if (rest) {
      uint16_t last[tile_rows][step] = {};
      for (size_t row = 0; row < n; row++) memcpy(last[row], w + row * columns + whole * step, rest * sizeof **last);
      _tile_loadd(2, x + whole * step * tokens, 4 * tokens);
      _tile_loadd(3, last, sizeof *last);
      _tile_dpbf16ps(1, 3, 2);
    }
    float sums[2][tile_rows * tile_rows];
    _tile_stored(0, sums[0], 4 * tokens);
    _tile_stored(1, sums[1], 4 * tokens);
    for (size_t row = 0; row < n; row++)
      for (size_t t = 0; t < tokens; t++)
        put_sum(y + t * stride + i + row, sums[0][row * tokens + t] + sums[1][row * tokens + t], accumulates);
  }
  _tile_release();
}

void gora_few_bf16(gora_bf16_unit by, const uint16_t *w, const uint16_t *operand, float *y, size_t rows, size_t columns, size_t tokens,
                   size_t stride, bool accumulates) {
  (goes_by_tiles(by, tokens) ? by_tiles : any_tokens)(w, operand, y, rows, columns, tokens, stride, accumulates);
}
#else
gora_bf16_unit gora_few_bf16_unit(void) { return GORA_BF16_NONE; }

void gora_few_bf16_operand(gora_bf16_unit by, const float *x, size_t tokens, size_t columns, uint16_t *operand) {}

void gora_few_bf16(gora_bf16_unit by, const uint16_t *w, const uint16_t *operand, float *y, size_t rows, size_t columns, size_t tokens,
                   size_t stride, bool accumulates) {}
#endif

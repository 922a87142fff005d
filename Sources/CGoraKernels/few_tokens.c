// Products of much memory with few tokens, as in generation: reading is what takes the time. A weight in f32, bf16 or f16 is read where it
// lies, once for up to eight tokens.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <string.h>

// Rows of a weight, or some of their columns.
typedef struct {
  const char *memory;
  gora_element_type type;
  size_t size, stride;  // of an element and from row to row, in bytes
  size_t rows, columns;
} weight_part;

// The same columns of x: as they lie, `stride` elements from token to token, and packed.
typedef struct {
  const float *x;
  size_t stride;
  const float *packed;
  size_t tokens;
} operand;

typedef struct {
  float *memory;
  size_t stride;
  bool accumulates;
} result;

// Bytes: the processor's own prefetching stays within a page. Floats: three quarters of the first cache.
enum { ahead = 1024, packed_floats = 6144 };

INLINE float number(const char *w, gora_element_type type, size_t i) {
  return type == GORA_F16 ? (float)((const _Float16 *)w)[i] : element(w, type == GORA_BF16, i);
}

// One number of y: the sum over whole steps, and the columns that are left.
INLINE void put_sum(float sum, weight_part w, size_t row, size_t whole, operand x, size_t token, result y) {
  for (size_t j = whole; j < w.columns; j++) sum += number(w.memory + row * w.stride, w.type, j) * x.x[token * x.stride + j];
  float *out = y.memory + token * y.stride + row;
  *out = y.accumulates ? *out + sum : sum;
}

#define WIDTH 8
#define SUMS_OF_EIGHT sums_of_eight_by_eight
#include "few_rows.h"
#undef WIDTH
#undef SUMS_OF_EIGHT

// Without f16, which the baseline's instructions do not know.
CLONES_BUT_AVX512 static void by_eight(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns,
                                       size_t tokens, size_t stride, bool accumulates) {
  if (type == GORA_BF16) few_tokens_8(w, GORA_BF16, x, y, rows, columns, tokens, stride, accumulates);
  else few_tokens_8(w, GORA_F32, x, y, rows, columns, tokens, stride, accumulates);
}

#if defined(__x86_64__)
#define F16 __attribute__((target("avx2,fma,f16c")))
#define WIDTH 16
#define SUMS_OF_EIGHT sums_of_eight
#include "few_rows.h"
#undef WIDTH
#undef SUMS_OF_EIGHT

__attribute__((target("avx512f"))) static void by_sixteen(const void *w, gora_element_type type, const float *x, float *y, size_t rows,
                                                          size_t columns, size_t tokens, size_t stride, bool accumulates) {
  switch (type) {
    case GORA_F32: return few_tokens_16(w, GORA_F32, x, y, rows, columns, tokens, stride, accumulates);
    case GORA_BF16: return few_tokens_16(w, GORA_BF16, x, y, rows, columns, tokens, stride, accumulates);
    case GORA_F16: return few_tokens_16(w, GORA_F16, x, y, rows, columns, tokens, stride, accumulates);
  }
}
#else
#define F16
#endif

F16 static void f16_by_eight(const void *w, const float *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                             bool accumulates) {
  few_tokens_8(w, GORA_F16, x, y, rows, columns, tokens, stride, accumulates);
}

bool gora_few_tokens_reads(gora_element_type type) {
#if defined(__x86_64__)
  return type != GORA_F16 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"));
#else
  return true;
#endif
}

void gora_few_tokens_by_eight(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                              size_t stride, bool accumulates) {
  if (type == GORA_F16) return f16_by_eight(w, x, y, rows, columns, tokens, stride, accumulates);
  by_eight(w, type, x, y, rows, columns, tokens, stride, accumulates);
}

void gora_few_tokens(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                     size_t stride, bool accumulates) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return by_sixteen(w, type, x, y, rows, columns, tokens, stride, accumulates);
#endif
  gora_few_tokens_by_eight(w, type, x, y, rows, columns, tokens, stride, accumulates);
}

// Products of much memory with few tokens, as in generation: reading is what takes the time. A weight in f32 or bf16 is read where it lies,
// once for up to eight tokens.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <string.h>

// Rows of a weight, or some of their columns.
typedef struct {
  const char *memory;
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

// One number of y: the sum over whole steps, and the columns that are left.
INLINE void put_sum(float sum, weight_part w, size_t row, size_t whole, operand x, size_t token, result y) {
  for (size_t j = whole; j < w.columns; j++) sum += element(w.memory + row * w.stride, w.size == 2, j) * x.x[token * x.stride + j];
  float *out = y.memory + token * y.stride + row;
  *out = y.accumulates ? *out + sum : sum;
}

#define WIDTH 8
#define SUMS_OF_EIGHT sums_of_eight_by_eight
#include "few_rows.h"
#undef WIDTH
#undef SUMS_OF_EIGHT

CLONES_BUT_AVX512 void gora_few_tokens_by_eight(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns,
                                                size_t tokens, size_t stride, bool accumulates) {
  few_tokens_8(w, bf16, x, y, rows, columns, tokens, stride, accumulates);
}

#if defined(__x86_64__)
#define WIDTH 16
#define SUMS_OF_EIGHT sums_of_eight
#include "few_rows.h"
#undef WIDTH
#undef SUMS_OF_EIGHT

__attribute__((target("avx512f"))) static void by_sixteen(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns,
                                                          size_t tokens, size_t stride, bool accumulates) {
  few_tokens_16(w, bf16, x, y, rows, columns, tokens, stride, accumulates);
}
#endif

void gora_few_tokens(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                     bool accumulates) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return by_sixteen(w, bf16, x, y, rows, columns, tokens, stride, accumulates);
#endif
  gora_few_tokens_by_eight(w, bf16, x, y, rows, columns, tokens, stride, accumulates);
}

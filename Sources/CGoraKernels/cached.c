// Cached keys and values [n, d] of one head, and one query: a library's call would cost more than so few operations.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

// d is a constant where this is inlined for the usual sizes of heads.
INLINE void query_scores(const float *q, const void *k, bool bf16, size_t n, size_t d, float *s) {
  size_t whole = d / width * width;
  for (size_t j = 0; j < n; j += 8) {
    lanes of_keys[8] = {};
    float sums[8];
    for (size_t key = 0; key < 8 && j + key < n; key++)
      for (size_t i = 0; i < whole; i += width) of_keys[key] += *(const lanes *)(q + i) * elements(k, bf16, (j + key) * d + i);
    sums_of_eight(of_keys, sums);
    for (size_t key = 0; key < 8 && j + key < n; key++) {
      for (size_t i = whole; i < d; i++) sums[key] += q[i] * element(k, bf16, (j + key) * d + i);
      s[j + key] = sums[key];
    }
  }
}

// Columns from i on, of `vectors` vectors, a constant; keys in turn to two sums.
INLINE void add_columns(const float *p, const void *v, bool bf16, size_t n, size_t d, float *o, size_t i, size_t vectors) {
  lanes even[4], odd[4] = {};
  for (size_t c = 0; c < vectors; c++) even[c] = *(const lanes *)(o + i + c * width);
  size_t j = 0;
  for (; j + 2 <= n; j += 2)
    for (size_t c = 0; c < vectors; c++) {
      even[c] += p[j] * elements(v, bf16, j * d + i + c * width);
      odd[c] += p[j + 1] * elements(v, bf16, (j + 1) * d + i + c * width);
    }
  for (size_t c = 0; c < vectors; c++) {
    if (j < n) even[c] += p[j] * elements(v, bf16, j * d + i + c * width);
    *(lanes *)(o + i + c * width) = even[c] + odd[c];
  }
}

INLINE void add_values(const float *p, const void *v, bool bf16, size_t n, size_t d, float *o) {
  size_t i = 0;
  for (; i + 4 * width <= d; i += 4 * width) add_columns(p, v, bf16, n, d, o, i, 4);
  for (; i + width <= d; i += width) add_columns(p, v, bf16, n, d, o, i, 1);
  for (; i < d; i++)
    for (size_t j = 0; j < n; j++) o[i] += p[j] * element(v, bf16, j * d + i);
}

INLINE void scores_of_any(const float *q, const void *k, bool bf16, size_t n, size_t d, float *s) {
  if (d == 64) query_scores(q, k, bf16, n, 64, s);
  else if (d == 128) query_scores(q, k, bf16, n, 128, s);
  else query_scores(q, k, bf16, n, d, s);
}

CLONES void gora_query_scores(const float *q, const void *k, bool bf16, size_t n, size_t d, float *s) {
  if (bf16) scores_of_any(q, k, true, n, d, s);
  else scores_of_any(q, k, false, n, d, s);
}

CLONES void gora_add_values(const float *p, const void *v, bool bf16, size_t n, size_t d, float *o) {
  if (bf16) add_values(p, v, true, n, d, o);
  else add_values(p, v, false, n, d, o);
}

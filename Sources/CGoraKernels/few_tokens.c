// Products of much memory with few tokens, as in generation: reading is what takes the time.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <string.h>

enum { block = 768 };

// MARK: A weight: each element is read and widened once for up to eight tokens, and two rows share every read of x.

// x's columns from..<from+count of `tokens` rows, in the order in which `chunk_of_tokens` reads them: [count / width][tokens][width].
INLINE void pack(const float *x, size_t columns, size_t from, size_t count, size_t tokens, float *packed) {
  for (size_t j = 0; j + width <= count; j += width)
    for (size_t t = 0; t < tokens; t++, packed += width) memcpy(packed, x + t * columns + from + j, width * sizeof(float));
}

// y (+)= W x for a chunk of `tokens`, a constant of at most eight where this is inlined. Columns go by blocks, whose x is packed:
// it stays in the first cache, whatever the distance between tokens.
INLINE void chunk_of_tokens(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                            size_t stride, bool accumulates) {
  size_t size = bf16 ? sizeof(uint16_t) : sizeof(float);
  _Alignas(64) float packed[8 * block];
  for (size_t from = 0; from < columns; from += block, accumulates = true) {
    size_t count = columns - from < block ? columns - from : block, whole = count / width * width;
    pack(x, columns, from, count, tokens, packed);
    for (size_t i = 0; i < rows; i += 2) {
      const char *w0 = (const char *)w + (i * columns + from) * size, *w1 = i + 1 < rows ? w0 + columns * size : w0;
      lanes s0[8] = {}, s1[8] = {};
      const lanes *v = (const lanes *)packed;
      for (size_t j = 0; j < whole; j += width, v += tokens) {
        // The processor's own prefetching does not cross to the next rows' blocks.
        __builtin_prefetch(w0 + (j + 2 * columns) * size);
        __builtin_prefetch(w1 + (j + 2 * columns) * size);
        lanes a = elements(w0, bf16, j), b = elements(w1, bf16, j);
        for (size_t t = 0; t < tokens; t++) {
          s0[t] += a * v[t];
          s1[t] += b * v[t];
        }
      }
      float sums[2][8];
      sums_of_eight(s0, sums[0]);
      sums_of_eight(s1, sums[1]);
      for (size_t t = 0; t < tokens; t++)
        for (size_t k = 0; k < 2 && i + k < rows; k++) {
          for (size_t j = whole; j < count; j++) sums[k][t] += element(k == 0 ? w0 : w1, bf16, j) * x[t * columns + from + j];
          float *out = y + t * stride + i + k;
          *out = accumulates ? *out + sums[k][t] : sums[k][t];
        }
    }
  }
}

INLINE void all_tokens(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns, size_t tokens, size_t stride,
                       bool accumulates) {
  for (; tokens >= 8; tokens -= 8, x += 8 * columns, y += 8 * stride)
    chunk_of_tokens(w, bf16, x, y, rows, columns, 8, stride, accumulates);
  if (tokens & 4) {
    chunk_of_tokens(w, bf16, x, y, rows, columns, 4, stride, accumulates);
    x += 4 * columns, y += 4 * stride;
  }
  if (tokens & 2) {
    chunk_of_tokens(w, bf16, x, y, rows, columns, 2, stride, accumulates);
    x += 2 * columns, y += 2 * stride;
  }
  if (tokens & 1) chunk_of_tokens(w, bf16, x, y, rows, columns, 1, stride, accumulates);
}

CLONES void gora_few_tokens(const void *w, bool bf16, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                            size_t stride, bool accumulates) {
  if (bf16) all_tokens(w, true, x, y, rows, columns, tokens, stride, accumulates);
  else all_tokens(w, false, x, y, rows, columns, tokens, stride, accumulates);
}

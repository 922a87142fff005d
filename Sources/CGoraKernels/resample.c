// One direction of a separable filter over rows of RGB pixels in 8 bits, with weights in 22 bits after the point (Pillow's).
#include "clones.h"
#include "gora_kernels.h"

#include <string.h>

enum { precision = 22, half = 1 << (precision - 1) };

static inline uint8_t clipped(int32_t sum) {
  sum >>= precision;
  return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

CLONES void gora_resample_rows(const uint8_t *x, uint8_t *y, size_t rows, size_t columns, size_t out_columns, const int32_t *first,
                               const int32_t *count, const int32_t *weights, size_t taps) {
  for (size_t t = 0; t < rows; t++, x += columns * 3)
    for (size_t j = 0; j < out_columns; j++, y += 3) {
      const uint8_t *seen = x + (size_t)first[j] * 3;
      const int32_t *w = weights + j * taps;
      int32_t r = half, g = half, b = half;
      for (int32_t i = 0; i < count[j]; i++) {
        r += seen[3 * i] * w[i];
        g += seen[3 * i + 1] * w[i];
        b += seen[3 * i + 2] * w[i];
      }
      y[0] = clipped(r);
      y[1] = clipped(g);
      y[2] = clipped(b);
    }
}

CLONES void gora_resample_columns(const uint8_t *x, uint8_t *y, size_t width, size_t out_rows, const int32_t *first,
                                  const int32_t *count, const int32_t *weights, size_t taps) {
  enum { block = 64 };
  for (size_t t = 0; t < out_rows; t++, y += width)
    for (size_t from = 0; from < width; from += block) {
      size_t n = width - from < block ? width - from : block;
      int32_t sums[block];
      for (size_t j = 0; j < n; j++) sums[j] = half;
      for (int32_t i = 0; i < count[t]; i++) {
        const uint8_t *row = x + (size_t)(first[t] + i) * width + from;
        int32_t w = weights[t * taps + (size_t)i];
        for (size_t j = 0; j < n; j++) sums[j] += row[j] * w;
      }
      for (size_t j = 0; j < n; j++) y[from + j] = clipped(sums[j]);
    }
}

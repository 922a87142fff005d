// Sums over a weight and its gradient, as the importance metrics need them. Each keeps sixteen interleaved double sums that are
// added up in order; a product of two floats is exact in double.
#include "clones.h"
#include "gora_kernels.h"

#include <math.h>

enum { lanes = 16 };

static inline double in_order(const double *lane) {
  double sum = 0;
  for (int j = 0; j < lanes; j++) sum += lane[j];
  return sum;
}

// The body of a sum over `term`, an expression in `at`.
#define SUM(term)                                                \
  double lane[lanes] = {0};                                      \
  size_t i = 0;                                                  \
  for (; i + lanes <= n; i += lanes)                             \
    for (int j = 0; j < lanes; j++) {                            \
      size_t at = i + (size_t)j;                                 \
      lane[j] += term;                                           \
    }                                                            \
  for (int j = 0; i + (size_t)j < n; j++) {                      \
    size_t at = i + (size_t)j;                                   \
    lane[j] += term;                                             \
  }                                                              \
  return in_order(lane)

static inline double square(double x) { return x * x; }

CLONES double gora_sum(const float *x, size_t n) { SUM((double)x[at]); }

CLONES double gora_abs_sum(const float *x, size_t n) { SUM(fabs((double)x[at])); }

CLONES double gora_square_deviations(const float *x, double mean, size_t n) { SUM(square((double)x[at] - mean)); }

CLONES double gora_square_weighted_sum(const float *x, const float *y, size_t n) {
  SUM((double)x[at] * (double)x[at] * (double)y[at]);
}

CLONES double gora_square_product_sum(const float *x, const float *y, size_t n) { SUM(square((double)x[at] * (double)y[at])); }

CLONES void gora_scaled(const float *x, double factor, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (float)((double)x[i] * factor);
}

CLONES void gora_scaled_product(const float *x, const float *y, double factor, float *out, size_t n) {
  for (size_t i = 0; i < n; i++) out[i] = (float)((double)x[i] * (double)y[i] * factor);
}

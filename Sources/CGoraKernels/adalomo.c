// The passes of AdaLomo's factored update over a matrix; Swift's AdaLomo.swift has the formulas.
#include "clones.h"
#include "gora_kernels.h"

CLONES void gora_square_sums(const float *g, double *row, double *column, size_t rows, size_t columns) {
  REASSOCIATE
  for (size_t i = 0; i < rows; i++, g += columns) {
    double sum = 0;
    for (size_t j = 0; j < columns; j++) {
      double square = (double)g[j] * g[j];
      sum += square;
      column[j] += square;
    }
    row[i] = sum;
  }
}

CLONES double gora_factored_square_sum(const float *g, const float *row, const float *column, size_t rows, size_t columns) {
  REASSOCIATE
  double total = 0;
  for (size_t i = 0; i < rows; i++, g += columns) {
    double sum = 0;
    for (size_t j = 0; j < columns; j++) {
      double d = (double)g[j] * column[j];
      sum += d * d;
    }
    total += sum * row[i] * row[i];
  }
  return total;
}

CLONES void gora_factored_update(float *p, const float *g, const float *row, const float *column, float step, size_t rows,
                                 size_t columns) {
  for (size_t i = 0; i < rows; i++, p += columns, g += columns) {
    float factor = step * row[i];
    for (size_t j = 0; j < columns; j++) p[j] -= factor * (g[j] * column[j]);
  }
}

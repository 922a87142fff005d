// Element-wise loops, and sums along rows and columns.
#include "clones.h"
#include "gora_kernels.h"
#include "lanes.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline uint32_t to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static inline uint16_t bf16_from(float value) {
  uint32_t bits = to_bits(value);
  uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  uint32_t nan = bits >> 16 | 0x0040;
  return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

// e^x to 2 ulp: 2^n times a degree-6 polynomial on [-ln2/2, ln2/2]. NaN stays NaN, overflow is infinity.
static inline float exp_f32(float x) {
  float n = x * 1.44269504f;
  n = (n + 12582912.0f) - 12582912.0f;  // nearest integer
  float r = fmaf(n, -0.693145752f, x);
  r = fmaf(n, -1.42860677e-6f, r);
  float p = 1.0f / 720;
  p = fmaf(p, r, 1.0f / 120);
  p = fmaf(p, r, 1.0f / 24);
  p = fmaf(p, r, 1.0f / 6);
  p = fmaf(p, r, 0.5f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  float clamped = n < -126.0f ? -126.0f : n > 127.0f ? 127.0f : n;
  float y = p * from_bits((uint32_t)((int32_t)clamped + 127) << 23);
  y = n > 127.0f ? y * 2 : y;  // 2^128 itself is no float, half of it times two may be
  y = x < -87.0f ? 0.0f : y;
  y = x > 88.7f ? INFINITY : y;
  return x != x ? x : y;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

// tanh x to 2 ulp: a polynomial in x^2 (fitted at Chebyshev's points) below 1/2, e^(2|x|) above. NaN stays NaN.
static inline float tanh_f32(float x) {
  float z = x * x;
  float p = -6.94700330e-3f;
  p = fmaf(p, z, 2.14727204e-2f);
  p = fmaf(p, z, -5.39337881e-2f);
  p = fmaf(p, z, 1.33332267e-1f);
  p = fmaf(p, z, -3.33333313e-1f);
  float near = fmaf(x, z * p, x);
  float far = copysignf(1.0f - 2.0f / (1.0f + exp_f32(2.0f * fabsf(x))), x);
  return fabsf(x) < 0.5f ? near : far;
}

CLONES void gora_bf16_to_f32(const uint16_t *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = from_bits((uint32_t)x[i] << 16);
}

CLONES static void widen_f16(const uint16_t *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint32_t sign = (uint32_t)(x[i] & 0x8000) << 16, magnitude = x[i] & 0x7FFF;
    // Subnormals are numbers of 2^-24 (scaled as subnormals of f32 they would take a hundred times as long); infinities and NaNs get the
    // top exponent.
    uint32_t bits = magnitude < 0x400 ? to_bits((float)(int32_t)magnitude * 0x1p-24f) : (magnitude << 13) + (112 << 23);
    y[i] = from_bits(bits | (magnitude >= 0x7C00 ? 0x7F800000 : 0) | sign);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) static size_t widen_f16_by_cpu(const uint16_t *x, float *y, size_t n) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
  return i;
}
#endif

void gora_f16_to_f32(const uint16_t *x, float *y, size_t n) {
  size_t done = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c")) done = widen_f16_by_cpu(x, y, n);
#endif
  widen_f16(x + done, y + done, n - done);
}

CLONES void gora_f32_to_bf16(const float *x, uint16_t *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = bf16_from(x[i]);
}

void gora_f16_to_bf16(const uint16_t *x, uint16_t *y, size_t n) {
  float some[1024];
  for (size_t from = 0, count; from < n; from += count) {
    count = n - from < 1024 ? n - from : 1024;
    gora_f16_to_f32(x + from, some, count);
    gora_f32_to_bf16(some, y + from, count);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512bf16"))) static size_t narrow_by_unit(const float *x, uint16_t *y, size_t n) {
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m512bh halves = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
    _mm512_storeu_si512(y + i, (__m512i)halves);
  }
  return i;
}
#endif

void gora_narrow(const float *x, uint16_t *y, size_t n) {
  size_t done = 0;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw")) done = narrow_by_unit(x, y, n);
#endif
  gora_f32_to_bf16(x + done, y + done, n - done);
}

void gora_narrow_in_place(float *x, size_t n) {
  uint16_t some[1024], *y = (uint16_t *)x;
  for (size_t from = 0, count; from < n; from += count) {
    count = n - from < 1024 ? n - from : 1024;
    gora_narrow(x + from, some, count);
    memcpy(y + from, some, count * sizeof *some);
  }
}

static inline float rounded_to_bf16(float x) { return from_bits((uint32_t)bf16_from(x) << 16); }

// In place apart: where x and y overlap, the compiled loop goes one number at a time.
CLONES void gora_round_bf16(const float *x, float *y, size_t n) {
  if (x == y) {
    for (size_t i = 0; i < n; i++) y[i] = rounded_to_bf16(y[i]);
  } else {
    for (size_t i = 0; i < n; i++) y[i] = rounded_to_bf16(x[i]);
  }
}

CLONES void gora_add(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += x[i];
}

CLONES void gora_add_transposed(float *y, const float *x, size_t rows, size_t columns, size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    for (size_t j = 0; j < columns; j++) y[i * columns + j] += x[j * rows + i];
}

CLONES void gora_add_squares(float *y, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += x[i] * x[i];
}

CLONES void gora_scale(float *y, float factor, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] *= factor;
}

CLONES void gora_add_scaled(float *y, const float *x, float factor, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] += factor * x[i];
}

CLONES void gora_add_rows(float *y, const float *bias, size_t rows, size_t columns) {
  for (size_t t = 0; t < rows; t++)
    for (size_t j = 0; j < columns; j++) y[t * columns + j] += bias[j];
}

CLONES double gora_sum_squares(const float *x, size_t n) {
  REASSOCIATE
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return sum;
}

// Sixteen interleaved double sums, added up in order: the same bits on every machine and for any thread count.
CLONES double gora_abs_product_sum(const float *x, const float *y, size_t n) {
  double lane[16] = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; j++) lane[j] += fabs((double)x[i + j] * (double)y[i + j]);
  for (int j = 0; i + j < n; j++) lane[j] += fabs((double)x[i + j] * (double)y[i + j]);
  double sum = 0;
  for (int j = 0; j < 16; j++) sum += lane[j];
  return sum;
}

CLONES bool gora_all_finite(const float *x, size_t n) {
  uint32_t bad = 0;
  for (size_t i = 0; i < n; i++) bad |= (to_bits(x[i]) & 0x7F800000) == 0x7F800000;
  return bad == 0;
}

CLONES void gora_rms_norm(const float *x, const float *w, float offset, float *y, float *rstd, size_t rows, size_t columns,
                          float epsilon) {
  REASSOCIATE
  for (size_t t = 0; t < rows; t++, x += columns, y += columns) {
    float sum = 0;
    for (size_t j = 0; j < columns; j++) sum += x[j] * x[j];
    float r = 1.0f / sqrtf(sum / (float)columns + epsilon);
    for (size_t j = 0; j < columns; j++) y[j] = (w[j] + offset) * (x[j] * r);
    if (rstd) rstd[t] = r;
  }
}

// dx_j = r (w_j dy_j - x_j r^2 mean(w dy x)), or that added
CLONES void gora_rms_norm_backward(const float *dy, const float *x, const float *w, float offset, const float *rstd, float *dx,
                                   size_t rows, size_t columns, bool accumulates) {
  REASSOCIATE
  for (size_t t = 0; t < rows; t++, dy += columns, x += columns, dx += columns) {
    float r = rstd[t], sum = 0;
    for (size_t j = 0; j < columns; j++) sum += (w[j] + offset) * dy[j] * x[j];
    float c = sum * r * r / (float)columns;
    if (accumulates) {
      for (size_t j = 0; j < columns; j++) dx[j] += r * ((w[j] + offset) * dy[j] - x[j] * c);
    } else {
      for (size_t j = 0; j < columns; j++) dx[j] = r * ((w[j] + offset) * dy[j] - x[j] * c);
    }
  }
}

CLONES void gora_rms_norm_weight(const float *dy, const float *x, const float *rstd, float *dw, size_t rows, size_t columns,
                                 size_t from, size_t to) {
  for (size_t t = 0; t < rows; t++)
    for (size_t j = from; j < to; j++) dw[j] += dy[t * columns + j] * x[t * columns + j] * rstd[t];
}

CLONES void gora_layer_norm(const float *x, const float *w, const float *b, float *y, float *statistics, size_t rows, size_t columns,
                            float epsilon) {
  REASSOCIATE
  for (size_t t = 0; t < rows; t++, x += columns, y += columns) {
    float sum = 0, squares = 0;
    for (size_t j = 0; j < columns; j++) sum += x[j];
    float mean = sum / (float)columns;
    for (size_t j = 0; j < columns; j++) squares += (x[j] - mean) * (x[j] - mean);
    float r = 1.0f / sqrtf(squares / (float)columns + epsilon);
    for (size_t j = 0; j < columns; j++) y[j] = w[j] * ((x[j] - mean) * r) + b[j];
    statistics[2 * t] = mean;
    statistics[2 * t + 1] = r;
  }
}

// With n_j = (x_j - mean) r: dx_j = r (w_j dy_j - mean(w dy) - n_j mean(w dy n)), or that added
CLONES void gora_layer_norm_backward(const float *dy, const float *x, const float *w, const float *statistics, float *dx, size_t rows,
                                     size_t columns, bool accumulates) {
  REASSOCIATE
  for (size_t t = 0; t < rows; t++, dy += columns, x += columns, dx += columns) {
    float mean = statistics[2 * t], r = statistics[2 * t + 1], sum = 0, products = 0;
    for (size_t j = 0; j < columns; j++) {
      float g = w[j] * dy[j];
      sum += g;
      products += g * (x[j] - mean);
    }
    float shift = sum / (float)columns, slope = products * r * r / (float)columns;
    if (accumulates) {
      for (size_t j = 0; j < columns; j++) dx[j] += r * (w[j] * dy[j] - shift - (x[j] - mean) * slope);
    } else {
      for (size_t j = 0; j < columns; j++) dx[j] = r * (w[j] * dy[j] - shift - (x[j] - mean) * slope);
    }
  }
}

CLONES void gora_layer_norm_weight(const float *dy, const float *x, const float *statistics, float *dw, size_t rows, size_t columns,
                                   size_t from, size_t to) {
  for (size_t t = 0; t < rows; t++) {
    float mean = statistics[2 * t], r = statistics[2 * t + 1];
    for (size_t j = from; j < to; j++) dw[j] += dy[t * columns + j] * (x[t * columns + j] - mean) * r;
  }
}

CLONES void gora_column_sums(const float *dy, float *db, size_t rows, size_t columns, size_t from, size_t to) {
  for (size_t t = 0; t < rows; t++)
    for (size_t j = from; j < to; j++) db[j] += dy[t * columns + j];
}

CLONES void gora_scale_columns(const float *x, const float *factors, float *y, size_t rows, size_t columns) {
  for (size_t t = 0; t < rows; t++)
    for (size_t j = 0; j < columns; j++) y[t * columns + j] = x[t * columns + j] * factors[j];
}

CLONES void gora_column_products(const float *x, const float *y, float *sums, size_t rows, size_t columns, size_t from, size_t to) {
  for (size_t t = 0; t < rows; t++)
    for (size_t j = from; j < to; j++) sums[j] += x[t * columns + j] * y[t * columns + j];
}

CLONES void gora_rotate(float *x, const float *cosine, const float *sine, size_t heads, size_t d, float sign) {
  size_t half = d / 2;
  for (size_t h = 0; h < heads; h++, x += d)
    for (size_t j = 0; j < half; j++) {
      float a = x[j], b = x[j + half], s = sign * sine[j];
      x[j] = a * cosine[j] - b * s;
      x[j + half] = b * cosine[j] + a * s;
    }
}

CLONES void gora_swiglu(const float *gate, const float *up, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

CLONES void gora_swiglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float s = sigmoid(gate[i]), silu = gate[i] * s, d = dy[i];
    dgate[i] = d * up[i] * (s + silu * (1 - s));
    dup[i] = d * silu;
  }
}

// gelu(x) = x/2 (1 + tanh u) = x sigmoid(2u) with 2u = sqrt(8/pi) (x + 0.044715 x^3), as PyTorch's approximate="tanh".
static inline float gelu_gate(float x) { return sigmoid(1.59576912f * fmaf(0.044715f * x * x, x, x)); }

CLONES void gora_geglu(const float *gate, const float *up, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = gate[i] * gelu_gate(gate[i]) * up[i];
}

CLONES void gora_geglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float x = gate[i], s = gelu_gate(x), gelu = x * s, d = dy[i];
    float slope = 1.59576912f * fmaf(3 * 0.044715f * x, x, 1.0f);
    dgate[i] = d * up[i] * (s + gelu * (1 - s) * slope);
    dup[i] = d * gelu;
  }
}

// The normal distribution Phi(x) = (1 + erf(x / sqrt 2)) / 2.
static inline float normal_below(float x) { return 0.5f * erfcf(-0.707106781f * x); }

CLONES void gora_gelu(const float *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] * normal_below(x[i]);
}

CLONES void gora_gelu_backward(const float *dy, const float *x, float *dx, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float density = 0.398942280f * exp_f32(-0.5f * x[i] * x[i]);
    dx[i] = dy[i] * (normal_below(x[i]) + x[i] * density);
  }
}

CLONES void gora_quick_gelu(const float *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] * sigmoid(1.702f * x[i]);
}

CLONES void gora_quick_gelu_backward(const float *dy, const float *x, float *dx, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float s = sigmoid(1.702f * x[i]);
    dx[i] = dy[i] * (s + 1.702f * x[i] * s * (1 - s));
  }
}

// NaN stays NaN, as in PyTorch.
CLONES void gora_relu(const float *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? 0 : x[i];
}

CLONES void gora_relu_backward(const float *dy, const float *x, float *dx, size_t n) {
  for (size_t i = 0; i < n; i++) dx[i] = x[i] <= 0 ? 0 : dy[i];
}

CLONES void gora_soft_cap(float *x, size_t n, float scale, float cap) {
  float inner = scale / cap;
  for (size_t i = 0; i < n; i++) x[i] = cap * tanh_f32(x[i] * inner);
}

// The largest of x[i] scale; a NaN is passed over. In lanes, as the compiler keeps to the order of comparisons.
INLINE float maximum(const float *x, size_t n, float scale) {
  if (n >= width) {
    lanes tops[4];
    for (size_t k = 0; k < 4; k++) tops[k] = (lanes){} - INFINITY;
    size_t i = 0;
    for (; i + 4 * width <= n; i += 4 * width)
      for (size_t k = 0; k < 4; k++) tops[k] = __builtin_elementwise_max(tops[k], *(const lanes *)(x + i + k * width) * scale);
    // Some of the last ones are looked at twice.
    for (; i < n; i += width) tops[0] = __builtin_elementwise_max(tops[0], *(const lanes *)(x + (i < n - width ? i : n - width)) * scale);
    tops[0] = __builtin_elementwise_max(__builtin_elementwise_max(tops[0], tops[1]), __builtin_elementwise_max(tops[2], tops[3]));
    return __builtin_reduce_max(tops[0]);
  }
  float m = -INFINITY;
  for (size_t i = 0; i < n; i++) m = x[i] * scale > m ? x[i] * scale : m;
  return m;
}

// Sum of e^(x[i] - top), which are also kept where `keeps`. Beside the largest term the small ones would be lost in a float, and the sum of a
// vocabulary of them would come out too low: floats add up no more than a block.
static inline double exp_sum(float *x, size_t n, float top, int keeps) {
  REASSOCIATE
  double sum = 0;
  for (size_t from = 0; from < n; from += 256) {
    size_t to = from + 256 < n ? from + 256 : n;
    float part = 0;
    for (size_t i = from; i < to; i++) {
      float e = exp_f32(x[i] - top);
      if (keeps) x[i] = e;
      part += e;
    }
    sum += part;
  }
  return sum;
}

CLONES double gora_cross_entropy(float *logits, size_t vocabulary, size_t label, float scale) {
  float top = maximum(logits, vocabulary, 1), target = logits[label];
  double sum;
  if (scale == 0) {
    sum = exp_sum(logits, vocabulary, top, 0);
  } else {
    sum = exp_sum(logits, vocabulary, top, 1);
    float factor = (float)(scale / sum);
    for (size_t i = 0; i < vocabulary; i++) logits[i] *= factor;
    logits[label] -= scale;
  }
  return log(sum) + (double)top - (double)target;
}

CLONES double gora_capped_cross_entropy(float *logits, size_t vocabulary, size_t label, float scale, float cap) {
  double target = logits[label], loss = gora_cross_entropy(logits, vocabulary, label, 0);
  if (scale == 0) return loss;
  float sum = (float)(loss + target), inverse = 1 / cap, t = (float)target * inverse;
  for (size_t i = 0; i < vocabulary; i++) {
    float x = logits[i], u = x * inverse;
    logits[i] = scale * exp_f32(x - sum) * (1 - u * u);
  }
  logits[label] -= scale * (1 - t * t);
  return loss;
}

// x[i] = e^((x[i] - top) factor); returns their sum.
CLONES double gora_softmax_weights(float *x, size_t n, float top, float factor) {
  REASSOCIATE
  double sum = 0;
  for (size_t i = 0; i < n; i++) {
    x[i] = exp_f32((x[i] - top) * factor);
    sum += x[i];
  }
  return sum;
}

CLONES size_t gora_argmax(const float *x, size_t n) {
  float top = maximum(x, n, 1);
  bool has_nan = false;
  for (size_t i = 0; i < n; i++) has_nan |= x[i] != x[i];
  if (has_nan || isinf(top)) return n;
  for (size_t i = 0; i < n; i++)
    if (x[i] == top) return i;
  return n;
}

// A bijection of 32 bits whose output bits depend on every input bit.
static inline uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

// Element i of `from` elements on: the same mask whatever threads share it.
CLONES void gora_dropout(const float *x, float *y, size_t from, size_t n, uint64_t key, uint32_t threshold, float scale, bool adds) {
  uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32), first = (uint32_t)from;
  for (size_t i = 0; i < n; i++) {
    float kept = mixed(mixed(first + (uint32_t)i + low) ^ high) >= threshold ? x[i] * scale : 0;
    y[i] = adds ? y[i] + kept : kept;
  }
}

CLONES void gora_adamw(float *p, const float *g, float *m, float *v, size_t n, float gradient_scale, float lr, float beta1,
                       float beta2, float epsilon, float weight_decay, float correction1, float correction2) {
  float step = lr / correction1, root = 1 / sqrtf(correction2), decay = 1 - lr * weight_decay;
  for (size_t i = 0; i < n; i++) {
    float gradient = g[i] * gradient_scale;
    m[i] = beta1 * m[i] + (1 - beta1) * gradient;
    v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
    p[i] = p[i] * decay - step * m[i] / (sqrtf(v[i]) * root + epsilon);
  }
}

CLONES void gora_sensitivity(const float *p, const float *gradient, float *mean, float *spread, size_t n, float gradient_scale,
                             float beta1, float beta2) {
  for (size_t i = 0; i < n; i++) {
    float sensitivity = fabsf(p[i] * (gradient[i] * gradient_scale));
    mean[i] = beta1 * mean[i] + (1 - beta1) * sensitivity;
    spread[i] = beta2 * spread[i] + (1 - beta2) * fabsf(sensitivity - mean[i]);
  }
}

// The row operations of attention.c live here, beside the exponential they need.

// s[j] = e^(s[j]-new maximum) for j < n; updates the running maximum, returns the row's sum.
CLONES float gora_attention_row(float *s, size_t n, float scale, float *running) {
  REASSOCIATE
  float top = fmaxf(*running, maximum(s, n, scale)), sum = 0;
  *running = top;
  for (size_t j = 0; j < n; j++) {
    s[j] = exp_f32(s[j] * scale - top);
    sum += s[j];
  }
  return sum;
}

// s[j] = s[j] scale + bias[j]
CLONES void gora_attention_biased(float *s, const float *bias, size_t n, float scale) {
  for (size_t j = 0; j < n; j++) s[j] = s[j] * scale + bias[j];
}

// s[j] = e^(s[j] scale - lse): the probabilities again.
CLONES void gora_attention_probabilities(float *s, size_t n, float scale, float lse) {
  for (size_t j = 0; j < n; j++) s[j] = exp_f32(s[j] * scale - lse);
}

// dp[j] = scale p[j] (dp[j] - delta)
CLONES void gora_attention_dscores(float *dp, const float *p, size_t n, float scale, float delta) {
  for (size_t j = 0; j < n; j++) dp[j] = scale * p[j] * (dp[j] - delta);
}

// Both in one where scores are capped, s' = cap tanh(s scale / cap): p[j] = e^(s'[j] - lse), dp[j] = scale p[j] (dp[j] - delta) ds'/ds.
CLONES void gora_attention_capped_dscores(float *dp, float *p, size_t n, float scale, float cap, float lse, float delta) {
  float inner = scale / cap;
  for (size_t j = 0; j < n; j++) {
    float t = tanh_f32(p[j] * inner);
    p[j] = exp_f32(cap * t - lse);
    dp[j] = scale * p[j] * (dp[j] - delta) * (1 - t * t);
  }
}

CLONES float gora_dot(const float *x, const float *y, size_t n) {
  REASSOCIATE
  float sum = 0;
  for (size_t j = 0; j < n; j++) sum += x[j] * y[j];
  return sum;
}

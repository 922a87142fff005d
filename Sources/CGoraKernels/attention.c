// Causal attention of one key/value head and the query heads that share it (Dao et al. 2022, tiled over keys).
// No [queries, keys] matrix is kept: backward makes the probabilities again from the stored log-sum-exp.
#include "gora_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

float gora_attention_row(float *s, size_t n, float scale, float *running);
void gora_attention_probabilities(float *s, size_t n, float scale, float lse);
void gora_attention_dscores(float *dp, const float *p, size_t n, float scale, float delta);
float gora_dot(const float *x, const float *y, size_t n);

enum { query_tile = 128, key_tile = 256 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Two tiles and two rows of floats a thread, kept for its next call.
static float *thread_scratch(void) {
  static _Thread_local float *scratch;
  if (!scratch && posix_memalign((void **)&scratch, 64, (2 * query_tile * key_tile + 2 * query_tile) * sizeof(float)) != 0) abort();
  return scratch;
}

// Number of keys in [k0, k0+nk) that query `i` sees.
static int64_t visible(int64_t i, int64_t k0, int64_t nk) { return least(nk, i + 1 - k0); }

void gora_attention(const gora_attention_shape *shape, const float *q, const float *k, const float *v, float *o, float *lse) {
  int64_t d = shape->d, qs = shape->q_stride, ks = shape->kv_stride, tokens = shape->tokens;
  float *scratch = thread_scratch();
  float *s = scratch, *running = scratch + query_tile * key_tile, *sums = running + query_tile;
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d) {
    for (int64_t q0 = 0; q0 < tokens; q0 += query_tile) {
      int64_t nq = least(query_tile, tokens - q0);
      for (int64_t i = 0; i < nq; i++) {
        running[i] = -INFINITY;
        sums[i] = 0;
        memset(o + (q0 + i) * qs, 0, (size_t)d * sizeof(float));
      }
      int64_t last = q0 + nq;  // keys the tile's last query sees
      for (int64_t k0 = 0; k0 < last; k0 += key_tile) {
        int64_t nk = least(key_tile, last - k0);
        gora_sgemm(false, true, nq, nk, d, 1, q + q0 * qs, qs, k + k0 * ks, ks, 0, s, key_tile);
        for (int64_t i = 0; i < nq; i++) {
          int64_t n = visible(q0 + i, k0, nk);
          float *row = s + i * key_tile;
          if (n <= 0) {
            memset(row, 0, (size_t)nk * sizeof(float));
            continue;
          }
          float before = running[i];
          float sum = gora_attention_row(row, (size_t)n, shape->scale, &running[i]);
          if (n < nk) memset(row + n, 0, (size_t)(nk - n) * sizeof(float));
          float shrink = before == running[i] ? 1 : expf(before - running[i]);
          sums[i] = sums[i] * shrink + sum;
          if (shrink != 1) gora_scale(o + (q0 + i) * qs, shrink, (size_t)d);
        }
        gora_sgemm(false, false, nq, d, nk, 1, s, key_tile, v + k0 * ks, ks, 1, o + q0 * qs, qs);
      }
      for (int64_t i = 0; i < nq; i++) {
        gora_scale(o + (q0 + i) * qs, 1 / sums[i], (size_t)d);
        if (lse) lse[(q0 + i) * shape->lse_stride + h] = running[i] + logf(sums[i]);
      }
    }
  }
}

void gora_attention_cached(const gora_cached_attention_shape *shape, const float *q, const void *k, const void *v, float *o) {
  size_t d = (size_t)shape->d, tile = 2 * query_tile * key_tile, element = shape->bf16 ? 2 : 4;
  float *s = thread_scratch();
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d) {
    float running = -INFINITY, sum = 0;
    memset(o, 0, d * sizeof(float));
    for (size_t from = 0; from < (size_t)shape->keys; from += tile) {
      size_t n = (size_t)shape->keys - from < tile ? (size_t)shape->keys - from : tile, offset = from * d * element;
      gora_query_scores(q, (const char *)k + offset, shape->bf16, n, d, s);
      float before = running;
      float part = gora_attention_row(s, n, shape->scale, &running);
      float shrink = before == running ? 1 : expf(before - running);
      sum = sum * shrink + part;
      if (shrink != 1) gora_scale(o, shrink, d);
      gora_add_values(s, (const char *)v + offset, shape->bf16, n, d, o);
    }
    gora_scale(o, 1 / sum, d);
  }
}

void gora_attention_backward(const gora_attention_shape *shape, const float *q, const float *k, const float *v, const float *o,
                             const float *lse, const float *d_o, float *dq, float *dk, float *dv) {
  int64_t d = shape->d, qs = shape->q_stride, ks = shape->kv_stride, tokens = shape->tokens;
  float *scratch = thread_scratch();
  float *p = scratch, *dp = scratch + query_tile * key_tile, *delta = dp + query_tile * key_tile;
  for (int64_t j = 0; j < tokens; j++) {
    memset(dk + j * ks, 0, (size_t)d * sizeof(float));
    memset(dv + j * ks, 0, (size_t)d * sizeof(float));
  }
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d, d_o += d, dq += d) {
    for (int64_t q0 = 0; q0 < tokens; q0 += query_tile) {
      int64_t nq = least(query_tile, tokens - q0);
      for (int64_t i = 0; i < nq; i++) {
        delta[i] = gora_dot(d_o + (q0 + i) * qs, o + (q0 + i) * qs, (size_t)d);
        memset(dq + (q0 + i) * qs, 0, (size_t)d * sizeof(float));
      }
      int64_t last = q0 + nq;
      for (int64_t k0 = 0; k0 < last; k0 += key_tile) {
        int64_t nk = least(key_tile, last - k0);
        gora_sgemm(false, true, nq, nk, d, 1, q + q0 * qs, qs, k + k0 * ks, ks, 0, p, key_tile);
        gora_sgemm(false, true, nq, nk, d, 1, d_o + q0 * qs, qs, v + k0 * ks, ks, 0, dp, key_tile);
        for (int64_t i = 0; i < nq; i++) {
          int64_t n = visible(q0 + i, k0, nk);
          if (n < 0) n = 0;
          float *pi = p + i * key_tile, *dpi = dp + i * key_tile;
          gora_attention_probabilities(pi, (size_t)n, shape->scale, lse[(q0 + i) * shape->lse_stride + h]);
          gora_attention_dscores(dpi, pi, (size_t)n, shape->scale, delta[i]);
          memset(pi + n, 0, (size_t)(nk - n) * sizeof(float));
          memset(dpi + n, 0, (size_t)(nk - n) * sizeof(float));
        }
        gora_sgemm(true, false, nk, d, nq, 1, p, key_tile, d_o + q0 * qs, qs, 1, dv + k0 * ks, ks);
        gora_sgemm(true, false, nk, d, nq, 1, dp, key_tile, q + q0 * qs, qs, 1, dk + k0 * ks, ks);
        gora_sgemm(false, false, nq, d, nk, 1, dp, key_tile, k + k0 * ks, ks, 1, dq + q0 * qs, qs);
      }
    }
  }
}

// Attention of one key/value head and the query heads that share it (Dao et al. 2022, tiled over keys).
// No [queries, keys] matrix is kept: backward makes the probabilities again from the stored log-sum-exp.
#include "gora_kernels.h"

#include <math.h>
#include <string.h>

float gora_attention_row(float *s, size_t n, float scale, float *running);
void gora_attention_biased(float *s, const float *bias, size_t n, float scale);
void gora_attention_probabilities(float *s, size_t n, float scale, float lse);
void gora_attention_dscores(float *dp, const float *p, size_t n, float scale, float delta);
void gora_attention_capped_dscores(float *dp, float *p, size_t n, float scale, float cap, float lse, float delta);
float gora_dot(const float *x, const float *y, size_t n);

enum { query_tile = GORA_ATTENTION_TILE, key_tile = 2 * GORA_ATTENTION_TILE, cached_block = 64 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Two tiles and two rows of floats a thread, kept for its next call.
static float *thread_scratch(void) {
  static _Thread_local float *scratch;
  if (!scratch) scratch = gora_allocate((2 * query_tile * key_tile + 2 * query_tile) * sizeof(float));
  return scratch;
}

// First key that query `i` sees, and the end of those it sees.
static int64_t oldest(const gora_attention_shape *shape, int64_t i) {
  return shape->keys > 0 || i < shape->window ? 0 : i + 1 - shape->window;
}
static int64_t newest(const gora_attention_shape *shape, int64_t i) { return shape->keys > 0 ? shape->keys : i + 1; }

// The keys of [k0, k0+nk) that query `i` sees, counted from k0: [from, to), empty where it sees none.
typedef struct {
  int64_t from, to;
} span;

static span visible(const gora_attention_shape *shape, int64_t i, int64_t k0, int64_t nk) {
  int64_t from = oldest(shape, i) - k0, to = least(nk, newest(shape, i) - k0);
  from = least(from < 0 ? 0 : from, nk);
  return (span){from, to > from ? to : from};
}

// Keys from k0 on that go through together: up to `end` and to the next multiple of key_tile.
static int64_t tile_length(int64_t k0, int64_t end) { return least((k0 / key_tile + 1) * key_tile, end) - k0; }

// Zeros what a query does not see of its row of nk numbers.
static void clear_hidden(float *row, span seen, int64_t nk) {
  memset(row, 0, (size_t)seen.from * sizeof(float));
  if (seen.to < nk) memset(row + seen.to, 0, (size_t)(nk - seen.to) * sizeof(float));
}

// Products of queries and keys to weights, as gora_attention_row does; where there is a cap, of cap tanh(s scale / cap), where there is
// a bias, of s scale + bias.
static float weights(float *s, size_t n, float scale, float cap, const float *bias, float *running) {
  if (cap == 0 && !bias) return gora_attention_row(s, n, scale, running);
  if (bias) gora_attention_biased(s, bias, n, scale);
  else gora_soft_cap(s, n, scale, cap);
  return gora_attention_row(s, n, 1, running);
}

// The biases of head `h`, query `i` and the keys from j on.
static const float *biases(const gora_attention_shape *shape, int64_t h, int64_t i, int64_t j) {
  return shape->bias ? shape->bias + h * shape->bias_stride + j - i : NULL;
}

void gora_attention(const gora_attention_shape *shape, gora_range queries, const float *q, const float *k, const float *v, float *o,
                    float *lse) {
  int64_t d = shape->d, qs = shape->q_stride, ks = shape->kv_stride;
  float *scratch = thread_scratch();
  float *s = scratch, *running = scratch + query_tile * key_tile, *sums = running + query_tile;
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d) {
    for (int64_t q0 = queries.from; q0 < queries.to; q0 += query_tile) {
      int64_t nq = least(query_tile, queries.to - q0);
      for (int64_t i = 0; i < nq; i++) {
        running[i] = -INFINITY;
        sums[i] = 0;
        memset(o + (q0 + i) * qs, 0, (size_t)d * sizeof(float));
      }
      int64_t last = newest(shape, q0 + nq - 1);
      for (int64_t k0 = oldest(shape, q0), nk; k0 < last; k0 += nk) {
        nk = tile_length(k0, last);
        gora_sgemm(false, true, nq, nk, d, 1, q + q0 * qs, qs, k + k0 * ks, ks, 0, s, key_tile);
        for (int64_t i = 0; i < nq; i++) {
          span seen = visible(shape, q0 + i, k0, nk);
          float *row = s + i * key_tile;
          clear_hidden(row, seen, nk);
          if (seen.from == seen.to) continue;
          float before = running[i];
          float sum = weights(row + seen.from, (size_t)(seen.to - seen.from), shape->scale, shape->cap,
                              biases(shape, h, q0 + i, k0 + seen.from), &running[i]);
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

// Keys and values are read once for all the heads: block after block, while a block is in the cache.
static void cached_heads(const gora_cached_attention_shape *shape, size_t heads, const float *q, const char *k, const char *v, float *o) {
  size_t d = (size_t)shape->d, keys = (size_t)shape->keys, key = d * (shape->bf16 ? 2 : 4);
  size_t tile = 2 * query_tile * key_tile / heads;
  float *s = thread_scratch(), *running = s + 2 * query_tile * key_tile, *sums = running + query_tile;
  memset(o, 0, heads * d * sizeof(float));
  for (size_t h = 0; h < heads; h++) {
    running[h] = -INFINITY;
    sums[h] = 0;
  }
  for (size_t from = 0, n; from < keys; from += n) {
    n = keys - from < tile ? keys - from : tile;
    for (size_t j = 0, m; j < n; j += m) {
      m = n - j < cached_block ? n - j : cached_block;
      for (size_t h = 0; h < heads; h++) gora_query_scores(q + h * d, k + (from + j) * key, shape->bf16, m, d, s + h * tile + j);
    }
    for (size_t h = 0; h < heads; h++) {
      float before = running[h];
      const float *bias = shape->bias ? shape->bias + (int64_t)h * shape->bias_stride + (int64_t)from : NULL;
      float part = weights(s + h * tile, n, shape->scale, shape->cap, bias, &running[h]);
      float shrink = before == running[h] ? 1 : expf(before - running[h]);
      sums[h] = sums[h] * shrink + part;
      if (shrink != 1) gora_scale(o + h * d, shrink, d);
    }
    for (size_t j = 0, m; j < n; j += m) {
      m = n - j < cached_block ? n - j : cached_block;
      for (size_t h = 0; h < heads; h++) gora_add_values(s + h * tile + j, v + (from + j) * key, shape->bf16, m, d, o + h * d);
    }
  }
  for (size_t h = 0; h < heads; h++) gora_scale(o + h * d, 1 / sums[h], d);
}

void gora_attention_cached(const gora_cached_attention_shape *shape, const float *q, const void *k, const void *v, float *o) {
  gora_cached_attention_shape some = *shape;
  for (int64_t h = 0; h < shape->group; h += query_tile) {
    if (shape->bias) some.bias = shape->bias + h * shape->bias_stride;
    cached_heads(&some, (size_t)least(query_tile, shape->group - h), q + h * shape->d, k, v, o + h * shape->d);
  }
}

void gora_attention_backward(const gora_attention_shape *shape, gora_range queries, gora_range keys, const float *q, const float *k,
                             const float *v, const float *o, const float *lse, const float *d_o, float *dq, float *dk, float *dv,
                             float *dbias, int64_t dbias_stride) {
  int64_t d = shape->d, qs = shape->q_stride, ks = shape->kv_stride;
  float *scratch = thread_scratch();
  float *p = scratch, *dp = scratch + query_tile * key_tile, *delta = dp + query_tile * key_tile;
  for (int64_t j = keys.from; dk && j < keys.to; j++) {
    memset(dk + j * ks, 0, (size_t)d * sizeof(float));
    memset(dv + j * ks, 0, (size_t)d * sizeof(float));
  }
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d, d_o += d, dq += dq ? d : 0) {
    for (int64_t q0 = queries.from; q0 < queries.to; q0 += query_tile) {
      int64_t nq = least(query_tile, queries.to - q0);
      int64_t last = least(newest(shape, q0 + nq - 1), keys.to), first = oldest(shape, q0);
      if (first < keys.from) first = keys.from;
      if (first >= last) continue;
      for (int64_t i = 0; i < nq; i++) {
        delta[i] = gora_dot(d_o + (q0 + i) * qs, o + (q0 + i) * qs, (size_t)d);
        if (dq) memset(dq + (q0 + i) * qs, 0, (size_t)d * sizeof(float));
      }
      for (int64_t k0 = first, nk; k0 < last; k0 += nk) {
        nk = tile_length(k0, last);
        gora_sgemm(false, true, nq, nk, d, 1, q + q0 * qs, qs, k + k0 * ks, ks, 0, p, key_tile);
        gora_sgemm(false, true, nq, nk, d, 1, d_o + q0 * qs, qs, v + k0 * ks, ks, 0, dp, key_tile);
        for (int64_t i = 0; i < nq; i++) {
          span seen = visible(shape, q0 + i, k0, nk);
          size_t n = (size_t)(seen.to - seen.from);
          float *pi = p + i * key_tile, *dpi = dp + i * key_tile;
          float sum = lse[(q0 + i) * shape->lse_stride + h];
          if (shape->cap == 0) {
            const float *bias = biases(shape, h, q0 + i, k0 + seen.from);
            if (bias) gora_attention_biased(pi + seen.from, bias, n, shape->scale);
            gora_attention_probabilities(pi + seen.from, n, bias ? 1 : shape->scale, sum);
            gora_attention_dscores(dpi + seen.from, pi + seen.from, n, shape->scale, delta[i]);
            if (dbias) gora_add_scaled(dbias + h * dbias_stride + k0 + seen.from - q0 - i, dpi + seen.from, 1 / shape->scale, n);
          } else {
            gora_attention_capped_dscores(dpi + seen.from, pi + seen.from, n, shape->scale, shape->cap, sum, delta[i]);
          }
          clear_hidden(pi, seen, nk);
          clear_hidden(dpi, seen, nk);
        }
        if (dk) {
          gora_sgemm(true, false, nk, d, nq, 1, p, key_tile, d_o + q0 * qs, qs, 1, dv + k0 * ks, ks);
          gora_sgemm(true, false, nk, d, nq, 1, dp, key_tile, q + q0 * qs, qs, 1, dk + k0 * ks, ks);
        }
        if (dq) gora_sgemm(false, false, nq, d, nk, 1, dp, key_tile, k + k0 * ks, ks, 1, dq + q0 * qs, qs);
      }
    }
  }
}

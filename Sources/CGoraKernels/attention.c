// Attention of one key/value head and the query heads that share it (Dao et al. 2022, tiled over keys).
// No [queries, keys] matrix is kept: backward makes the probabilities again from the stored log-sum-exp.
#include "gora_kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

float gora_attention_row(float *s, size_t n, float scale, float *running);
void gora_attention_biased(float *s, const float *bias, size_t n, float scale);
void gora_attention_probabilities(float *s, size_t n, float scale, float lse);
void gora_attention_dscores(float *dp, const float *p, size_t n, float scale, float delta);
void gora_attention_capped_dscores(float *dp, float *p, size_t n, float scale, float cap, float lse, float delta);
float gora_dot(const float *x, const float *y, size_t n);

enum { query_tile = GORA_ATTENTION_TILE, key_tile = 2 * GORA_ATTENTION_TILE, cached_block = 64 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// What one thread works in, kept for its next call.
typedef struct {
  float *s, *ds;           // [query_tile, key_tile]
  float *running, *sums;   // [query_tile]
  float *queries;          // [query_tile, d], sums of queries
  float *keys;             // [key_tile, d], a product of keys
  uint16_t *q, *d_o;       // in bf16: [query_tile, d]
  uint16_t *k, *v;         // [key_tile, d]
  uint16_t *p_half, *ds_half;  // [query_tile, key_tile]
} scratch_space;

size_t gora_attention_scratch_floats(int64_t d) {
  size_t weights = query_tile * key_tile, rows = (query_tile + key_tile) * (size_t)d;
  return 2 * weights + 2 * query_tile + rows + (2 * rows + 2 * weights) / 2;
}

static scratch_space thread_scratch(int64_t d) {
  static _Thread_local float *memory;
  static _Thread_local int64_t most;
  if (d > most) {
    free(memory);
    memory = gora_allocate(gora_attention_scratch_floats(d) * sizeof(float));
    most = d;
  }
  size_t weights = query_tile * key_tile, queries = query_tile * (size_t)d, keys = key_tile * (size_t)d;
  scratch_space t;
  t.s = memory;
  t.ds = t.s + weights;
  t.running = t.ds + weights;
  t.sums = t.running + query_tile;
  t.queries = t.sums + query_tile;
  t.keys = t.queries + queries;
  t.q = (uint16_t *)(t.keys + keys);
  t.d_o = t.q + queries;
  t.k = t.d_o + queries;
  t.v = t.k + keys;
  t.p_half = t.v + keys;
  t.ds_half = t.p_half + weights;
  return t;
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

// Rows of d numbers, or in bf16 a copy of them with some behind, zeros or those that follow, so that products have few shapes: oneDNN
// compiles each once, and tiles of the CPU have 32 rows.
typedef struct {
  const float *x;
  int64_t stride, rows, padded;
  uint16_t *half;
} operand;

static int64_t padded(int64_t rows) {
  int64_t pad = gora_libraries_open()->tiles ? 32 : 64;
  return (rows + pad - 1) / pad * pad;
}

static operand rows_of(const gora_attention_shape *shape, const float *x, int64_t stride, int64_t rows, uint16_t *room) {
  operand t = {x, stride, rows, rows, NULL};
  if (!shape->bf16) return t;
  size_t d = (size_t)shape->d;
  t.padded = padded(rows);
  t.half = room;
  for (int64_t i = 0; i < rows; i++) gora_narrow(x + i * stride, room + (size_t)i * d, d);
  memset(room + (size_t)rows * d, 0, (size_t)(t.padded - rows) * d * sizeof(uint16_t));
  return t;
}

// Keys or values, which queries and heads see in turn: a copy of as many of them, or more, is good for the next.
static operand shared_rows(const gora_attention_shape *shape, const float *x, int64_t stride, int64_t rows, uint16_t *room, operand *last) {
  if (last->half && last->x == x && last->rows >= rows) return (operand){x, stride, rows, padded(rows), room};
  return *last = rows_of(shape, x, stride, rows, room);
}

// Weights of queries and keys, [rows, key_tile], as far as both operands are padded.
static operand weights_of(const float *s, operand queries, operand keys, uint16_t *room) {
  operand t = {s, key_tile, queries.rows, queries.padded, NULL};
  if (!queries.half) return t;
  t.half = room;
  for (int64_t i = 0; i < t.padded; i++) {
    if (i < t.rows) gora_narrow(s + i * key_tile, room + i * key_tile, (size_t)keys.padded);
    else memset(room + i * key_tile, 0, (size_t)keys.padded * sizeof(uint16_t));
  }
  return t;
}

// s[a, b] = a bᵀ
static void scores(int64_t d, operand a, operand b, float *s) {
  if (a.half) gora_bf16_gemm(false, true, a.padded, b.padded, d, a.half, d, b.half, d, false, s, key_tile);
  else gora_sgemm(false, true, a.rows, b.rows, d, 1, a.x, a.stride, b.x, b.stride, 0, s, key_tile);
}

// y[w, d] += w b, where y has w's padded rows.
static void add_weighted(int64_t d, operand w, operand b, float *y) {
  if (w.half) gora_bf16_gemm(false, false, w.padded, d, b.padded, w.half, key_tile, b.half, d, true, y, d);
  else gora_sgemm(false, false, w.rows, d, b.rows, 1, w.x, w.stride, b.x, b.stride, 1, y, d);
}

// y[keys, d] += wᵀ b
static void add_transposed(int64_t d, operand w, operand b, operand keys, float *y, float *room) {
  if (!w.half) return gora_sgemm(true, false, keys.rows, d, w.rows, 1, w.x, w.stride, b.x, b.stride, 1, y, keys.stride);
  if (gora_libraries_open()->tiles) {
    gora_bf16_gemm(true, false, keys.rows, d, w.padded, w.half, key_tile, b.half, d, true, y, keys.stride);
    return;
  }
  gora_bf16_gemm(true, false, keys.padded, d, w.padded, w.half, key_tile, b.half, d, false, room, d);
  for (int64_t j = 0; j < keys.rows; j++) gora_add(y + j * keys.stride, room + j * d, (size_t)d);
}

void gora_attention(const gora_attention_shape *shape, gora_range queries, const float *q, const float *k, const float *v, float *o,
                    float *lse) {
  int64_t d = shape->d, qs = shape->q_stride, ks = shape->kv_stride;
  scratch_space t = thread_scratch(d);
  operand last_keys = {0}, last_values = {0};
  for (int64_t h = 0; h < shape->group; h++, q += d, o += d) {
    for (int64_t q0 = queries.from; q0 < queries.to; q0 += query_tile) {
      int64_t nq = least(query_tile, queries.to - q0);
      operand asking = rows_of(shape, q + q0 * qs, qs, nq, t.q);
      for (int64_t i = 0; i < nq; i++) {
        t.running[i] = -INFINITY;
        t.sums[i] = 0;
      }
      memset(t.queries, 0, (size_t)(asking.padded * d) * sizeof(float));
      int64_t last = newest(shape, q0 + nq - 1);
      for (int64_t k0 = oldest(shape, q0), nk; k0 < last; k0 += nk) {
        nk = tile_length(k0, last);
        operand keys = shared_rows(shape, k + k0 * ks, ks, nk, t.k, &last_keys);
        operand values = shared_rows(shape, v + k0 * ks, ks, nk, t.v, &last_values);
        scores(d, asking, keys, t.s);
        for (int64_t i = 0; i < nq; i++) {
          span seen = visible(shape, q0 + i, k0, nk);
          float *row = t.s + i * key_tile;
          clear_hidden(row, seen, keys.padded);
          if (seen.from == seen.to) continue;
          float before = t.running[i];
          float sum = weights(row + seen.from, (size_t)(seen.to - seen.from), shape->scale, shape->cap,
                              biases(shape, h, q0 + i, k0 + seen.from), &t.running[i]);
          float shrink = before == t.running[i] ? 1 : expf(before - t.running[i]);
          t.sums[i] = t.sums[i] * shrink + sum;
          if (shrink != 1) gora_scale(t.queries + i * d, shrink, (size_t)d);
        }
        add_weighted(d, weights_of(t.s, asking, keys, t.p_half), values, t.queries);
      }
      for (int64_t i = 0; i < nq; i++) {
        float *row = o + (q0 + i) * qs;
        memcpy(row, t.queries + i * d, (size_t)d * sizeof(float));
        gora_scale(row, 1 / t.sums[i], (size_t)d);
        if (lse) lse[(q0 + i) * shape->lse_stride + h] = t.running[i] + logf(t.sums[i]);
      }
    }
  }
}

// Keys and values are read once for all the heads: block after block, while a block is in the cache.
static void cached_heads(const gora_cached_attention_shape *shape, size_t heads, const float *q, const char *k, const char *v, float *o) {
  size_t d = (size_t)shape->d, keys = (size_t)shape->keys, key = d * (shape->bf16 ? 2 : 4);
  size_t tile = 2 * query_tile * key_tile / heads;
  scratch_space t = thread_scratch(shape->d);
  float *s = t.s, *running = t.running, *sums = t.sums;
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
  scratch_space t = thread_scratch(d);
  float *p = t.s, *dp = t.ds, *delta = t.running;
  operand last_keys = {0}, last_values = {0};
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
      operand asking = rows_of(shape, q + q0 * qs, qs, nq, t.q), given = rows_of(shape, d_o + q0 * qs, qs, nq, t.d_o);
      for (int64_t i = 0; i < nq; i++) {
        const float *row = d_o + (q0 + i) * qs;
        // Of the same numbers as the products from which it is taken: where one weight is 1, nothing is left.
        if (given.half) {
          gora_bf16_to_f32(given.half + i * d, t.keys, (size_t)d);
          row = t.keys;
        }
        delta[i] = gora_dot(row, o + (q0 + i) * qs, (size_t)d);
      }
      if (dq) memset(t.queries, 0, (size_t)(asking.padded * d) * sizeof(float));
      for (int64_t k0 = first, nk; k0 < last; k0 += nk) {
        nk = tile_length(k0, last);
        operand near = shared_rows(shape, k + k0 * ks, ks, nk, t.k, &last_keys);
        operand values = shared_rows(shape, v + k0 * ks, ks, nk, t.v, &last_values);
        scores(d, asking, near, p);
        scores(d, given, values, dp);
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
          clear_hidden(pi, seen, near.padded);
          clear_hidden(dpi, seen, near.padded);
        }
        operand ds = weights_of(dp, asking, near, t.ds_half);
        if (dk) {
          add_transposed(d, weights_of(p, asking, near, t.p_half), given, near, dv + k0 * ks, t.keys);
          add_transposed(d, ds, asking, near, dk + k0 * ks, t.keys);
        }
        if (dq) add_weighted(d, ds, near, t.queries);
      }
      for (int64_t i = 0; dq && i < nq; i++) memcpy(dq + (q0 + i) * qs, t.queries + i * d, (size_t)d * sizeof(float));
    }
  }
}

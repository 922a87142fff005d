// The hot loops of gora, its thread pool, and the libraries behind its matrix products.
// Matrices are row-major; T tokens, H hidden, F intermediate, V vocabulary, D head dimension.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// MARK: failure.c — the end of a process that cannot go on, where nothing can be thrown

// Statuses of sysexits.h: the machine lacks something (memory, a library); a defect.
enum { GORA_UNAVAILABLE = 69, GORA_INTERNAL = 70 };

// Who speaks in gora_fail, and what it calls first: only what a signal handler may do.
void gora_at_failure(const char *tool, void (*clean)(void));
// Writes "tool: error: …" to standard error and ends the process.
_Noreturn void gora_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void gora_fail_with(int status, const char *problem);
// Memory of 64-byte alignment, or the end; for free().
void *gora_allocate(size_t bytes);
// From now on blocks of 256 KiB and more have pages of their own, which go back to the kernel when they are freed.
void gora_map_large_blocks(void);

// MARK: pool.c — one owner of the threads

typedef void (*gora_task)(void *context, int part);

// Starts the pool (once; later calls are ignored). Returns how many threads run, the caller's included: fewer than asked for where
// the system refuses some.
int gora_pool_start(int threads);
// The number asked for, by which work is cut up: results do not depend on how many threads could be started.
int gora_pool_threads(void);
// Which of the pool's threads runs this: 0 is the caller of gora_parallel. For scratch memory, never for results.
int gora_thread_index(void);
// Runs task(context, 0 … parts-1), returns when all have run. A call from inside a part runs serially.
void gora_parallel(int parts, gora_task task, void *context);

// MARK: libraries.c — OpenBLAS and oneDNN, opened at run time, always called single-threaded

typedef struct {
  const char *sgemm;     // library that multiplies in f32
  const char *openblas;  // its configuration string, or ""
  const char *onednn;    // its version, or ""
  const char *failure;   // why nothing could be opened, or NULL
  bool bf16;             // bf16 products run in hardware
  bool tiles;            // and by tiles of the CPU, in bf16_tiles.c
} gora_libraries;

const gora_libraries *gora_libraries_open(void);

// A product that fails ends the process (gora_fail).
// C[m,n] = alpha op(A) op(B) + beta C on the calling thread.
void gora_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
// C[m,n] (f32) = op(A) op(B), or that added to C, with A, B in bf16 on the calling thread; slow where `bf16` is false. oneDNN compiles
// each shape at its first call, some milliseconds.
void gora_bf16_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda, const uint16_t *b,
                    int64_t ldb, bool accumulates, float *c, int64_t ldc);

// LAPACK (column-major, Fortran conventions). Those of type int return its info, 0 or more: what is wrong with the matrix.
int gora_dpotrf(int n, double *a, int lda);                                     // lower Cholesky factor
int gora_dpotrs(int n, int columns, const double *a, int lda, double *b, int ldb);  // solve with that factor
int gora_dsyev(int n, double *a, int lda, double *values);                      // a becomes the eigenvectors, values ascend
int gora_sgesdd(int m, int n, float *a, int lda, float *s, float *u, int ldu, float *vt, int ldvt, bool vectors);
void gora_sgeqrf_q(int m, int n, float *a, int lda, float *r_diagonal);         // a becomes Q (m x n, m >= n)
// With k = min(m, n): u is m x k, vt k x n, a is overwritten.
int gora_dgesdd(int m, int n, double *a, double *s, double *u, double *vt);
void gora_dgeqrf(int m, int n, double *a, double *r);                           // a begins with Q (m x k), r is k x n

// MARK: bf16_tiles.c — the same where the CPU has tiles: the bits of an element of C depend on its k operands and their order alone

void gora_bf16_tiles(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda, const uint16_t *b,
                     int64_t ldb, bool accumulates, float *c, int64_t ldc);
// What it packs on a thread, in floats.
size_t gora_bf16_tiles_scratch_floats(void);

// MARK: few_tokens.c — products of a weight that is read once

typedef enum { GORA_F32, GORA_BF16, GORA_F16 } gora_element_type;

// Whether the loops below read weights of the type, others they must not be given: f16 where the CPU widens it.
bool gora_few_tokens_reads(gora_element_type type);
// y[t * stride + i] = sum over j of W[i, j] x[t, j], or that added, for rows of W and few tokens.
void gora_few_tokens(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                     size_t stride, bool accumulates);
// By vectors of eight floats; where there are vectors of sixteen the other takes those.
void gora_few_tokens_by_eight(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                              size_t stride, bool accumulates);

// MARK: few_bf16.c — the same by the CPU's own bf16 products

// AVX-512's products of pairs, for at most 8 tokens; tiles besides, for at most 16.
typedef enum { GORA_BF16_NONE = 0, GORA_BF16_PAIRS = 8, GORA_BF16_TILES = 16 } gora_bf16_unit;

// The best that the CPU has; the others by their order.
gora_bf16_unit gora_few_bf16_unit(void);
// x [tokens, columns] rounded to bf16, as products by that unit read it: tokens * columns elements, columns rounded up to a multiple of 32.
void gora_few_bf16_operand(gora_bf16_unit by, const float *x, size_t tokens, size_t columns, uint16_t *operand);
// As gora_few_tokens, summed in f32.
void gora_few_bf16(gora_bf16_unit by, const uint16_t *w, const uint16_t *operand, float *y, size_t rows, size_t columns, size_t tokens,
                   size_t stride, bool accumulates);

// MARK: cached.c — cached keys and values of one head, and one query

// s[j] = q k[j], and o += sum over j of p[j] v[j], for k and v [n, d] in f32 or bf16.
void gora_query_scores(const float *q, const void *k, bool bf16, size_t n, size_t d, float *s);
void gora_add_values(const float *p, const void *v, bool bf16, size_t n, size_t d, float *o);

// MARK: chunks.c — bytes of stored chunks

// HDF5's Fletcher-32: sums of big-endian words of 16 bits.
uint32_t gora_fletcher32(const uint8_t *bytes, size_t count);
// Undoes HDF5's shuffle: byte i of every element stands in plane i.
void gora_unshuffle(const uint8_t *planes, uint8_t *elements, size_t count, size_t width);
void gora_reverse_bytes(uint8_t *elements, size_t count, size_t width);

// MARK: elementwise.c — one loop each, references in the tests

void gora_bf16_to_f32(const uint16_t *x, float *y, size_t n);
void gora_f16_to_f32(const uint16_t *x, float *y, size_t n);
void gora_f16_to_bf16(const uint16_t *x, uint16_t *y, size_t n);
void gora_f32_to_bf16(const float *x, uint16_t *y, size_t n);  // nearest, ties to even
// The same for operands of products, by the CPU's own instruction where it has one: what is below 2^-126 may become 0.
void gora_narrow(const float *x, uint16_t *y, size_t n);
void gora_narrow_in_place(float *x, size_t n);  // the same to the first half of x's own memory
void gora_round_bf16(const float *x, float *y, size_t n);      // the value bf16 would hold; y may be x
void gora_add(float *y, const float *x, size_t n);             // y += x
// Rows from..to of y [rows, columns] += the transposed x [columns, rows].
void gora_add_transposed(float *y, const float *x, size_t rows, size_t columns, size_t from, size_t to);
void gora_add_squares(float *y, const float *x, size_t n);     // y += x x
void gora_scale(float *y, float factor, size_t n);
void gora_add_scaled(float *y, const float *x, float factor, size_t n);
void gora_add_rows(float *y, const float *bias, size_t rows, size_t columns);
double gora_sum_squares(const float *x, size_t n);
double gora_abs_product_sum(const float *x, const float *y, size_t n);  // sum |x y|, fixed order
bool gora_all_finite(const float *x, size_t n);
// y = (w + offset) x rstd.
void gora_rms_norm(const float *x, const float *w, float offset, float *y, float *rstd, size_t rows, size_t columns, float epsilon);
// dx is the gradient through the norm, or has it added; rstd as rms_norm left it. Where it is not added to, dx may be dy.
void gora_rms_norm_backward(const float *dy, const float *x, const float *w, float offset, const float *rstd, float *dx, size_t rows,
                            size_t columns, bool accumulates);
// dw[j] += sum over rows of dy x rstd, for columns [from, to).
void gora_rms_norm_weight(const float *dy, const float *x, const float *rstd, float *dw, size_t rows, size_t columns,
                          size_t from, size_t to);
// y = w (x - mean) rstd + b; statistics hold mean and rstd of each row.
void gora_layer_norm(const float *x, const float *w, const float *b, float *y, float *statistics, size_t rows, size_t columns,
                     float epsilon);
// dx is the gradient through the norm, or has it added. Where it is not added to, dx may be dy.
void gora_layer_norm_backward(const float *dy, const float *x, const float *w, const float *statistics, float *dx, size_t rows,
                              size_t columns, bool accumulates);
// dw[j] += sum over rows of dy (x - mean) rstd, for columns [from, to); the bias has gora_column_sums.
void gora_layer_norm_weight(const float *dy, const float *x, const float *statistics, float *dw, size_t rows, size_t columns,
                            size_t from, size_t to);
void gora_column_sums(const float *dy, float *db, size_t rows, size_t columns, size_t from, size_t to);  // db += sum
void gora_scale_columns(const float *x, const float *factors, float *y, size_t rows, size_t columns);  // y may be x
// sums[j] += sum over rows of x y, for columns [from, to).
void gora_column_products(const float *x, const float *y, float *sums, size_t rows, size_t columns, size_t from, size_t to);
// Rotates `heads` heads of dimension d in one row, half-split pairs (Hugging Face); sign -1 is the inverse.
void gora_rotate(float *x, const float *cosine, const float *sine, size_t heads, size_t d, float sign);
void gora_swiglu(const float *gate, const float *up, float *y, size_t n);
void gora_swiglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n);
// The same with the tanh form of GELU in place of SiLU.
void gora_geglu(const float *gate, const float *up, float *y, size_t n);
void gora_geglu_backward(const float *dy, const float *gate, const float *up, float *dgate, float *dup, size_t n);
// y = x Phi(x) with the exact normal distribution, and y = x sigmoid(1.702 x); dx may be dy.
void gora_gelu(const float *x, float *y, size_t n);
void gora_gelu_backward(const float *dy, const float *x, float *dx, size_t n);
void gora_quick_gelu(const float *x, float *y, size_t n);
void gora_quick_gelu_backward(const float *dy, const float *x, float *dx, size_t n);
void gora_relu(const float *x, float *y, size_t n);
void gora_relu_backward(const float *dy, const float *x, float *dx, size_t n);  // dx may be dy
void gora_soft_cap(float *x, size_t n, float scale, float cap);  // x = cap tanh(x scale / cap)
// Mean-free cross-entropy of one row: returns its loss and, when scale != 0, replaces logits by scale * dloss/dlogits.
double gora_cross_entropy(float *logits, size_t vocabulary, size_t label, float scale);
// The same for logits x = cap tanh(z / cap): the gradient is that of z.
double gora_capped_cross_entropy(float *logits, size_t vocabulary, size_t label, float scale, float cap);
size_t gora_argmax(const float *x, size_t n);  // the first of equals; n where an element is NaN or the largest is infinite
double gora_softmax_weights(float *x, size_t n, float top, float factor);  // x = e^((x - top) factor), and their sum
// y[i] = x[i] * scale, or that added, where the hash of key and i is at least the threshold; else 0, or nothing.
void gora_dropout(const float *x, float *y, size_t from, size_t n, uint64_t key, uint32_t threshold, float scale, bool adds);
// Decoupled weight decay (Loshchilov & Hutter); correction1 = 1-b1^t, correction2 = 1-b2^t.
void gora_adamw(float *p, const float *g, float *m, float *v, size_t n, float gradient_scale, float lr, float beta1, float beta2,
                float epsilon, float weight_decay, float correction1, float correction2);
// AdaLoRA: mean of |p g| where g = gradient_scale gradient, and then of its distance from that mean.
void gora_sensitivity(const float *p, const float *gradient, float *mean, float *spread, size_t n, float gradient_scale, float beta1,
                      float beta2);

// MARK: resample.c — images of RGB pixels in 8 bits, one direction of a separable filter at a time

// Pixel j of the outputs is the sum over i < count[j] of pixel first[j]+i times weights[j * taps + i] / 2^22, rounded and clipped to 8 bits.
void gora_resample_rows(const uint8_t *x, uint8_t *y, size_t rows, size_t columns, size_t out_columns, const int32_t *first,
                        const int32_t *count, const int32_t *weights, size_t taps);
// The same down the rows of `width` bytes.
void gora_resample_columns(const uint8_t *x, uint8_t *y, size_t width, size_t out_rows, const int32_t *first, const int32_t *count,
                           const int32_t *weights, size_t taps);

// MARK: sampling.c — a draw, without sorting the vocabulary

// A draw by softmax(x / temperature) from its nucleus, the smallest set of most likely elements with at least the mass top_p;
// x is overwritten, `uniform` lies in [0, 1). Returns n where an element is NaN or the largest is infinite.
size_t gora_sample(float *x, size_t n, float temperature, double top_p, double uniform);

// MARK: importance.c — sums in double precision in a fixed order

double gora_sum(const float *x, size_t n);
double gora_abs_sum(const float *x, size_t n);                             // sum |x|
double gora_square_deviations(const float *x, double mean, size_t n);      // sum (x - mean)^2
double gora_square_product_sum(const float *x, const float *y, size_t n);  // sum (x y)^2
double gora_square_weighted_sum(const float *x, const float *y, size_t n);  // sum x^2 y
void gora_scaled(const float *x, double factor, float *out, size_t n);     // out = x factor
void gora_scaled_product(const float *x, const float *y, double factor, float *out, size_t n);  // out = x y factor

// MARK: adalomo.c — a matrix g [rows, columns], factors of its rows and of its columns

// row[i] = sum over j of g^2; column[j] += sum over i of g^2.
void gora_square_sums(const float *g, double *row, double *column, size_t rows, size_t columns);
double gora_factored_square_sum(const float *g, const float *row, const float *column, size_t rows, size_t columns);  // sum (row g column)^2
void gora_factored_update(float *p, const float *g, const float *row, const float *column, float step, size_t rows,
                          size_t columns);  // p -= step row g column

// MARK: nf4.c — frozen weights in 4 bits: blocks of 64 elements, blocks of 256 scales

typedef struct {
  const uint8_t *codes;   // two elements a byte, the even one in the high half; the table's index
  const uint8_t *scales;  // one a block of elements; the scale map's index
  const float *second;    // one a block of scales; scale = map * second + offset
  float offset;
} gora_nf4;

extern const float gora_nf4_table[16];
const float *gora_nf4_scale_map(void);  // 256
// Codes of n elements from the start of a block on, and the largest magnitude of each block: NaN or infinity where it has some.
void gora_nf4_encode(const float *x, size_t n, uint8_t *codes, float *absmax);
// Codes of n largest magnitudes from the start of a block of scales on.
void gora_nf4_encode_scales(const float *absmax, size_t n, float offset, uint8_t *scales, float *second);
// Elements [from, from + count), as they are, rounded to bf16, and in it.
void gora_nf4_decode(const gora_nf4 *weight, size_t from, size_t count, bool rounds, float *y);
void gora_nf4_decode_bf16(const gora_nf4 *weight, size_t from, size_t count, uint16_t *y);

// MARK: gguf_blocks.c — ggml's blocks of quantised elements

typedef enum { GORA_Q8_0, GORA_Q4_0, GORA_Q4_1, GORA_Q5_0, GORA_Q5_1, GORA_Q4_K, GORA_Q5_K, GORA_Q6_K } gora_block_type;

// Elements [from, from + count) of a sequence of blocks, as they are, rounded to bf16, and in it.
void gora_blocks_decode(gora_block_type type, const void *blocks, size_t from, size_t count, bool rounds, float *y);
void gora_blocks_decode_bf16(gora_block_type type, const void *blocks, size_t from, size_t count, uint16_t *y);
// y[i] = sum over j of W[i, j] x[j] for rows of whole blocks, W rounded to bf16 or as it is; the second, on CPUs that have a
// gora_few_bf16_unit, for W rounded and x in bf16. Both are summed in f32.
void gora_blocks_multiply(gora_block_type type, const void *blocks, bool rounds, const float *x, float *y, size_t rows, size_t columns);
void gora_blocks_multiply_bf16(gora_block_type type, const void *blocks, const uint16_t *x, float *y, size_t rows, size_t columns);

// MARK: attention.c — attention of one sequence, tiled over keys with a running maximum

// Queries go through in tiles of so many, counted from the sequence's beginning, keys in tiles of twice as many.
#define GORA_ATTENTION_TILE 128

// Scores are s = q k scale, capped or with a bias added that goes by the distance of key and query, or neither.
typedef struct {
  int64_t keys;            // every query sees so many keys, all that there are; 0: causal, query i sees those up to its own, i
  int64_t window;          // causal: query i sees keys i+1−window … i: at least 1; INT64_MAX for all keys before it
  int64_t group;           // query heads that share this key/value head
  int64_t d;               // head dimension
  int64_t q_stride, kv_stride;  // floats from one token to the next
  int64_t lse_stride;
  float scale;
  float cap;               // scores s become cap tanh(s / cap); 0 for none
  const float *bias;       // of the first head and key i of query i: key j of query i has bias[j - i]; NULL for none
  int64_t bias_stride;     // floats from one head to the next
  bool bf16;               // products of tiles by the CPU's bf16 unit: their operands, weights too, are rounded
} gora_attention_shape;

// Tokens of a sequence: [from, to). `from` begins a tile and `to` ends one, or the sequence; results do not depend on the cut.
typedef struct {
  int64_t from, to;
} gora_range;

// Floats that a thread works in.
size_t gora_attention_scratch_floats(int64_t d);

// For one key/value head and some of the queries: o (layout of q) and the log-sum-exp of each query and head (lse may be NULL).
void gora_attention(const gora_attention_shape *shape, gora_range queries, const float *q, const float *k, const float *v, float *o,
                    float *lse);
// dq, dk, dv (layouts of q, k, v) are overwritten in their ranges. Where dq, or dk and dv, are NULL the others alone are made: dq of
// some of the queries from all keys, dk and dv of some of the keys from all queries. Where dbias (layout of the bias) is not NULL the
// bias's gradient is added there.
void gora_attention_backward(const gora_attention_shape *shape, gora_range queries, gora_range keys, const float *q, const float *k,
                             const float *v, const float *o, const float *lse, const float *d_o, float *dq, float *dk, float *dv,
                             float *dbias, int64_t dbias_stride);

typedef struct {
  int64_t keys, group, d;  // as above
  float scale, cap;
  const float *bias;       // of the first head and key: key j has bias[j]; NULL for none
  int64_t bias_stride;
  bool bf16;               // the elements of k and v, [keys, d]; float otherwise
} gora_cached_attention_shape;

// One query that sees all keys, for one key/value head: q and o are [group, d].
void gora_attention_cached(const gora_cached_attention_shape *shape, const float *q, const void *k, const void *v, float *o);

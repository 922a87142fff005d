// Products of two bf16 matrices on CPUs with tiles (AMX), the order of loops that of Goto and van de Geijn (2008): some columns of B are
// packed in pairs of rows, as tiles read them, and stay in the second cache while the rows of A go by, 32 at a time. Each element of C is
// summed up over k from the first to the last, 32 at a time, however a product is shared out.
#include "gora_kernels.h"

#include <string.h>

// What is packed at most: of B, and of an A that lies transposed, 1 MiB each; their k, and columns of B.
enum { most_elements = 1 << 19, most_k = 2048, most_columns = 512 };

size_t gora_bf16_tiles_scratch_floats(void) { return most_elements; }

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

#define TILES __attribute__((target("amx-tile,amx-bf16,avx512bf16,avx512bw,avx512vl")))
#define INLINE TILES static inline __attribute__((always_inline))

// A tile's rows, and its elements of k; rows and columns of C that are summed at once, in four tiles.
enum { side = 16, step = 32, tile = side * step, block = 2 * side };

typedef struct {
  const uint16_t *data;
  int64_t stride;
  bool transposed;
} matrix;

// Its elements from row i, column j on.
INLINE matrix part(matrix x, int64_t i, int64_t j) {
  x.data += x.transposed ? j * x.stride + i : i * x.stride + j;
  return x;
}

INLINE __mmask32 first(int64_t n) { return n >= step ? ~0u : n <= 0 ? 0 : (1u << n) - 1; }

// MARK: Packing. A strip is sixteen columns of B, or rows of A, over all of k: tile after tile.

// Sixteen rows of 32 elements to sixteen rows of pairs: their transpose, two elements taken as one.
INLINE void store_transposed(const __m512i quarters[16], uint16_t *out) {
  __m512i pairs[4];
  for (int i = 0; i < 4; i++) {
    // Quarter 4 i + j has elements 8 i to 8 i + 7 of rows j, j + 4, j + 8, j + 12.
    const __m512i *q = quarters + 4 * i;
    pairs[0] = _mm512_unpacklo_epi32(q[0], q[1]);
    pairs[1] = _mm512_unpackhi_epi32(q[0], q[1]);
    pairs[2] = _mm512_unpacklo_epi32(q[2], q[3]);
    pairs[3] = _mm512_unpackhi_epi32(q[2], q[3]);
    for (int half = 0; half < 2; half++) {
      _mm512_store_si512(out + (4 * i + 2 * half) * step, _mm512_unpacklo_epi64(pairs[half], pairs[2 + half]));
      _mm512_store_si512(out + (4 * i + 2 * half + 1) * step, _mm512_unpackhi_epi64(pairs[half], pairs[2 + half]));
    }
  }
}

INLINE __m512i quarter(const uint16_t *rows, int64_t stride) {
  __m512i q = _mm512_castsi128_si512(_mm_loadu_si128((const void *)rows));
  q = _mm512_mask_broadcast_i32x4(q, 0x00F0, _mm_loadu_si128((const void *)(rows + 4 * stride)));
  q = _mm512_mask_broadcast_i32x4(q, 0x0F00, _mm_loadu_si128((const void *)(rows + 8 * stride)));
  return _mm512_mask_broadcast_i32x4(q, 0xF000, _mm_loadu_si128((const void *)(rows + 12 * stride)));
}

// Of at most sixteen rows and 32 columns those that there are, and zeros.
INLINE void copy_tile(const uint16_t *x, int64_t stride, int64_t rows, int64_t columns, uint16_t *out) {
  for (int64_t i = 0; i < side; i++)
    _mm512_store_si512(out + i * step,
                       i < rows ? _mm512_maskz_loadu_epi16(first(columns), x + i * stride) : _mm512_setzero_si512());
}

INLINE void store_rows_as_pairs(const uint16_t *rows, int64_t stride, uint16_t *out) {
  __m512i quarters[16];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) quarters[4 * i + j] = quarter(rows + j * stride + 8 * i, stride);
  store_transposed(quarters, out);
}

// One strip of a B that lies transposed: [columns, k].
TILES static void pack_transposed_columns(const uint16_t *x, int64_t stride, int64_t columns, int64_t k, uint16_t *out) {
  _Alignas(64) uint16_t some[tile];
  for (int64_t j = 0; j < k; j += step, x += step, out += tile) {
    for (int64_t i = 0; i < side; i++) __builtin_prefetch(x + i * stride + 8 * step);
    bool whole = columns >= side && k - j >= step;
    if (!whole) copy_tile(x, stride, columns, k - j, some);
    store_rows_as_pairs(whole ? x : some, whole ? stride : step, out);
  }
}

// Two rows of 32 elements, the second below the first, to two rows of pairs.
INLINE void pair(const uint16_t *x, int64_t stride, int64_t rows, __mmask32 columns, __m512i *left, __m512i *right) {
  __m512i upper = rows > 0 ? _mm512_maskz_loadu_epi16(columns, x) : _mm512_setzero_si512();
  __m512i lower = rows > 1 ? _mm512_maskz_loadu_epi16(columns, x + stride) : _mm512_setzero_si512();
  __m512i low = _mm512_unpacklo_epi16(upper, lower), high = _mm512_unpackhi_epi16(upper, lower);
  *left = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
  *right = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
}

// Strips of a B as it is, [k, columns], two at a time; each stands `apart` behind the one before. Rows are read as they lie.
TILES static void pack_columns(const uint16_t *x, int64_t stride, int64_t columns, int64_t k, uint16_t *out, int64_t apart) {
  for (int64_t j = 0; j < k || j % step != 0; j += 2, x += 2 * stride, out += step)
    for (int64_t i = 0; i < columns; i += block) {
      __m512i left, right;
      __builtin_prefetch(x + i + 8 * stride);
      __builtin_prefetch(x + i + 9 * stride);
      pair(x + i, stride, k - j, first(columns - i), &left, &right);
      _mm512_store_si512(out + i / side * apart, left);
      _mm512_store_si512(out + (i / side + 1) * apart, right);
    }
}

// Two strips of an A that lies transposed: [k, rows].
TILES static void pack_transposed_rows(const uint16_t *x, int64_t stride, int64_t rows, int64_t k, uint16_t *out, int64_t apart) {
  _Alignas(64) uint16_t pairs[2 * tile];
  for (int64_t j = 0; j < k; j += step, x += step * stride, out += tile) {
    pack_columns(x, stride, rows < block ? rows : block, k - j < step ? k - j : step, pairs, tile);
    store_rows_as_pairs(pairs, step, out);
    store_rows_as_pairs(pairs + tile, step, out + apart);
  }
}

// Two strips of an A as it is.
TILES static void pack_rows(const uint16_t *x, int64_t stride, int64_t rows, int64_t k, uint16_t *out, int64_t apart) {
  for (int64_t j = 0; j < k; j += step, x += step, out += tile) {
    copy_tile(x, stride, rows, k - j, out);
    copy_tile(x + side * stride, stride, rows - side, k - j, out + apart);
  }
}

// MARK: Multiplying

// 32 rows of A: two strips, each tile `next` after the one before.
typedef struct {
  const uint16_t *data;
  int64_t apart, next, stride;
} strips;

// Where the 32 x 32 sums go, and what is asked for meanwhile: where the next ones will go, and rows of A.
typedef struct {
  float *c;
  int64_t stride;
  bool accumulates;
  const float *next_c;
  const uint16_t *next_a;
  int64_t next_rows;
} target;

INLINE void multiply_block(strips a, const uint16_t *b, int64_t apart, int64_t steps, target t) {
  size_t bytes = (size_t)t.stride * sizeof *t.c, a_bytes = (size_t)a.stride * sizeof *a.data;
  float *lower = t.c + side * t.stride;
  if (t.accumulates) {
    _tile_loadd(0, t.c, bytes);
    _tile_loadd(1, t.c + side, bytes);
    _tile_loadd(2, lower, bytes);
    _tile_loadd(3, lower + side, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  int64_t at_once = (block + steps - 1) / steps, row = 0;
  for (int64_t s = 0; s < steps; s++) {
    for (int64_t i = 0; i < at_once && row < block; i++, row++) {
      __builtin_prefetch(t.next_c + row * t.stride, 1, 3);
      __builtin_prefetch(t.next_c + row * t.stride + side, 1, 3);
    }
    for (int64_t i = 0; i < t.next_rows; i++) __builtin_prefetch(t.next_a + i * a.stride + s * step, 0, 2);
    _tile_loadd(4, a.data, a_bytes);
    _tile_loadd(6, b, 2 * step);
    _tile_loadd(7, b + apart, 2 * step);
    _tile_loadd(5, a.data + a.apart, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a.data += a.next;
    b += tile;
  }
  _tile_stored(0, t.c, bytes);
  _tile_stored(1, t.c + side, bytes);
  _tile_stored(2, lower, bytes);
  _tile_stored(3, lower + side, bytes);
}

// The same where C ends within the block.
INLINE void multiply_edge(strips a, const uint16_t *b, int64_t apart, int64_t steps, target t, int64_t rows, int64_t columns) {
  _Alignas(64) float some[block * block];
  size_t bytes = (size_t)(columns < block ? columns : block) * sizeof *some;
  if (rows > block) rows = block;
  for (int64_t i = 0; t.accumulates && i < rows; i++) memcpy(some + i * block, t.c + i * t.stride, bytes);
  multiply_block(a, b, apart, steps, (target){some, block, t.accumulates, some, a.data, 0});
  for (int64_t i = 0; i < rows; i++) memcpy(t.c + i * t.stride, some + i * block, bytes);
}

// Columns of B, packed: strips of so many tiles.
typedef struct {
  const uint16_t *data;
  int64_t columns, steps;
} packed_columns;

// At most 32 rows of A with them. Where A is read as it lies, the next 32 are asked for meanwhile.
INLINE void multiply_rows(strips a, int64_t rows, bool asks_for_next, packed_columns b, float *c, int64_t stride, bool accumulates) {
  int64_t blocks = (b.columns + block - 1) / block, strip = b.steps * tile;
  for (int64_t j = 0; j < b.columns; j += block) {
    target t = {c + j, stride, accumulates, j + block < b.columns ? c + j + block : c + block * stride, a.data, 0};
    if (asks_for_next) {
      t.next_a += (block + j / blocks) * a.stride;
      t.next_rows = (block + blocks - 1) / blocks;
    }
    const uint16_t *of_b = b.data + j / side * strip;
    if (rows >= block && b.columns - j >= block) multiply_block(a, of_b, strip, b.steps, t);
    else multiply_edge(a, of_b, strip, b.steps, t, rows, b.columns - j);
  }
}

TILES static void configure(void) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } tiles = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    tiles.bytes[i] = 2 * step;
    tiles.rows[i] = side;
  }
  _tile_loadconfig(&tiles);
}

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// What a thread packs into, kept for its next product.
static uint16_t *room(void) {
  static _Thread_local uint16_t *memory;
  if (!memory) memory = gora_allocate(2 * most_elements * sizeof *memory);
  return memory;
}

TILES void gora_bf16_tiles(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a_data, int64_t lda,
                           const uint16_t *b_data, int64_t ldb, bool accumulates, float *c, int64_t ldc) {
  matrix a = {a_data, lda, transpose_a}, b = {b_data, ldb, transpose_b};
  uint16_t *packed_b = room(), *packed_a = packed_b + most_elements;
  if (k == 0 && !accumulates)
    for (int64_t i = 0; i < m; i++) memset(c + i * ldc, 0, (size_t)n * sizeof *c);
  configure();
  for (int64_t k0 = 0; k0 < k; k0 += most_k) {
    int64_t depth = least(k - k0, most_k), steps = (depth + step - 1) / step, strip = steps * tile;
    int64_t most_rows = most_elements / strip / 2 * block, columns_at_once = least(most_rows, most_columns);
    if (!transpose_a) most_rows = m;
    for (int64_t m0 = 0; m0 < m; m0 += most_rows) {
      int64_t rows = least(m - m0, most_rows);
      for (int64_t i = 0; transpose_a && i < rows; i += block)
        pack_transposed_rows(part(a, m0 + i, k0).data, lda, rows - i, depth, packed_a + i / side * strip, strip);
      for (int64_t n0 = 0; n0 < n; n0 += columns_at_once) {
        packed_columns some = {packed_b, least(n - n0, columns_at_once), steps};
        const uint16_t *from = part(b, k0, n0).data;
        if (!transpose_b) pack_columns(from, ldb, some.columns, depth, packed_b, strip);
        for (int64_t j = 0; transpose_b && j < some.columns; j += side)
          pack_transposed_columns(from + j * ldb, ldb, some.columns - j, depth, packed_b + j / side * strip);
        for (int64_t i = 0; i < rows; i += block) {
          strips packed = {packed_a, strip, tile, step}, x = {part(a, m0 + i, k0).data, side * lda, step, lda};
          bool is_edge = rows - i < block || depth % step != 0;
          if (transpose_a) packed.data += i / side * strip;
          else if (is_edge) pack_rows(x.data, lda, rows - i, depth, packed_a, strip);
          if (transpose_a || is_edge) x = packed;
          multiply_rows(x, rows - i, x.data != packed.data && i + 2 * block <= rows, some, c + (m0 + i) * ldc + n0, ldc,
                        accumulates || k0 > 0);
        }
      }
    }
  }
  _tile_release();
}
#else
void gora_bf16_tiles(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda,
                     const uint16_t *b, int64_t ldb, bool accumulates, float *c, int64_t ldc) {}
#endif

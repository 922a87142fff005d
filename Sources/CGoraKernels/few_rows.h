// The loops of few_tokens.c by vectors of WIDTH floats, whose lanes SUMS_OF_EIGHT adds up: included once for each width. A weight's elements
// are read and widened where they lie, two vectors a step; in bf16 those at even places come first, as they take less to widen than
// neighbours do, and x is put beside them in the same order. Eight sums at a time leave room for all of a step in sixteen vectors.
#define JOIN_WORDS(name, width) name##_##width
#define JOIN(name, width) JOIN_WORDS(name, width)
#define SIZED(name) JOIN(name, WIDTH)
#define vector SIZED(vector)
enum { SIZED(step) = 2 * WIDTH };

typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef uint32_t SIZED(pairs) __attribute__((vector_size(4 * WIDTH), aligned(2)));
typedef _Float16 SIZED(f16s) __attribute__((vector_size(2 * WIDTH), aligned(2)));

// Whole steps of x: [steps][tokens][2][WIDTH].
INLINE void SIZED(pack)(const float *x, gora_element_type type, size_t columns, size_t steps, size_t tokens, float *packed) {
  for (size_t j = 0; j < steps; j++)
    for (size_t t = 0; t < tokens; t++, packed += SIZED(step)) {
      const float *from = x + t * columns + j * SIZED(step);
      if (type != GORA_BF16) memcpy(packed, from, SIZED(step) * sizeof(float));
      for (size_t i = 0; type == GORA_BF16 && i < WIDTH; i++) {
        packed[i] = from[2 * i];
        packed[WIDTH + i] = from[2 * i + 1];
      }
    }
}

INLINE void SIZED(widen)(const char *w, gora_element_type type, vector out[2]) {
  if (type == GORA_BF16) {
    SIZED(pairs) both = *(const SIZED(pairs) *)w;
    out[0] = (vector)(both << 16);
    out[1] = (vector)(both & 0xFFFF0000u);
  } else if (type == GORA_F16) {
    out[0] = __builtin_convertvector(((const SIZED(f16s) *)w)[0], vector);
    out[1] = __builtin_convertvector(((const SIZED(f16s) *)w)[1], vector);
  } else {
    out[0] = ((const vector *)w)[0];
    out[1] = ((const vector *)w)[1];
  }
}

// One step of a row with up to four tokens; `sums` of even and of odd vectors apart.
INLINE void SIZED(add_step)(const char *w, gora_element_type type, const float *x, size_t tokens, vector sums[2][4]) {
  vector elements[2];
  SIZED(widen)(w, type, elements);
  for (size_t t = 0; t < tokens; t++)
    for (size_t half = 0; half < 2; half++) sums[half][t] += elements[half] * ((const vector *)x)[2 * t + half];
}

// A step of a row, on its way to the first cache.
INLINE void SIZED(fetch)(const char *w, size_t bytes) {
  for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(w + line);
}

// Up to four tokens, a constant: row after row as they lie, as many as have eight sums or fewer. One or two tokens take
// two steps at a time.
INLINE void SIZED(rows_in_turn)(weight_part w, operand x, result y, size_t tokens) {
  size_t steps = w.columns / SIZED(step), bytes = SIZED(step) * w.size, group = 8 / tokens, at_a_time = tokens <= 2 ? 2 : 1;
  for (size_t i = 0, n; i < w.rows; i += n) {
    vector of_rows[8] = {};
    float all[8];
    n = w.rows - i < group ? w.rows - i : group;
    for (size_t r = 0; r < n; r++) {
      const char *row = w.memory + (i + r) * w.stride;
      const float *packed = x.packed;
      vector sums[2][2][4] = {};
      size_t j = 0;
      for (; j + at_a_time <= steps; j += at_a_time)
        for (size_t k = 0; k < at_a_time; k++, row += bytes, packed += SIZED(step) * tokens) {
          if (k == 0 || bytes >= 64) SIZED(fetch)(row + ahead, bytes);
          SIZED(add_step)(row, w.type, packed, tokens, sums[k]);
        }
      if (j < steps) SIZED(add_step)(row, w.type, packed, tokens, sums[0]);
      for (size_t t = 0; t < tokens; t++)
        of_rows[r * tokens + t] = (sums[0][0][t] + sums[0][1][t]) + (sums[1][0][t] + sums[1][1][t]);
    }
    SUMS_OF_EIGHT(of_rows, all);
    for (size_t r = 0; r < n; r++)
      for (size_t t = 0; t < tokens; t++) put_sum(all[r * tokens + t], w, i + r, steps * SIZED(step), x, t, y);
  }
}

// Up to four of more tokens, a constant: two rows share every read of x.
INLINE void SIZED(two_rows)(weight_part w, size_t i, operand x, size_t token, result y, size_t tokens) {
  size_t steps = w.columns / SIZED(step), bytes = SIZED(step) * w.size, n = i + 1 < w.rows ? 2 : 1;
  const char *first = w.memory + i * w.stride, *second = first + (n - 1) * w.stride;
  const float *packed = x.packed + SIZED(step) * token;
  vector sums[8] = {}, elements[2][2];
  float all[8];
  for (size_t j = 0; j < steps; j++, first += bytes, second += bytes, packed += SIZED(step) * x.tokens) {
    // The processor's own prefetching does not cross to the next rows' parts.
    SIZED(fetch)(first + 2 * w.stride, bytes);
    SIZED(fetch)(second + 2 * w.stride, bytes);
    SIZED(widen)(first, w.type, elements[0]);
    SIZED(widen)(second, w.type, elements[1]);
    for (size_t half = 0; half < 2; half++)
      for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < 2; r++) sums[4 * r + t] += elements[r][half] * ((const vector *)packed)[2 * t + half];
  }
  SUMS_OF_EIGHT(sums, all);
  for (size_t r = 0; r < n; r++)
    for (size_t t = 0; t < tokens; t++) put_sum(all[4 * r + t], w, i + r, steps * SIZED(step), x, token + t, y);
}

// Up to eight tokens, by parts of the columns whose x, packed, stays in the first cache.
INLINE void SIZED(tokens_at_once)(weight_part w, const float *x, size_t tokens, result y) {
  _Alignas(64) float packed[packed_floats];
  size_t columns = w.columns, most = packed_floats / tokens / SIZED(step) * SIZED(step);
  for (size_t from = 0; from < columns; from += w.columns, w.memory += w.columns * w.size, y.accumulates = true) {
    w.columns = columns - from < most ? columns - from : most;
    SIZED(pack)(x + from, w.type, columns, w.columns / SIZED(step), tokens, packed);
    operand part = {x + from, columns, packed, tokens};
    switch (tokens) {
      case 1: SIZED(rows_in_turn)(w, part, y, 1); continue;
      case 2: SIZED(rows_in_turn)(w, part, y, 2); continue;
      case 3: SIZED(rows_in_turn)(w, part, y, 3); continue;
      case 4: SIZED(rows_in_turn)(w, part, y, 4); continue;
      default: break;
    }
    for (size_t i = 0; i < w.rows; i += 2) {
      SIZED(two_rows)(w, i, part, 0, y, 4);
      switch (tokens - 4) {
        case 1: SIZED(two_rows)(w, i, part, 4, y, 1); break;
        case 2: SIZED(two_rows)(w, i, part, 4, y, 2); break;
        case 3: SIZED(two_rows)(w, i, part, 4, y, 3); break;
        default: SIZED(two_rows)(w, i, part, 4, y, 4); break;
      }
    }
  }
}

INLINE void SIZED(all_tokens)(weight_part w, const float *x, size_t tokens, result y) {
  for (size_t n; tokens > 0; tokens -= n, x += n * w.columns, y.memory += n * y.stride) {
    n = tokens < 8 ? tokens : 8;
    SIZED(tokens_at_once)(w, x, n, y);
  }
}

// The type is a constant.
INLINE void SIZED(few_tokens)(const void *w, gora_element_type type, const float *x, float *y, size_t rows, size_t columns, size_t tokens,
                              size_t stride, bool accumulates) {
  size_t size = type == GORA_F32 ? 4 : 2;
  SIZED(all_tokens)((weight_part){w, type, size, size * columns, rows, columns}, x, tokens, (result){y, stride, accumulates});
}

#undef vector
#undef SIZED
#undef JOIN
#undef JOIN_WORDS

// OpenBLAS (with its LAPACK) and oneDNN, opened with dlopen on first use; bf16 is multiplied by the CPU's tiles where it has some. Three
// reasons for dlopen:
//  - OpenBLAS and OpenMP read their environment when they are loaded: opened here, they are told to stay single-threaded (the pool
//    owns the threads), and OpenBLAS which kernels to use (0.3.21 takes Haswell's on CPUs with AVX-512);
//  - a stage that multiplies nothing starts without them;
//  - where oneDNN is missing everything still runs.
#include "gora_kernels.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#define HAVE_ONEDNN 1
#endif

static gora_libraries libraries = {"none", "", "", NULL, false, false};

typedef int (*dnnl_sgemm_type)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
                               float *, int64_t);
static dnnl_sgemm_type onednn_sgemm;

static void (*cblas_sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static void (*dpotrf)(const char *, const int *, double *, const int *, int *);
static void (*dpotrs)(const char *, const int *, const int *, const double *, const int *, double *, const int *, int *);
static void (*dsyev)(const char *, const char *, const int *, double *, const int *, double *, double *, const int *, int *);
static void (*sgesdd)(const char *, const int *, const int *, float *, const int *, float *, float *, const int *, float *,
                      const int *, float *, const int *, int *, int *);
static void (*dgesdd)(const char *, const int *, const int *, double *, const int *, double *, double *, const int *, double *,
                      const int *, double *, const int *, int *, int *);
static void (*sgeqrf)(const int *, const int *, float *, const int *, float *, float *, const int *, int *);
static void (*sorgqr)(const int *, const int *, const int *, float *, const int *, const float *, float *, const int *, int *);
static void (*dgeqrf)(const int *, const int *, double *, const int *, double *, double *, const int *, int *);
static void (*dorgqr)(const int *, const int *, const int *, double *, const int *, const double *, double *, const int *, int *);

static bool has_avx512(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

static bool has_avx512_bf16(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

// dnnl_status_t, also where its header is not there.
static const char *status_text(int status) {
  switch (status) {
  case 1: return "out of memory";
  case 2: return "invalid arguments";
  case 3: return "not implemented";
  default: return "runtime error";
  }
}

// What the libraries find in the environment while they are loaded, whatever it holds: one thread, on any CPU.
typedef struct {
  const char *name, *value;  // NULL: not set
  char *before;
} variable;

static void set(const char *name, const char *value) {
  if (value) setenv(name, value, 1);
  else unsetenv(name);
}

static void set_for_load(variable *v) {
  const char *before = getenv(v->name);
  v->before = before ? strdup(before) : NULL;
  if (before && !v->before) gora_fail(GORA_UNAVAILABLE, "out of memory");
  set(v->name, v->value);
}

static void set_as_before(variable *v) {
  set(v->name, v->before);
  free(v->before);
}

// What dlopen or dlsym says is wrong, kept.
static const char *last_error(void) {
  static char text[256];
  const char *error = dlerror();
  snprintf(text, sizeof text, "%s", error ? error : "unknown error");
  return text;
}

static void open_openblas(void) {
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    libraries.failure = last_error();
    library = dlopen("libopenblas.so", RTLD_NOW | RTLD_LOCAL);
  }
  if (!library) return;
  libraries.failure = NULL;
  cblas_sgemm = dlsym(library, "cblas_sgemm");
  dpotrf = dlsym(library, "dpotrf_");
  dpotrs = dlsym(library, "dpotrs_");
  dsyev = dlsym(library, "dsyev_");
  sgesdd = dlsym(library, "sgesdd_");
  sgeqrf = dlsym(library, "sgeqrf_");
  sorgqr = dlsym(library, "sorgqr_");
  dgesdd = dlsym(library, "dgesdd_");
  dgeqrf = dlsym(library, "dgeqrf_");
  dorgqr = dlsym(library, "dorgqr_");
  if (!cblas_sgemm || !dpotrf || !dpotrs || !dsyev || !sgesdd || !sgeqrf || !sorgqr || !dgesdd || !dgeqrf || !dorgqr) {
    libraries.failure = "libopenblas lacks cblas_sgemm or its LAPACK";
    return;
  }
  void (*set_threads)(int) = dlsym(library, "openblas_set_num_threads");
  if (set_threads) set_threads(1);
  const char *(*config)(void) = dlsym(library, "openblas_get_config");
  libraries.openblas = config ? config() : "unknown";
  libraries.sgemm = "OpenBLAS";
}

#ifdef HAVE_ONEDNN
#define DNNL_FUNCTIONS(X)                                                                                        \
  X(dnnl_engine_create) X(dnnl_stream_create) X(dnnl_stream_wait) X(dnnl_memory_create) X(dnnl_memory_destroy) \
  X(dnnl_memory_set_data_handle) X(dnnl_set_primitive_cache_capacity) X(dnnl_primitive_create)                  \
  X(dnnl_primitive_execute) X(dnnl_primitive_desc_destroy) X(dnnl_primitive_destroy)                           \
  X(dnnl_primitive_desc_query_md) X(dnnl_memory_desc_get_size) X(dnnl_primitive_attr_set_scratchpad_mode)
#define DECLARE(name) static __typeof__(&name) p_##name;
DNNL_FUNCTIONS(DECLARE)
#if DNNL_VERSION_MAJOR >= 3
DECLARE(dnnl_memory_desc_create_with_strides)
DECLARE(dnnl_memory_desc_destroy)
DECLARE(dnnl_matmul_primitive_desc_create)
#else
DECLARE(dnnl_memory_desc_init_by_strides)
DECLARE(dnnl_matmul_desc_init)
DECLARE(dnnl_primitive_desc_create)
#endif
DECLARE(dnnl_primitive_attr_create)
DECLARE(dnnl_primitive_attr_destroy)
DECLARE(dnnl_primitive_attr_set_post_ops)
DECLARE(dnnl_post_ops_create)
DECLARE(dnnl_post_ops_destroy)
DECLARE(dnnl_post_ops_append_sum)
static dnnl_engine_t engine;

static void onednn_failed(dnnl_status_t status) {
  static char text[64];
  snprintf(text, sizeof text, "oneDNN cannot be used for bf16: %s", status_text(status));
  libraries.failure = text;
}

static bool open_bf16(void *library) {
  bool all = true;
#define LOAD(name) all = (p_##name = dlsym(library, #name)) != NULL && all;
  DNNL_FUNCTIONS(LOAD)
#if DNNL_VERSION_MAJOR >= 3
  LOAD(dnnl_memory_desc_create_with_strides)
  LOAD(dnnl_memory_desc_destroy)
  LOAD(dnnl_matmul_primitive_desc_create)
#else
  LOAD(dnnl_memory_desc_init_by_strides)
  LOAD(dnnl_matmul_desc_init)
  LOAD(dnnl_primitive_desc_create)
#endif
  LOAD(dnnl_primitive_attr_create)
  LOAD(dnnl_primitive_attr_destroy)
  LOAD(dnnl_primitive_attr_set_post_ops)
  LOAD(dnnl_post_ops_create)
  LOAD(dnnl_post_ops_destroy)
  LOAD(dnnl_post_ops_append_sum)
  if (!all) return false;
  dnnl_status_t status = p_dnnl_engine_create(&engine, dnnl_cpu, 0);
  // Threads keep what they use; the library's own 1,024 are for what several make at the same time.
  if (status == dnnl_success) status = p_dnnl_set_primitive_cache_capacity(64);
  if (status != dnnl_success) onednn_failed(status);
  return status == dnnl_success;
}

static dnnl_status_t bf16_multiply(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda,
                                   const uint16_t *b, int64_t ldb, bool accumulates, float *c, int64_t ldc);

// Whether the engine multiplies bf16, found by a product of every kind: afterwards one that fails is a failure.
static bool multiplies_bf16(void) {
  uint16_t operand[4] = {0};
  float result[4] = {0};
  dnnl_status_t status = dnnl_success;
  for (int kind = 0; kind < 8 && status == dnnl_success; kind++)
    status = bf16_multiply(kind & 4, kind & 1, 2, 2, 2, operand, 2, operand, 2, kind & 2, result, 2);
  if (status != dnnl_success && status != dnnl_unimplemented) onednn_failed(status);
  return status == dnnl_success;
}
#endif

static bool is_asked_for(const char *choice) {
  const char *asked = getenv("GORA_MATMUL");
  return asked && strcmp(asked, choice) == 0;
}

static void open_onednn(void) {
  if (is_asked_for("openblas")) return;
#ifdef HAVE_ONEDNN
  // Debian 13 has no name by the major version alone.
  char names[2][32];
  snprintf(names[0], sizeof names[0], "libdnnl.so.%d", DNNL_VERSION_MAJOR);
  snprintf(names[1], sizeof names[1], "libdnnl.so.%d.%d", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR);
  void *library = NULL;
  for (int i = 0; i < 2 && !library; i++) {
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library) break;
    // Without it OpenBLAS multiplies, to other bytes: only where it is not there at all.
    const char *error = last_error();
    bool is_absent = strncmp(error, names[i], strlen(names[i])) == 0 && strstr(error, "No such file");
    if (!is_absent) libraries.failure = error;
    if (!is_absent) return;
  }
  if (!library) return;
  onednn_sgemm = (dnnl_sgemm_type)dlsym(library, "dnnl_sgemm");
  if (!onednn_sgemm) {
    libraries.failure = last_error();
    return;
  }
  static char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
  libraries.onednn = version;
  libraries.sgemm = "oneDNN";
  // "bf16" asks for oneDNN's bf16 product even where it has to emulate the unit, slowly, and where there are tiles: for tests.
  bool is_wanted = has_avx512_bf16() || is_asked_for("bf16");
  libraries.bf16 = !libraries.tiles && open_bf16(library) && is_wanted && multiplies_bf16();
#endif
}

static void open_all(void) {
  variable variables[] = {{"OPENBLAS_NUM_THREADS", "1"}, {"GOTO_NUM_THREADS", "1"}, {"OMP_NUM_THREADS", "1"},
                          {"OMP_PROC_BIND"},             {"OMP_PLACES"},            {"GOMP_CPU_AFFINITY"},
                          {"OPENBLAS_CORETYPE"}};
  int count = sizeof variables / sizeof *variables;
  // The kernels are the user's choice, if there is one.
  const char *core = getenv("OPENBLAS_CORETYPE");
  variables[count - 1].value = core ? core : has_avx512() ? "SkylakeX" : NULL;
  for (int i = 0; i < count; i++) set_for_load(&variables[i]);
  // With tiles bf16_tiles.c multiplies, if no library was asked for.
  libraries.tiles = !is_asked_for("openblas") && !is_asked_for("bf16") && gora_few_bf16_unit() == GORA_BF16_TILES;
  open_openblas();
  if (!libraries.failure) open_onednn();
  libraries.bf16 = libraries.bf16 || libraries.tiles;
  for (int i = 0; i < count; i++) set_as_before(&variables[i]);
}

const gora_libraries *gora_libraries_open(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_all);
  return &libraries;
}

static _Noreturn void product_failed(const char *kind, int status, int64_t m, int64_t n, int64_t k) {
  gora_fail(status == 1 ? GORA_UNAVAILABLE : GORA_INTERNAL, "oneDNN's %s product of %lld x %lld by %lld x %lld failed: %s", kind,
            (long long)m, (long long)k, (long long)k, (long long)n, status_text(status));
}

// Ends the process where there is no library.
static void need_library(void) {
  const gora_libraries *l = gora_libraries_open();
  if (l->failure) gora_fail(GORA_UNAVAILABLE, "no matrix library: %s", l->failure);
}

// OpenBLAS maps a buffer for each thread that calls it, and tries for ever where it gets none.
static void need_openblas(void) {
  static const size_t buffer = 128 << 20;
  static _Thread_local bool has_buffer;
  need_library();
  if (!has_buffer) free(gora_allocate(buffer));
  has_buffer = true;
}

void gora_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (!onednn_sgemm) need_openblas();
  if (onednn_sgemm) {
    int status = onednn_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    if (status != 0) product_failed("f32", status, m, n, k);
    return;
  }
  cblas_sgemm(101, transpose_a ? 112 : 111, transpose_b ? 112 : 111, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
              (int)ldc);
}

#ifdef HAVE_ONEDNN
// A product of one shape, made once a thread.
typedef struct {
  int64_t transpose_a, transpose_b, m, n, k, lda, ldb, ldc, accumulates;
} bf16_shape;

typedef struct {
  bf16_shape shape;
  uint64_t used;               // by the thread's count of products
  dnnl_primitive_t primitive;  // NULL where nothing is here yet
  dnnl_memory_t memory[4];     // two factors, result, scratch
  size_t scratch_bytes;
} bf16_product;

// Rows of many lengths make ever new shapes, each some 45 KB of code: the one that was not used for longest gives way. A step has fewer
// shapes than there are places, so that none is made twice in it.
enum { places = 128 };
static _Thread_local bf16_product products[places];

static bf16_product *place_of(const bf16_shape *shape) {
  static _Thread_local uint64_t calls;
  bf16_product *found = products;
  // Places are filled from the first on.
  for (bf16_product *p = products; p < products + places; p++) {
    bool is_it = !p->primitive || memcmp(&p->shape, shape, sizeof *shape) == 0;
    if (is_it || p->used < found->used) found = p;
    if (is_it) break;
  }
  found->used = ++calls;
  return found;
}

static void forget(bf16_product *p) {
  for (int i = 0; i < 4; i++)
    if (p->memory[i]) p_dnnl_memory_destroy(p->memory[i]);
  if (p->primitive) p_dnnl_primitive_destroy(p->primitive);
  *p = (bf16_product){.used = p->used};
}

static dnnl_status_t add_to_result(dnnl_primitive_attr_t attributes) {
  dnnl_post_ops_t operations = NULL;
  dnnl_status_t status = p_dnnl_post_ops_create(&operations);
  if (status != dnnl_success) return status;
#if DNNL_VERSION_MAJOR >= 3
  status = p_dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef);
#else
  status = p_dnnl_post_ops_append_sum(operations, 1);
#endif
  if (status == dnnl_success) status = p_dnnl_primitive_attr_set_post_ops(attributes, operations);
  p_dnnl_post_ops_destroy(operations);
  return status;
}

static dnnl_status_t make(bf16_product *p, bf16_shape s) {
  forget(p);
  dnnl_dims_t dims[3] = {{s.m, s.k}, {s.k, s.n}, {s.m, s.n}},
              strides[3] = {{s.transpose_a ? 1 : s.lda, s.transpose_a ? s.lda : 1},
                            {s.transpose_b ? 1 : s.ldb, s.transpose_b ? s.ldb : 1},
                            {s.ldc, 1}};
  dnnl_data_type_t types[3] = {dnnl_bf16, dnnl_bf16, dnnl_f32};
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_primitive_desc_t description = NULL;
  dnnl_status_t status = p_dnnl_primitive_attr_create(&attributes);
  if (status == dnnl_success) status = p_dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
  if (status == dnnl_success && s.accumulates) status = add_to_result(attributes);
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t mds[3] = {NULL, NULL, NULL};
  for (int i = 0; i < 3 && status == dnnl_success; i++)
    status = p_dnnl_memory_desc_create_with_strides(&mds[i], 2, dims[i], types[i], strides[i]);
  if (status == dnnl_success)
    status = p_dnnl_matmul_primitive_desc_create(&description, engine, mds[0], mds[1], NULL, mds[2], attributes);
#define DESCRIPTION(i) mds[i]
#else
  dnnl_memory_desc_t mds[3];
  for (int i = 0; i < 3 && status == dnnl_success; i++)
    status = p_dnnl_memory_desc_init_by_strides(&mds[i], 2, dims[i], types[i], strides[i]);
  dnnl_matmul_desc_t operation;
  if (status == dnnl_success) status = p_dnnl_matmul_desc_init(&operation, &mds[0], &mds[1], NULL, &mds[2]);
  if (status == dnnl_success) status = p_dnnl_primitive_desc_create(&description, &operation, attributes, engine, NULL);
#define DESCRIPTION(i) &mds[i]
#endif
  if (status == dnnl_success) status = p_dnnl_primitive_create(&p->primitive, description);
  for (int i = 0; i < 3 && status == dnnl_success; i++)
    status = p_dnnl_memory_create(&p->memory[i], DESCRIPTION(i), engine, NULL);
  if (status == dnnl_success) {
    __auto_type scratch = p_dnnl_primitive_desc_query_md(description, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = p_dnnl_memory_desc_get_size(scratch);
    if (p->scratch_bytes > 0) status = p_dnnl_memory_create(&p->memory[3], scratch, engine, NULL);
  }
  if (status == dnnl_success) p->shape = s;
  else forget(p);
  if (description) p_dnnl_primitive_desc_destroy(description);
#if DNNL_VERSION_MAJOR >= 3
  for (int i = 0; i < 3; i++)
    if (mds[i]) p_dnnl_memory_desc_destroy(mds[i]);
#endif
  if (attributes) p_dnnl_primitive_attr_destroy(attributes);
  return status;
}

// Where products of this thread put what they pack, as large as the largest has needed: oneDNN by itself takes and gives back memory with
// every product, and the kernel fills its pages anew.
static void *scratch_of_thread(size_t bytes) {
  static _Thread_local void *memory;
  static _Thread_local size_t size;
  if (bytes > size) {
    free(memory);
    memory = gora_allocate(bytes);
    size = bytes;
  }
  return memory;
}

static dnnl_status_t bf16_multiply(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda,
                                   const uint16_t *b, int64_t ldb, bool accumulates, float *c, int64_t ldc) {
  static _Thread_local dnnl_stream_t stream;
  dnnl_status_t status = stream ? dnnl_success : p_dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
  if (status != dnnl_success) return status;
  bf16_shape shape = {transpose_a, transpose_b, m, n, k, lda, ldb, ldc, accumulates};
  bf16_product *p = place_of(&shape);
  if (!p->primitive || memcmp(&p->shape, &shape, sizeof shape) != 0) status = make(p, shape);
  int used = p->memory[3] ? 4 : 3;
  void *data[4] = {(void *)a, (void *)b, c, used == 4 ? scratch_of_thread(p->scratch_bytes) : NULL};
  for (int i = 0; i < used && status == dnnl_success; i++) status = p_dnnl_memory_set_data_handle(p->memory[i], data[i]);
  if (status != dnnl_success) return status;
  dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, p->memory[0]},
                                  {DNNL_ARG_WEIGHTS, p->memory[1]},
                                  {DNNL_ARG_DST, p->memory[2]},
                                  {DNNL_ARG_SCRATCHPAD, p->memory[3]}};
  status = p_dnnl_primitive_execute(p->primitive, stream, used, arguments);
  return status == dnnl_success ? p_dnnl_stream_wait(stream) : status;
}
#endif

void gora_bf16_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda,
                    const uint16_t *b, int64_t ldb, bool accumulates, float *c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (libraries.tiles) return gora_bf16_tiles(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulates, c, ldc);
  int status = 3;
#ifdef HAVE_ONEDNN
  if (engine) status = bf16_multiply(transpose_a, transpose_b, m, n, k, a, lda, b, ldb, accumulates, c, ldc);
#endif
  if (status != 0) product_failed("bf16", status, m, n, k);
}

// What LAPACK says of its arguments is a defect of ours; of the matrix (above 0), the caller's matter.
static int checked(const char *name, int info) {
  if (info < 0) gora_fail(GORA_INTERNAL, "LAPACK's %s refuses its argument %d", name, -info);
  return info;
}

int gora_dpotrf(int n, double *a, int lda) {
  need_openblas();
  int info = 0;
  dpotrf("L", &n, a, &lda, &info);
  return checked("dpotrf", info);
}

int gora_dpotrs(int n, int columns, const double *a, int lda, double *b, int ldb) {
  need_openblas();
  int info = 0;
  dpotrs("L", &n, &columns, a, &lda, b, &ldb, &info);
  return checked("dpotrs", info);
}

int gora_dsyev(int n, double *a, int lda, double *values) {
  need_openblas();
  int info = 0, count = n * 66;
  double *work = gora_allocate((size_t)count * sizeof(double));
  dsyev("V", "L", &n, a, &lda, values, work, &count, &info);
  free(work);
  return checked("dsyev", info);
}

int gora_sgesdd(int m, int n, float *a, int lda, float *s, float *u, int ldu, float *vt, int ldvt, bool vectors) {
  need_openblas();
  int info = 0, query = -1, least = m < n ? m : n;
  float size = 0;
  const char *job = vectors ? "S" : "N";
  int *integers = gora_allocate((size_t)least * 8 * sizeof(int));
  sgesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, &size, &query, integers, &info);
  checked("sgesdd", info);
  // A size above 2^24 has been rounded to a float.
  int count = (int)nextafterf(size, INFINITY) + 1;
  float *work = gora_allocate((size_t)count * sizeof(float));
  sgesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, work, &count, integers, &info);
  free(work);
  free(integers);
  // Argument 4 is the matrix: it has a NaN.
  return info == -4 ? 1 : checked("sgesdd", info);
}

void gora_sgeqrf_q(int m, int n, float *a, int lda, float *r_diagonal) {
  need_openblas();
  int info = 0, count = n * 64;
  float *tau = gora_allocate((size_t)n * sizeof(float)), *work = gora_allocate((size_t)count * sizeof(float));
  sgeqrf(&m, &n, a, &lda, tau, work, &count, &info);
  checked("sgeqrf", info);
  for (int j = 0; j < n; j++) r_diagonal[j] = a[(size_t)j * lda + j];
  sorgqr(&m, &n, &n, a, &lda, tau, work, &count, &info);
  checked("sorgqr", info);
  free(tau);
  free(work);
}

int gora_dgesdd(int m, int n, double *a, double *s, double *u, double *vt) {
  need_openblas();
  int info = 0, query = -1, least = m < n ? m : n;
  double size = 0;
  int *integers = gora_allocate((size_t)least * 8 * sizeof(int));
  dgesdd("S", &m, &n, a, &m, s, u, &m, vt, &least, &size, &query, integers, &info);
  checked("dgesdd", info);
  int count = (int)size;
  double *work = gora_allocate((size_t)count * sizeof(double));
  dgesdd("S", &m, &n, a, &m, s, u, &m, vt, &least, work, &count, integers, &info);
  free(work);
  free(integers);
  // Argument 4 is the matrix: it has a NaN.
  return info == -4 ? 1 : checked("dgesdd", info);
}

void gora_dgeqrf(int m, int n, double *a, double *r) {
  need_openblas();
  int info = 0, count = n * 64, least = m < n ? m : n;
  double *tau = gora_allocate((size_t)least * sizeof(double)), *work = gora_allocate((size_t)count * sizeof(double));
  dgeqrf(&m, &n, a, &m, tau, work, &count, &info);
  checked("dgeqrf", info);
  for (int j = 0; j < n; j++) {
    for (int i = 0; i < least; i++) r[(size_t)j * least + i] = i <= j ? a[(size_t)j * m + i] : 0;
  }
  dorgqr(&m, &least, &least, a, &m, tau, work, &count, &info);
  checked("dorgqr", info);
  free(tau);
  free(work);
}

// OpenBLAS (with its LAPACK) and oneDNN, opened with dlopen on first use. Three reasons:
//  - OpenBLAS and OpenMP read their environment when they are loaded: opened here, they can be told to stay single-threaded
//    (the pool owns the threads) and OpenBLAS which kernels to use (0.3.21 takes Haswell's on CPUs with AVX-512);
//  - a stage that multiplies nothing starts without them;
//  - where oneDNN is missing everything still runs.
#include "gora_kernels.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#define HAVE_ONEDNN 1
#endif

static gora_libraries libraries = {"none", "", "", NULL, false};

typedef int (*dnnl_sgemm_type)(char, char, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t, float,
                               float *, int64_t);
static dnnl_sgemm_type onednn_sgemm;

static void (*cblas_sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static void (*dpotrf)(const char *, const int *, double *, const int *, int *);
static void (*dpotrs)(const char *, const int *, const int *, const double *, const int *, double *, const int *, int *);
static void (*sgesdd)(const char *, const int *, const int *, float *, const int *, float *, float *, const int *, float *,
                      const int *, float *, const int *, int *, int *);
static void (*sgeqrf)(const int *, const int *, float *, const int *, float *, float *, const int *, int *);
static void (*sorgqr)(const int *, const int *, const int *, float *, const int *, const float *, float *, const int *, int *);

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

// Sets a variable for the time of a dlopen unless the user has set it.
typedef struct {
  const char *name;
  bool set;
} setting;

static setting set_for_load(const char *name, const char *value) {
  setting s = {name, getenv(name) == NULL};
  if (s.set) setenv(name, value, 1);
  return s;
}

static void unset_after_load(setting s) {
  if (s.set) unsetenv(s.name);
}

static void open_openblas(void) {
  setting threads = set_for_load("OPENBLAS_NUM_THREADS", "1");
  setting core = {"OPENBLAS_CORETYPE", false};
  if (has_avx512()) core = set_for_load("OPENBLAS_CORETYPE", "SkylakeX");
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) library = dlopen("libopenblas.so", RTLD_NOW | RTLD_LOCAL);
  unset_after_load(threads);
  unset_after_load(core);
  if (!library) {
    libraries.failure = "libopenblas.so.0 is not installed";
    return;
  }
  cblas_sgemm = dlsym(library, "cblas_sgemm");
  dpotrf = dlsym(library, "dpotrf_");
  dpotrs = dlsym(library, "dpotrs_");
  sgesdd = dlsym(library, "sgesdd_");
  sgeqrf = dlsym(library, "sgeqrf_");
  sorgqr = dlsym(library, "sorgqr_");
  if (!cblas_sgemm || !dpotrf || !dpotrs || !sgesdd || !sgeqrf || !sorgqr) {
    libraries.failure = "libopenblas lacks cblas_sgemm or its LAPACK";
    return;
  }
  const char *(*config)(void) = dlsym(library, "openblas_get_config");
  libraries.openblas = config ? config() : "unknown";
  libraries.sgemm = "OpenBLAS";
}

#ifdef HAVE_ONEDNN
#define DNNL_FUNCTIONS(X)                                                                                        \
  X(dnnl_engine_create) X(dnnl_stream_create) X(dnnl_stream_wait) X(dnnl_memory_create) X(dnnl_memory_destroy) \
  X(dnnl_memory_set_data_handle)   X(dnnl_primitive_create) X(dnnl_primitive_execute) X(dnnl_primitive_desc_destroy) X(dnnl_primitive_destroy)
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
  return all && p_dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success;
}
#endif

static void open_onednn(void) {
  const char *choice = getenv("GORA_MATMUL");
  if (choice && strcmp(choice, "openblas") == 0) return;
#ifdef HAVE_ONEDNN
  setting threads = set_for_load("OMP_NUM_THREADS", "1");
  char name[32];
  snprintf(name, sizeof name, "libdnnl.so.%d", DNNL_VERSION_MAJOR);
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  unset_after_load(threads);
  if (!library) return;
  onednn_sgemm = (dnnl_sgemm_type)dlsym(library, "dnnl_sgemm");
  if (!onednn_sgemm) return;
  static char version[32];
  snprintf(version, sizeof version, "%d.%d.%d", DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH);
  libraries.onednn = version;
  libraries.sgemm = "oneDNN";
  libraries.failure = NULL;
  // "bf16" asks for oneDNN's bf16 product even where it has to emulate the unit: slow, for tests.
  libraries.bf16 = open_bf16(library) && (has_avx512_bf16() || (choice && strcmp(choice, "bf16") == 0));
#endif
}

static void open_all(void) {
  open_openblas();
  if (!libraries.failure) open_onednn();
}

const gora_libraries *gora_libraries_open(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_all);
  return &libraries;
}

void gora_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (onednn_sgemm)
    onednn_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  else if (cblas_sgemm)
    cblas_sgemm(101, transpose_a ? 112 : 111, transpose_b ? 112 : 111, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta,
                c, (int)ldc);
}

#ifdef HAVE_ONEDNN
// A product of one shape, made once a thread (oneDNN's scratch memory belongs to the thread that makes a primitive).
typedef struct {
  int64_t transpose_b, m, n, k, lda, ldb, ldc, accumulates;
} bf16_shape;

typedef struct {
  bf16_shape shape;
  dnnl_primitive_t primitive;  // NULL where oneDNN refuses the shape, or nothing is here yet
  dnnl_memory_t memory[3];
} bf16_product;

enum { bf16_products = 256 };
static _Thread_local bf16_product products[bf16_products];

static void forget(bf16_product *p) {
  for (int i = 0; i < 3; i++)
    if (p->memory[i]) p_dnnl_memory_destroy(p->memory[i]);
  if (p->primitive) p_dnnl_primitive_destroy(p->primitive);
  memset(p, 0, sizeof *p);
}

static void make(bf16_product *p, bf16_shape s) {
  forget(p);
  p->shape = s;
  dnnl_dims_t dims[3] = {{s.m, s.k}, {s.k, s.n}, {s.m, s.n}},
              strides[3] = {{s.lda, 1}, {s.transpose_b ? 1 : s.ldb, s.transpose_b ? s.ldb : 1}, {s.ldc, 1}};
  dnnl_data_type_t types[3] = {dnnl_bf16, dnnl_bf16, dnnl_f32};
  dnnl_primitive_attr_t attributes = NULL;
  if (p_dnnl_primitive_attr_create(&attributes) != dnnl_success) return;
  if (s.accumulates) {
    dnnl_post_ops_t operations = NULL;
    p_dnnl_post_ops_create(&operations);
#if DNNL_VERSION_MAJOR >= 3
    p_dnnl_post_ops_append_sum(operations, 1, 0, dnnl_data_type_undef);
#else
    p_dnnl_post_ops_append_sum(operations, 1);
#endif
    p_dnnl_primitive_attr_set_post_ops(attributes, operations);
    p_dnnl_post_ops_destroy(operations);
  }
  dnnl_primitive_desc_t description = NULL;
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t mds[3] = {NULL, NULL, NULL};
  for (int i = 0; i < 3; i++) p_dnnl_memory_desc_create_with_strides(&mds[i], 2, dims[i], types[i], strides[i]);
  bool described =
      p_dnnl_matmul_primitive_desc_create(&description, engine, mds[0], mds[1], NULL, mds[2], attributes) == dnnl_success;
#define DESCRIPTION(i) mds[i]
#else
  dnnl_memory_desc_t mds[3];
  for (int i = 0; i < 3; i++) p_dnnl_memory_desc_init_by_strides(&mds[i], 2, dims[i], types[i], strides[i]);
  dnnl_matmul_desc_t operation;
  bool described = p_dnnl_matmul_desc_init(&operation, &mds[0], &mds[1], NULL, &mds[2]) == dnnl_success &&
                   p_dnnl_primitive_desc_create(&description, &operation, attributes, engine, NULL) == dnnl_success;
#define DESCRIPTION(i) &mds[i]
#endif
  if (described && p_dnnl_primitive_create(&p->primitive, description) == dnnl_success) {
    bool all = true;
    for (int i = 0; i < 3; i++)
      all = p_dnnl_memory_create(&p->memory[i], DESCRIPTION(i), engine, NULL) == dnnl_success && all;
    if (!all) {
      forget(p);
      p->shape = s;
    }
  }
  if (description) p_dnnl_primitive_desc_destroy(description);
#if DNNL_VERSION_MAJOR >= 3
  for (int i = 0; i < 3; i++) p_dnnl_memory_desc_destroy(mds[i]);
#endif
  p_dnnl_primitive_attr_destroy(attributes);
}

bool gora_bf16_gemm(bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                    bool accumulates, float *c, int64_t ldc) {
  if (m == 0 || n == 0) return true;
  if (!engine) return false;
  static _Thread_local dnnl_stream_t stream;
  if (!stream && p_dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success) return false;
  bf16_shape shape = {transpose_b, m, n, k, lda, ldb, ldc, accumulates};
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof shape / sizeof(int64_t); i++)
    hash = (hash ^ (uint64_t)((const int64_t *)&shape)[i]) * 0x9E3779B97F4A7C15u;
  bf16_product *p = &products[hash >> 56];
  if (memcmp(&p->shape, &shape, sizeof shape) != 0) make(p, shape);
  if (!p->primitive) return false;
  void *data[3] = {(void *)a, (void *)b, c};
  for (int i = 0; i < 3; i++)
    if (p_dnnl_memory_set_data_handle(p->memory[i], data[i]) != dnnl_success) return false;
  dnnl_exec_arg_t arguments[3] = {
      {DNNL_ARG_SRC, p->memory[0]}, {DNNL_ARG_WEIGHTS, p->memory[1]}, {DNNL_ARG_DST, p->memory[2]}};
  return p_dnnl_primitive_execute(p->primitive, stream, 3, arguments) == dnnl_success &&
         p_dnnl_stream_wait(stream) == dnnl_success;
}
#else
bool gora_bf16_gemm(bool transpose_b, int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                    bool accumulates, float *c, int64_t ldc) {
  return false;
}
#endif

int gora_dpotrf(int n, double *a, int lda) {
  int info = 0;
  dpotrf("L", &n, a, &lda, &info);
  return info;
}

int gora_dpotrs(int n, int columns, const double *a, int lda, double *b, int ldb) {
  int info = 0;
  dpotrs("L", &n, &columns, a, &lda, b, &ldb, &info);
  return info;
}

int gora_sgesdd(int m, int n, float *a, int lda, float *s, float *u, int ldu, float *vt, int ldvt, bool vectors) {
  int info = 0, query = -1, least = m < n ? m : n;
  float size = 0;
  const char *job = vectors ? "S" : "N";
  int *integers = malloc((size_t)least * 8 * sizeof(int));
  if (!integers) return -100;
  sgesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, &size, &query, integers, &info);
  int count = (int)size + 1;
  float *work = malloc((size_t)count * sizeof(float));
  if (work) sgesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, work, &count, integers, &info);
  else info = -100;
  free(work);
  free(integers);
  return info;
}

int gora_sgeqrf_q(int m, int n, float *a, int lda, float *r_diagonal) {
  int info = 0, count = n * 64;
  float *tau = malloc((size_t)n * sizeof(float)), *work = malloc((size_t)count * sizeof(float));
  if (!tau || !work) info = -100;
  if (info == 0) sgeqrf(&m, &n, a, &lda, tau, work, &count, &info);
  if (info == 0) {
    for (int j = 0; j < n; j++) r_diagonal[j] = a[(size_t)j * lda + j];
    sorgqr(&m, &n, &n, a, &lda, tau, work, &count, &info);
  }
  free(tau);
  free(work);
  return info;
}

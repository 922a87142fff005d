// A fork-join pool: parts are claimed from one atomic word, so a part runs exactly once, by whichever thread is free.
// What a part computes depends only on its number, never on who runs it: results do not depend on scheduling.
#include "gora_kernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

enum { max_parts = 0xFFFF, spins_before_sleep = 4000, spins_before_yield = 1000 };

// generation (32 bits) | parts (16) | next unclaimed part (16)
static _Atomic uint64_t state;
static _Atomic int unfinished;
static _Atomic int sleepers;
static gora_task task;
static void *task_context;
static int first_part;
static int running = 1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static _Thread_local bool inside;
static _Thread_local int own_index;

// Claims and runs parts until none is left.
static void run_parts(void) {
  for (;;) {
    uint64_t seen = atomic_load(&state);
    unsigned parts = seen >> 16 & 0xFFFF, next = seen & 0xFFFF;
    if (next >= parts) return;
    if (!atomic_compare_exchange_weak(&state, &seen, seen + 1)) continue;
    // The claim keeps this generation, and so task, context and first part, alive until `unfinished` drops.
    task(task_context, first_part + (int)next);
    atomic_fetch_sub(&unfinished, 1);
  }
}

static bool work_is_waiting(void) {
  uint64_t seen = atomic_load(&state);
  return (seen & 0xFFFF) < (seen >> 16 & 0xFFFF);
}

static void *worker(void *index) {
  inside = true;
  own_index = (int)(intptr_t)index;
  for (;;) {
    for (int spin = 0; spin < spins_before_sleep && !work_is_waiting(); spin++) PAUSE();
    if (!work_is_waiting()) {
      pthread_mutex_lock(&mutex);
      atomic_fetch_add(&sleepers, 1);
      while (!work_is_waiting()) pthread_cond_wait(&wake, &mutex);
      atomic_fetch_sub(&sleepers, 1);
      pthread_mutex_unlock(&mutex);
    }
    run_parts();
  }
  return NULL;
}

static int requested = 1;

static void start_workers(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (int i = 1; i < requested; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, worker, (void *)(intptr_t)i) != 0) break;
    running++;
  }
  pthread_attr_destroy(&attributes);
}

int gora_pool_start(int threads) {
  static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
  static bool started;
  pthread_mutex_lock(&starting);
  if (!started) {
    requested = threads < 1 ? 1 : threads;
    start_workers();
    started = true;
  }
  pthread_mutex_unlock(&starting);
  return running;
}

int gora_pool_threads(void) { return requested; }

int gora_thread_index(void) { return own_index; }

// Runs parts first … first + parts - 1, at most max_parts.
static void fork_join(int first, int parts, gora_task work, void *context) {
  task = work;
  task_context = context;
  first_part = first;
  atomic_store(&unfinished, parts);
  uint64_t generation = (atomic_load(&state) >> 32) + 1;
  atomic_store(&state, generation << 32 | (uint64_t)parts << 16);
  if (atomic_load(&sleepers) > 0) {
    pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&mutex);
  }
  run_parts();
  // Whoever holds the last part may be waiting for this CPU.
  for (int spin = 0; atomic_load(&unfinished) > 0; spin++) {
    if (spin < spins_before_yield) PAUSE();
    else sched_yield();
  }
}

void gora_parallel(int parts, gora_task work, void *context) {
  // One fork-join at a time; a second caller (tests run side by side) waits its turn.
  static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
  if (parts <= 1 || running == 1 || inside) {
    for (int i = 0; i < parts; i++) work(context, i);
    return;
  }
  pthread_mutex_lock(&turn);
  inside = true;
  for (int first = 0; first < parts; first += max_parts)
    fork_join(first, parts - first < max_parts ? parts - first : max_parts, work, context);
  inside = false;
  pthread_mutex_unlock(&turn);
}

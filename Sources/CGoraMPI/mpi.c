#include "gora_mpi.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// Two ABIs, both without their headers (numbers and types from mpi.h of Open MPI 4.1 and MPICH 4.0, whose ABI since 3.1 is
// Intel MPI's and MVAPICH's too).
//                     Open MPI                            MPICH
//   handles           pointers                            int
//   MPI_COMM_WORLD    address of ompi_mpi_comm_world      0x44000000
//   MPI_BYTE          address of ompi_mpi_byte            0x4c00010d
//   statuses ignored  NULL                                (void *)1
enum { mpich_world = 0x44000000, mpich_byte = 0x4c00010d, serialized = 2 };

static gora_mpi_family family;
static void *world, *byte;
static int rank, size = 1;

typedef int (*init_type)(int *, char ***, int, int *);
typedef int (*open_count_type)(void *, int *);
typedef int (*mpich_count_type)(int, int *);
typedef int (*open_send_type)(const void *, int, void *, int, int, void *, void **);
typedef int (*mpich_send_type)(const void *, int, int, int, int, int, int *);
typedef int (*open_receive_type)(void *, int, void *, int, int, void *, void **);
typedef int (*mpich_receive_type)(void *, int, int, int, int, int, int *);
typedef int (*open_test_type)(int, void **, int *, void *);
typedef int (*mpich_test_type)(int, int *, int *, void *);
typedef int (*open_abort_type)(void *, int);
typedef int (*mpich_abort_type)(int, int);
typedef int (*finalize_type)(void);

static void *init, *comm_rank, *comm_size, *isend, *irecv, *testall, *abort_all, *finalize;

// MPI moves messages on while it is called, and those over a network hardly ever else: a thread calls it while any are under way. All
// calls are made with the lock, which MPI_Abort may need within one.
static pthread_mutex_t lock;
static pthread_cond_t posted = PTHREAD_COND_INITIALIZER;
static pthread_t mover;
static bool moves, leaving;

static const char *say(const char *format, const char *what) {
  static char text[512];
  snprintf(text, sizeof text, format, what ? what : "?");
  return text;
}

// Global: Open MPI's own components look for the library's symbols.
static void *open_library(const char *const *names) {
  for (; *names; names++) {
    void *library = dlopen(*names, RTLD_NOW | RTLD_GLOBAL);
    if (!library) continue;
    // libmpi.so may be either's.
    if ((dlsym(library, "ompi_mpi_comm_world") != NULL) == (family == GORA_MPI_OPEN)) return library;
  }
  return NULL;
}

static void start_mover(void);

const char *gora_mpi_join(gora_mpi_family wanted, bool *missing) {
  static const char *const open_names[] = {"libmpi.so.40", "libmpi.so", NULL};
  static const char *const mpich_names[] = {"libmpich.so.12", "libmpi.so.12", "libmpich.so", "libmpi.so", NULL};
  family = wanted;
  *missing = true;
  void *library = open_library(family == GORA_MPI_OPEN ? open_names : mpich_names);
  if (!library) return "no library of that MPI is to be found";
  *missing = false;
  const struct {
    const char *name;
    void **function;
  } functions[] = {
      {"MPI_Init_thread", &init}, {"MPI_Comm_rank", &comm_rank}, {"MPI_Comm_size", &comm_size}, {"MPI_Isend", &isend},
      {"MPI_Irecv", &irecv},      {"MPI_Testall", &testall},     {"MPI_Abort", &abort_all},     {"MPI_Finalize", &finalize},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    *functions[i].function = dlsym(library, functions[i].name);
    if (!*functions[i].function) return say("the library of MPI lacks %s", functions[i].name);
  }
  if (family == GORA_MPI_OPEN) {
    world = dlsym(library, "ompi_mpi_comm_world");
    byte = dlsym(library, "ompi_mpi_byte");
    if (!byte) return say("the library of MPI lacks %s", "ompi_mpi_byte");
  }
  int provided = 0;
  // The library's own messages say why it does not start, and most end the process.
  if (((init_type)init)(NULL, NULL, serialized, &provided) != 0) return "MPI does not start";
  if (family == GORA_MPI_OPEN) {
    ((open_count_type)comm_rank)(world, &rank);
    ((open_count_type)comm_size)(world, &size);
  } else {
    ((mpich_count_type)comm_rank)(mpich_world, &rank);
    ((mpich_count_type)comm_size)(mpich_world, &size);
  }
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (size > 1 && provided >= serialized) start_mover();
  return NULL;
}

int gora_mpi_rank(void) { return rank; }
int gora_mpi_size(void) { return size; }

struct gora_mpi_messages {
  int count, room;
  // One of the two, as the family has it.
  void **open;
  int *mpich;
  gora_mpi_messages *next;
};

// All that there are.
static gora_mpi_messages *first;

gora_mpi_messages *gora_mpi_messages_new(void) {
  gora_mpi_messages *messages = calloc(1, sizeof *messages);
  if (!messages) gora_mpi_abort(69);
  pthread_mutex_lock(&lock);
  messages->next = first;
  first = messages;
  pthread_mutex_unlock(&lock);
  return messages;
}

void gora_mpi_messages_free(gora_mpi_messages *messages) {
  pthread_mutex_lock(&lock);
  gora_mpi_messages **link = &first;
  while (*link != messages) link = &(*link)->next;
  *link = messages->next;
  pthread_mutex_unlock(&lock);
  free(messages->open);
  free(messages->mpich);
  free(messages);
}

// Room for one more handle. Without it the group ends: a message that is not sent would leave others waiting.
static void grow(gora_mpi_messages *messages) {
  if (messages->count < messages->room) return;
  int room = messages->room ? 2 * messages->room : 16;
  void *grown = family == GORA_MPI_OPEN ? realloc(messages->open, (size_t)room * sizeof *messages->open)
                                        : realloc(messages->mpich, (size_t)room * sizeof *messages->mpich);
  if (!grown) gora_mpi_abort(69);
  if (family == GORA_MPI_OPEN) messages->open = grown; else messages->mpich = grown;
  messages->room = room;
}

// Counts are ints.
enum { most = 1 << 30 };

void gora_mpi_send(gora_mpi_messages *messages, const void *bytes, size_t count, int to, int tag) {
  const char *at = bytes;
  pthread_mutex_lock(&lock);
  while (count > 0) {
    int part = count > most ? most : (int)count;
    grow(messages);
    int index = messages->count++;
    if (family == GORA_MPI_OPEN) {
      ((open_send_type)isend)(at, part, byte, to, tag, world, messages->open + index);
    } else {
      ((mpich_send_type)isend)(at, part, mpich_byte, to, tag, mpich_world, messages->mpich + index);
    }
    at += part;
    count -= (size_t)part;
  }
  pthread_cond_signal(&posted);
  pthread_mutex_unlock(&lock);
}

void gora_mpi_receive(gora_mpi_messages *messages, void *bytes, size_t count, int from, int tag) {
  char *at = bytes;
  pthread_mutex_lock(&lock);
  while (count > 0) {
    int part = count > most ? most : (int)count;
    grow(messages);
    int index = messages->count++;
    if (family == GORA_MPI_OPEN) {
      ((open_receive_type)irecv)(at, part, byte, from, tag, world, messages->open + index);
    } else {
      ((mpich_receive_type)irecv)(at, part, mpich_byte, from, tag, mpich_world, messages->mpich + index);
    }
    at += part;
    count -= (size_t)part;
  }
  pthread_cond_signal(&posted);
  pthread_mutex_unlock(&lock);
}

// Moves messages on; whether all are done.
static bool all_done(gora_mpi_messages *messages) {
  int done = 0;
  if (messages->count == 0) return true;
  if (family == GORA_MPI_OPEN) {
    ((open_test_type)testall)(messages->count, messages->open, &done, NULL);
  } else {
    ((mpich_test_type)testall)(messages->count, messages->mpich, &done, (void *)1);
  }
  if (done) messages->count = 0;
  return done != 0;
}

static void pause_briefly(void) {
  struct timespec pause = {0, 100000};
  nanosleep(&pause, NULL);
}

static void *move_messages(void *unused) {
  pthread_mutex_lock(&lock);
  while (!leaving) {
    bool any = false;
    for (gora_mpi_messages *each = first; each; each = each->next) any = !all_done(each) || any;
    if (!any) pthread_cond_wait(&posted, &lock);
    // Short messages are done before this thread has looked at them.
    pthread_mutex_unlock(&lock);
    pause_briefly();
    pthread_mutex_lock(&lock);
  }
  pthread_mutex_unlock(&lock);
  return unused;
}

// Without a thread messages move as they did, when they are waited for. Signals are for the others.
static void start_mover(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  moves = pthread_create(&mover, NULL, move_messages, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bool gora_mpi_done(gora_mpi_messages *messages) {
  pthread_mutex_lock(&lock);
  bool done = all_done(messages);
  pthread_mutex_unlock(&lock);
  return done;
}

// MPI's own wait would keep a core busy, which others may need; a long wait asks ten thousand times a second.
void gora_mpi_wait(gora_mpi_messages *messages) {
  double start = -1;
  while (!gora_mpi_done(messages)) {
    double now = seconds();
    if (start < 0) start = now;
    if (now - start < 0.002) sched_yield(); else pause_briefly();
  }
}

void gora_mpi_abort(int status) {
  pthread_mutex_lock(&lock);
  if (family == GORA_MPI_OPEN) {
    ((open_abort_type)abort_all)(world, status);
  } else {
    ((mpich_abort_type)abort_all)(mpich_world, status);
  }
  _Exit(status);
}

void gora_mpi_leave(void) {
  if (moves) {
    pthread_mutex_lock(&lock);
    leaving = true;
    pthread_cond_signal(&posted);
    pthread_mutex_unlock(&lock);
    pthread_join(mover, NULL);
  }
  ((finalize_type)finalize)();
}

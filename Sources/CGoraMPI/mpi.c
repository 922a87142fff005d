#include "gora_mpi.h"

#include <dlfcn.h>
#include <sched.h>
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
enum { mpich_world = 0x44000000, mpich_byte = 0x4c00010d, funneled = 1 };

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
  if (((init_type)init)(NULL, NULL, funneled, &provided) != 0) return "MPI does not start";
  if (family == GORA_MPI_OPEN) {
    ((open_count_type)comm_rank)(world, &rank);
    ((open_count_type)comm_size)(world, &size);
  } else {
    ((mpich_count_type)comm_rank)(mpich_world, &rank);
    ((mpich_count_type)comm_size)(mpich_world, &size);
  }
  return NULL;
}

int gora_mpi_rank(void) { return rank; }
int gora_mpi_size(void) { return size; }

struct gora_mpi_messages {
  int count, room;
  // One of the two, as the family has it.
  void **open;
  int *mpich;
};

gora_mpi_messages *gora_mpi_messages_new(void) { return calloc(1, sizeof(gora_mpi_messages)); }

void gora_mpi_messages_free(gora_mpi_messages *messages) {
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
}

void gora_mpi_receive(gora_mpi_messages *messages, void *bytes, size_t count, int from, int tag) {
  char *at = bytes;
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
}

bool gora_mpi_done(gora_mpi_messages *messages) {
  if (messages->count == 0) return true;
  int done = 0;
  if (family == GORA_MPI_OPEN) {
    ((open_test_type)testall)(messages->count, messages->open, &done, NULL);
  } else {
    ((mpich_test_type)testall)(messages->count, messages->mpich, &done, (void *)1);
  }
  if (done) messages->count = 0;
  return done != 0;
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// MPI's own wait would keep a core busy, which others may need; a long wait asks ten thousand times a second.
void gora_mpi_wait(gora_mpi_messages *messages) {
  double start = -1;
  while (!gora_mpi_done(messages)) {
    double now = seconds();
    if (start < 0) start = now;
    if (now - start < 0.002) {
      sched_yield();
    } else {
      struct timespec pause = {0, 100000};
      nanosleep(&pause, NULL);
    }
  }
}

void gora_mpi_abort(int status) {
  if (family == GORA_MPI_OPEN) {
    ((open_abort_type)abort_all)(world, status);
  } else {
    ((mpich_abort_type)abort_all)(mpich_world, status);
  }
  _Exit(status);
}

void gora_mpi_leave(void) { ((finalize_type)finalize)(); }

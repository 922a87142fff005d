// The few functions of MPI that gora needs, from whichever library the launcher belongs to: opened with dlopen, so that nothing of MPI is
// needed to build gora or to run it alone. One thread calls them; another, of their own, moves messages on meanwhile.
#ifndef GORA_MPI_H
#define GORA_MPI_H

#include <stdbool.h>
#include <stddef.h>

// Whose launcher started the process; the second stands for all of the MPICH ABI (MPICH, Intel MPI, MVAPICH).
typedef enum { GORA_MPI_OPEN, GORA_MPI_MPICH } gora_mpi_family;

// Opens the family's library and initialises it.
// NULL, or why not; `*missing` says whether there is no library.
const char *gora_mpi_join(gora_mpi_family family, bool *missing);
int gora_mpi_rank(void);
int gora_mpi_size(void);

// Messages under way. Those of one tag between two processes arrive in the order in which they were sent.
typedef struct gora_mpi_messages gora_mpi_messages;
gora_mpi_messages *gora_mpi_messages_new(void);
void gora_mpi_messages_free(gora_mpi_messages *messages);
void gora_mpi_send(gora_mpi_messages *messages, const void *bytes, size_t count, int to, int tag);
void gora_mpi_receive(gora_mpi_messages *messages, void *bytes, size_t count, int from, int tag);
// Returns when all are done: their memory may be used again.
void gora_mpi_wait(gora_mpi_messages *messages);

// The same without waiting: whether all are done.
bool gora_mpi_done(gora_mpi_messages *messages);

// Ends all processes, this one too.
void gora_mpi_abort(int status);
// Leaves the group; every process has to.
void gora_mpi_leave(void);

#endif

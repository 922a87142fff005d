// The end of a process that cannot go on where nothing can be thrown: deep in a computation, on any thread, without memory.
#include "gora_kernels.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char tool[64] = "gora";
static void (*clean_up)(void);

void gora_at_failure(const char *name, void (*clean)(void)) {
  snprintf(tool, sizeof tool, "%s", name);
  clean_up = clean;
}

void gora_fail(int status, const char *format, ...) {
  // The first thread to come here speaks; the process ends under the others.
  static atomic_flag failed = ATOMIC_FLAG_INIT;
  while (atomic_flag_test_and_set(&failed)) pause();
  char line[512];
  int length = snprintf(line, sizeof line, "%s%s: error: ", isatty(STDERR_FILENO) ? "\r\033[K" : "", tool);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
  va_end(arguments);
  strcat(line, "\n");
  if (clean_up) clean_up();
  if (write(STDERR_FILENO, line, strlen(line)) < 0) status = GORA_UNAVAILABLE;
  _exit(status);
}

void gora_fail_with(int status, const char *problem) { gora_fail(status, "%s", problem); }

void gora_map_large_blocks(void) {
  // Without this glibc's own threshold rises with what is freed, up to 32 MiB, and activations that grow with longer rows leave
  // holes in the heap that nothing fits into.
  mallopt(M_MMAP_THRESHOLD, 1 << 18);
  // What is smaller comes and goes at the heap's end, and would take its pages with it each time.
  mallopt(M_TRIM_THRESHOLD, 1 << 22);
}

void *gora_allocate(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes < 64 ? 64 : bytes) != 0)
    gora_fail(GORA_UNAVAILABLE, "out of memory: %zu bytes are not to be had", bytes);
#ifdef MADV_HUGEPAGE
  // A page of 2 MiB is one fault and one entry of the table of addresses where 512 small ones were. Whole ones only, so that a buffer takes
  // no more than its size.
  uintptr_t page = 1 << 21, from = ((uintptr_t)memory + page - 1) & ~(page - 1), to = ((uintptr_t)memory + bytes) & ~(page - 1);
  if (to > from) madvise((void *)from, to - from, MADV_HUGEPAGE);
#endif
  return memory;
}

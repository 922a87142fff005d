// Loaded with LD_PRELOAD: makes one system call of a program fail, or counts them.
//
//   GORA_FAULT=CALL:N:ERRNO    the Nth call of that name fails with this number, once: write, sync, rename, map, open,
//                              mkdir, unlink, read
//   GORA_FAULT_COUNTS=FILE     writes a line "CALL COUNT" for each name there when the program ends
//
// Standard error is left alone, as it tells what happened; so are maps without a file.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { call_write, call_sync, call_rename, call_map, call_open, call_mkdir, call_unlink, call_read, calls };
static const char *const names[calls] = {"write", "sync", "rename", "map", "open", "mkdir", "unlink", "read"};
static atomic_long counts[calls];
static int chosen = -1, error_number;
static long chosen_count;

__attribute__((constructor)) static void begin(void) {
  const char *fault = getenv("GORA_FAULT");
  if (!fault) return;
  char name[16];
  if (sscanf(fault, "%15[a-z]:%ld:%d", name, &chosen_count, &error_number) != 3) abort();
  for (int call = 0; call < calls; call++) {
    if (strcmp(name, names[call]) == 0) chosen = call;
  }
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("GORA_FAULT_COUNTS");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  long seen[calls];
  for (int call = 0; call < calls; call++) seen[call] = counts[call];
  for (int call = 0; call < calls; call++) fprintf(file, "%s %ld\n", names[call], seen[call]);
  fclose(file);
}

static bool fails(enum call call) {
  if (atomic_fetch_add(&counts[call], 1) + 1 != chosen_count || (int)call != chosen) return false;
  errno = error_number;
  return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *bytes, size_t count) {
  if (file != 2 && fails(call_write)) return -1;
  return REAL(write)(file, bytes, count);
}
ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  if (fails(call_write)) return -1;
  return REAL(pwrite)(file, bytes, count, offset);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  if (fails(call_write)) return -1;
  return REAL(pwrite64)(file, bytes, count, offset);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  if (file != 2 && fails(call_write)) return -1;
  return REAL(writev)(file, parts, count);
}
ssize_t read(int file, void *bytes, size_t count) { return fails(call_read) ? -1 : REAL(read)(file, bytes, count); }
ssize_t pread(int file, void *bytes, size_t count, off_t offset) {
  return fails(call_read) ? -1 : REAL(pread)(file, bytes, count, offset);
}
ssize_t pread64(int file, void *bytes, size_t count, off64_t offset) {
  return fails(call_read) ? -1 : REAL(pread64)(file, bytes, count, offset);
}
int ftruncate(int file, off_t size) { return fails(call_write) ? -1 : REAL(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) { return fails(call_write) ? -1 : REAL(ftruncate64)(file, size); }
int posix_fallocate(int file, off_t offset, off_t size) {
  return fails(call_write) ? error_number : REAL(posix_fallocate)(file, offset, size);
}
int fsync(int file) { return fails(call_sync) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fails(call_sync) ? -1 : REAL(fdatasync)(file); }
int rename(const char *from, const char *to) { return fails(call_rename) ? -1 : REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) { return fails(call_rename) ? -1 : REAL(renameat)(a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  return fails(call_rename) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}
int link(const char *from, const char *to) { return fails(call_rename) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
  return fails(call_rename) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
  return file >= 0 && fails(call_map) ? MAP_FAILED : REAL(mmap)(at, size, protection, flags, file, offset);
}
void *mmap64(void *at, size_t size, int protection, int flags, int file, off64_t offset) {
  return file >= 0 && fails(call_map) ? MAP_FAILED : REAL(mmap64)(at, size, protection, flags, file, offset);
}
int mkdir(const char *path, mode_t mode) { return fails(call_mkdir) ? -1 : REAL(mkdir)(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return fails(call_mkdir) ? -1 : REAL(mkdirat)(folder, path, mode); }
int unlink(const char *path) { return fails(call_unlink) ? -1 : REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) { return fails(call_unlink) ? -1 : REAL(unlinkat)(folder, path, flags); }

// The system's own places: libraries look into them, and not finding something there is no fault of a disk.
static bool is_ours(const char *path) {
  return strncmp(path, "/proc/", 6) && strncmp(path, "/sys/", 5) && strncmp(path, "/dev/", 5) && strncmp(path, "/etc/", 5);
}
#define OPEN(name, first, pass)                                               \
  int name(first const char *path, int flags, ...) {                          \
    va_list rest;                                                             \
    va_start(rest, flags);                                                    \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                             \
    return is_ours(path) && fails(call_open) ? -1 : REAL(name)(pass path, flags, mode); \
  }
#define FOLDER int folder,
#define PASS folder,
OPEN(open, , )
OPEN(open64, , )
OPEN(openat, FOLDER, PASS)
OPEN(openat64, FOLDER, PASS)
FILE *fopen(const char *path, const char *mode) { return is_ours(path) && fails(call_open) ? NULL : REAL(fopen)(path, mode); }
FILE *fopen64(const char *path, const char *mode) { return is_ours(path) && fails(call_open) ? NULL : REAL(fopen64)(path, mode); }

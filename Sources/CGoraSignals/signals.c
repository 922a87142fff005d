#include "gora_signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Lists without locks: entries are added at the front, reused, and never freed, for a handler may be reading them. Nor are paths
// (some hundred bytes a file).
struct gora_entry {
  _Atomic(char *) path;  // NULL: free; `taken`: being filled
  uintptr_t start, end;  // of a mapping
  gora_entry *next;
};

static char taken[] = "";
static _Atomic(gora_entry *) cleanups, mappings;

static gora_entry *add(_Atomic(gora_entry *) *list, const char *path, uintptr_t start, uintptr_t end) {
  char *copy = strdup(path);
  if (!copy) return NULL;
  gora_entry *entry = atomic_load(list);
  for (; entry; entry = entry->next) {
    char *none = NULL;
    if (atomic_compare_exchange_strong(&entry->path, &none, taken)) break;
  }
  int isNew = entry == NULL;
  if (isNew) {
    entry = calloc(1, sizeof *entry);
    if (!entry) {
      free(copy);
      return NULL;
    }
  }
  entry->start = start;
  entry->end = end;
  atomic_store(&entry->path, copy);
  if (isNew) {
    entry->next = atomic_load(list);
    while (!atomic_compare_exchange_weak(list, &entry->next, entry)) {}
  }
  return entry;
}

static void forget(gora_entry *entry) {
  if (entry) atomic_store(&entry->path, NULL);
}

gora_entry *gora_cleanup_add(const char *path) { return add(&cleanups, path, 0, 0); }
void gora_cleanup_forget(gora_entry *entry) { forget(entry); }

static int remove_all(int folders) {
  int gone = 0;
  for (gora_entry *entry = atomic_load(&cleanups); entry; entry = entry->next) {
    const char *path = atomic_load(&entry->path);
    if (!path || !*path || (path[strlen(path) - 1] == '/') != folders) continue;
    gone += (folders ? rmdir(path) : unlink(path)) == 0;
  }
  return gone;
}

void gora_cleanup_run(void) {
  // Files first, then folders until none goes any more, for they lie in each other.
  remove_all(0);
  while (remove_all(1) > 0) {}
}

gora_entry *gora_mapping_add(const void *start, size_t size, const char *path) {
  return add(&mappings, path, (uintptr_t)start, (uintptr_t)start + size);
}
void gora_mapping_forget(gora_entry *entry) { forget(entry); }

static char *tool_name = "gora";
static int error_is_terminal;
static atomic_int held, waiting;
static atomic_uintptr_t dying;

static void say(const char *text) {
  size_t length = strlen(text);
  while (length > 0) {
    ssize_t count = write(STDERR_FILENO, text, length);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text += count;
    length -= (size_t)count;
  }
}

static void die(int number) {
  signal(number, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  raise(number);
  // The first process of a container does not die of a signal.
  _exit(128 + number);
}

// One thread ends the process; others that come here wait for that.
static void be_the_only_one(int number) {
  uintptr_t none = 0, self = (uintptr_t)pthread_self();
  if (atomic_compare_exchange_strong(&dying, &none, self)) return;
  // A fault while cleaning up.
  if (none == self) _exit(128 + number);
  for (;;) pause();
}

static void end(int number) {
  if (atomic_load(&held) > 0) {
    atomic_store(&waiting, number);
    return;
  }
  be_the_only_one(number);
  gora_cleanup_run();
  die(number);
}

static void fault(int number, siginfo_t *info, void *context) {
  (void)context;
  int isMemory = errno == ENOMEM;
  // Sent, as any other signal may be.
  if (info->si_code <= 0 && number != SIGABRT) return end(number);
  be_the_only_one(number);
  gora_cleanup_run();
  // Swift's own allocations abort where there is no memory, and leave ENOMEM behind. Whoever else aborts has said why.
  if (number == SIGABRT && !isMemory) die(number);
  if (error_is_terminal) say("\r\033[K");
  say(tool_name);
  say(": error: ");
  if (number == SIGBUS) {
    uintptr_t address = (uintptr_t)info->si_addr;
    for (gora_entry *entry = atomic_load(&mappings); entry; entry = entry->next) {
      const char *path = atomic_load(&entry->path);
      if (!path || !*path || address < entry->start || address >= entry->end) continue;
      say(path);
      say(": cannot read: the file was cut short while it was in use, or its disk failed\n");
      say(tool_name);
      say(": hint: leave the file as it is while the tool runs; replace it by renaming another\n");
      _exit(74);
    }
  }
  if (isMemory) {
    say("out of memory\n");
    _exit(69);
  }
  char digits[] = "00";
  digits[0] = (char)('0' + number / 10 % 10);
  digits[1] = (char)('0' + number % 10);
  say("ended by signal ");
  say(digits[0] == '0' ? digits + 1 : digits);
  say("\n");
  say(tool_name);
  say(": hint: this is a defect of gora; please report it with the command line\n");
  die(number);
}

void gora_signals_install(const char *tool) {
  char *name = strdup(tool);
  if (name) tool_name = name;
  error_is_terminal = isatty(STDERR_FILENO);
  // A handler of its own stack reports even a stack that is full.
  static char stack[1 << 16];
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternative, NULL);
  for (int number = 1; number <= SIGRTMAX; number++) {
    struct sigaction old, new;
    switch (number) {
    // What cannot be caught, does nothing, or stops the process.
    case SIGKILL: case SIGSTOP: case SIGCHLD: case SIGCONT: case SIGURG: case SIGWINCH: case SIGTSTP: case SIGTTIN: case SIGTTOU:
      continue;
    case SIGXFSZ:
      // Beyond `ulimit -f` a write fails with EFBIG (status 74).
      signal(number, SIG_IGN);
      continue;
    default: break;
    }
    // nohup and background shells have a signal ignored on purpose.
    if (sigaction(number, NULL, &old) != 0 || old.sa_handler == SIG_IGN) continue;
    memset(&new, 0, sizeof new);
    sigemptyset(&new.sa_mask);
    switch (number) {
    case SIGBUS: case SIGSEGV: case SIGILL: case SIGFPE: case SIGTRAP: case SIGABRT: case SIGSYS:
      new.sa_sigaction = fault;
      new.sa_flags = SA_SIGINFO | SA_ONSTACK;
      break;
    default:
      new.sa_handler = end;
      new.sa_flags = SA_RESTART | SA_ONSTACK;
    }
    sigaction(number, &new, NULL);
  }
}

void gora_signals_hold(void) { atomic_fetch_add(&held, 1); }

void gora_signals_release(void) {
  if (atomic_fetch_sub(&held, 1) != 1) return;
  int number = atomic_exchange(&waiting, 0);
  if (number > 0) raise(number);
}

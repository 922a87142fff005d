// What a signal handler needs: the files to remove, the files that are mapped, and the handlers themselves. In C, because a handler
// may call little, and what Swift calls for it is not for us to say.
#ifndef GORA_SIGNALS_H
#define GORA_SIGNALS_H

#include <stddef.h>

typedef struct gora_entry gora_entry;

// Notes a file that goes when the process is ended by a signal, or a folder (the path ends in '/') that goes where it is empty.
// NULL where there is no memory: it then merely stays.
gora_entry *gora_cleanup_add(const char *path);
// Strikes it off: it has been renamed, or removed.
void gora_cleanup_forget(gora_entry *entry);
// Removes all of them; safe in a signal handler.
void gora_cleanup_run(void);

// Notes a mapping, so that a fault inside it names its file. `path` is shown as it is.
gora_entry *gora_mapping_add(const void *start, size_t size, const char *path);
void gora_mapping_forget(gora_entry *entry);

// Installs the handlers; `tool` begins their messages. Signals that are ignored on purpose stay ignored.
void gora_signals_install(const char *tool);
// Between these two a signal that ends the process waits. Calls nest.
void gora_signals_hold(void);
void gora_signals_release(void);

#endif

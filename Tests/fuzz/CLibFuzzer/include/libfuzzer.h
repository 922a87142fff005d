#pragma once
#include <stddef.h>
#include <stdint.h>

// Hands argc and argv to libFuzzer, which calls `target` with inputs without end, or as its options say. Returns its exit status,
// or -1 where the program was built without libFuzzer (`make fuzz` builds with it).
int gora_libfuzzer(int argc, char **argv, int (*target)(const uint8_t *bytes, size_t count));

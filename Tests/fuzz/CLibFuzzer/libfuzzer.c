#include "libfuzzer.h"

// compiler-rt/include/fuzzer: present where the program is linked with -sanitize=fuzzer and -u LLVMFuzzerRunDriver.
__attribute__((weak)) int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*target)(const uint8_t *bytes, size_t count));

int gora_libfuzzer(int argc, char **argv, int (*target)(const uint8_t *bytes, size_t count)) {
  return LLVMFuzzerRunDriver ? LLVMFuzzerRunDriver(&argc, &argv, target) : -1;
}

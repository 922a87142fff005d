// Bytes of stored chunks: checksums and byte order.
#include "clones.h"
#include "gora_kernels.h"

uint32_t gora_fletcher32(const uint8_t *bytes, size_t count) {
  uint32_t first = 0, second = 0;
  size_t words = count / 2;
  while (words > 0) {
    // As many words as both sums hold without overflow.
    size_t some = words > 360 ? 360 : words;
    for (size_t i = 0; i < some; i++, bytes += 2) {
      first += (uint32_t)bytes[0] << 8 | bytes[1];
      second += first;
    }
    first = (first & 0xFFFF) + (first >> 16);
    second = (second & 0xFFFF) + (second >> 16);
    words -= some;
  }
  if (count % 2 != 0) {
    first += (uint32_t)bytes[0] << 8;
    second += first;
    first = (first & 0xFFFF) + (first >> 16);
    second = (second & 0xFFFF) + (second >> 16);
  }
  first = (first & 0xFFFF) + (first >> 16);
  second = (second & 0xFFFF) + (second >> 16);
  return second << 16 | first;
}

CLONES void gora_unshuffle(const uint8_t *planes, uint8_t *elements, size_t count, size_t width) {
  for (size_t plane = 0; plane < width; plane++) {
    const uint8_t *from = planes + plane * count;
    uint8_t *to = elements + plane;
    for (size_t i = 0; i < count; i++) to[i * width] = from[i];
  }
}

void gora_reverse_bytes(uint8_t *elements, size_t count, size_t width) {
  for (uint8_t *element = elements; element < elements + count * width; element += width) {
    for (size_t i = 0; i < width / 2; i++) {
      uint8_t byte = element[i];
      element[i] = element[width - 1 - i];
      element[width - 1 - i] = byte;
    }
  }
}

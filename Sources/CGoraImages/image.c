#include "image.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gora_image_fail(gora_image *image, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(image->failure, sizeof image->failure, format, arguments);
  va_end(arguments);
}

bool gora_image_allocate(gora_image *image, uint64_t limit) {
  uint64_t pixels = (uint64_t)image->width * image->height;
  if (pixels == 0 || pixels > limit) {
    gora_image_fail(image, "the image is %u x %u pixels; expected 1 to %llu pixels in all", image->width, image->height,
                    (unsigned long long)limit);
    return false;
  }
  image->pixels = malloc(pixels * 3);
  if (!image->pixels) gora_image_fail(image, "no memory for an image of %u x %u pixels", image->width, image->height);
  return image->pixels != NULL;
}

void gora_image_keep_exif(gora_image *image, const uint8_t *bytes, size_t count) {
  if (image->exif || count == 0) return;
  image->exif = malloc(count);
  if (!image->exif) return;
  memcpy(image->exif, bytes, count);
  image->exif_size = count;
}

void gora_image_free(gora_image *image) {
  free(image->pixels);
  free(image->exif);
  image->pixels = image->exif = NULL;
}

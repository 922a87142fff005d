// JPEG and PNG to 8-bit RGB through libjpeg and libpng. Both report errors by longjmp, which must not cross Swift's frames: it stays here.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t width, height;
  uint8_t *pixels;  // [height, width, 3]
  uint8_t *exif;    // the TIFF structure of EXIF metadata, NULL where there is none
  size_t exif_size;
  char failure[256];  // why nothing was decoded
} gora_image;

// Both decode the whole of `bytes`, or return false with `failure` set; images of more than `limit` pixels are refused before memory is
// taken. What has been decoded goes with gora_image_free, also after a failure.
bool gora_jpeg_decode(const uint8_t *bytes, size_t count, uint64_t limit, gora_image *image);
bool gora_png_decode(const uint8_t *bytes, size_t count, uint64_t limit, gora_image *image);
void gora_image_free(gora_image *image);

// What the decoders share.
#pragma once
#include "gora_images.h"

__attribute__((format(printf, 2, 3))) void gora_image_fail(gora_image *image, const char *format, ...);
// Memory for the pixels of the image's width and height; false, with the failure set, beyond the limit or where there is none.
bool gora_image_allocate(gora_image *image, uint64_t limit);
// A copy of EXIF metadata, the first of several.
void gora_image_keep_exif(gora_image *image, const uint8_t *bytes, size_t count);

// libpng without gamma and colour profiles, and with alpha dropped, as Pillow's convert("RGB") leaves pixels.
#include "image.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct {
  const uint8_t *bytes;
  size_t count, position;
  gora_image *image;
} source;

static void fail(png_structp decoder, png_const_charp text) {
  gora_image_fail(((source *)png_get_error_ptr(decoder))->image, "%s", text);
  png_longjmp(decoder, 1);
}

// Warnings are of chunks beside the pixels.
static void ignore(png_structp decoder, png_const_charp text) {
  (void)decoder;
  (void)text;
}

static void read_bytes(png_structp decoder, png_bytep out, size_t count) {
  source *source = png_get_io_ptr(decoder);
  if (count > source->count - source->position) png_error(decoder, "the file ends before the image does");
  memcpy(out, source->bytes + source->position, count);
  source->position += count;
}

// Indices, one a byte in the first third of the pixels, to colours; from the last one back, as they lie in the same memory.
static void apply_palette(png_structp decoder, png_infop info, gora_image *image) {
  png_colorp palette = NULL;
  int colours = 0;
  if (!png_get_PLTE(decoder, info, &palette, &colours)) png_error(decoder, "no palette");
  size_t pixels = (size_t)image->width * image->height;
  for (size_t i = pixels; i-- > 0;) {
    uint8_t index = image->pixels[i];
    if (index >= colours) png_error(decoder, "a pixel names a colour that the palette lacks");
    uint8_t *rgb = image->pixels + 3 * i;
    rgb[0] = palette[index].red;
    rgb[1] = palette[index].green;
    rgb[2] = palette[index].blue;
  }
}

bool gora_png_decode(const uint8_t *bytes, size_t count, uint64_t limit, gora_image *image) {
  memset(image, 0, sizeof *image);
  source source = {bytes, count, 0, image};
  png_structp decoder = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, fail, ignore);
  png_infop info = decoder ? png_create_info_struct(decoder) : NULL;
  if (!info) {
    png_destroy_read_struct(&decoder, NULL, NULL);
    gora_image_fail(image, "no memory, or another libpng than the one this was built with");
    return false;
  }
  png_bytepp volatile rows = NULL;
  if (setjmp(png_jmpbuf(decoder))) {
    free(rows);
    png_destroy_read_struct(&decoder, &info, NULL);
    return false;
  }
  png_set_read_fn(decoder, &source, read_bytes);
  // The limit on pixels is our own.
  png_set_user_limits(decoder, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(decoder, info);
  image->width = png_get_image_width(decoder, info);
  image->height = png_get_image_height(decoder, info);
  int type = png_get_color_type(decoder, info), depth = png_get_bit_depth(decoder, info);
  if (depth == 16 && type == PNG_COLOR_TYPE_GRAY) png_error(decoder, "grey of 16 bits is not supported; expected at most 8 bits");
  if (!gora_image_allocate(image, limit)) png_longjmp(decoder, 1);
  bool has_palette = type == PNG_COLOR_TYPE_PALETTE;
  png_set_strip_16(decoder);
  png_set_packing(decoder);
  if (!has_palette) {
    png_set_strip_alpha(decoder);
    png_set_expand_gray_1_2_4_to_8(decoder);
    png_set_gray_to_rgb(decoder);
  }
  png_set_interlace_handling(decoder);
  png_read_update_info(decoder, info);
  size_t width = (size_t)image->width * (has_palette ? 1 : 3);
  if (png_get_rowbytes(decoder, info) != width) png_error(decoder, "rows are not as long as expected");
  rows = malloc(image->height * sizeof(png_bytep));
  if (!rows) png_error(decoder, "no memory");
  for (size_t y = 0; y < image->height; y++) rows[y] = image->pixels + y * width;
  png_read_image(decoder, rows);
  png_read_end(decoder, info);
  if (has_palette) apply_palette(decoder, info, image);
  png_bytep exif = NULL;
  png_uint_32 exif_size = 0;
  if (png_get_eXIf_1(decoder, info, &exif_size, &exif)) gora_image_keep_exif(image, exif, exif_size);
  free(rows);
  png_destroy_read_struct(&decoder, &info, NULL);
  return true;
}

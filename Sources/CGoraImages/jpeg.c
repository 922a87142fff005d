// libjpeg's decoder with its defaults, as Pillow has it: the exact integer transform, smoothed chroma.
#include "image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

// A progressive file may name scans without end, each of which costs a pass over the image.
enum { most_scans = 500, exif_marker = JPEG_APP0 + 1 };

typedef struct {
  struct jpeg_error_mgr base;
  jmp_buf escape;
  gora_image *image;
} error_manager;

static void fail(j_common_ptr decoder) {
  error_manager *errors = (error_manager *)decoder->err;
  char text[JMSG_LENGTH_MAX];
  decoder->err->format_message(decoder, text);
  gora_image_fail(errors->image, "%s", text);
  longjmp(errors->escape, 1);
}

// Level -1 warns of damage that libjpeg has made up for with pixels of its own. Bytes that it skips, and versions and transforms that it
// does not know, change none.
static void receive(j_common_ptr decoder, int level) {
  if (level >= 0) return;
  switch (decoder->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_ADOBE_XFORM: return;
    default: fail(decoder);
  }
}

static void stop_at_many_scans(j_common_ptr decoder) {
  if (((j_decompress_ptr)decoder)->input_scan_number <= most_scans) return;
  error_manager *errors = (error_manager *)decoder->err;
  gora_image_fail(errors->image, "more than %d scans", (int)most_scans);
  longjmp(errors->escape, 1);
}

static uint8_t product(uint8_t a, uint8_t b) {
  unsigned t = (unsigned)a * b + 128;
  return (uint8_t)(((t >> 8) + t) >> 8);
}

// Adobe stores inks inverted, and so are all files read by Pillow: with c = 255 - C and so on, R = k - (255 - c) k / 255, not below 0.
static void convert_cmyk(const uint8_t *cmyk, uint8_t *rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3)
    for (int j = 0; j < 3; j++) {
      uint8_t ink = product(255 - cmyk[j], cmyk[3]);
      rgb[j] = ink > cmyk[3] ? 0 : cmyk[3] - ink;
    }
}

static void convert_grey(const uint8_t *grey, uint8_t *rgb, size_t pixels) {
  for (size_t i = 0; i < pixels; i++, rgb += 3) rgb[0] = rgb[1] = rgb[2] = grey[i];
}

bool gora_jpeg_decode(const uint8_t *bytes, size_t count, uint64_t limit, gora_image *image) {
  struct jpeg_decompress_struct decoder;
  error_manager errors;
  struct jpeg_progress_mgr progress = {.progress_monitor = stop_at_many_scans};
  memset(image, 0, sizeof *image);
  memset(&decoder, 0, sizeof decoder);
  decoder.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = fail;
  errors.base.emit_message = receive;
  errors.image = image;
  if (setjmp(errors.escape)) {
    jpeg_destroy_decompress(&decoder);
    return false;
  }
  jpeg_create_decompress(&decoder);
  decoder.progress = &progress;
  jpeg_mem_src(&decoder, bytes, count);
  jpeg_save_markers(&decoder, exif_marker, 0xFFFF);
  jpeg_read_header(&decoder, TRUE);
  for (jpeg_saved_marker_ptr marker = decoder.marker_list; marker; marker = marker->next)
    if (marker->marker == exif_marker && marker->data_length > 6 && memcmp(marker->data, "Exif\0\0", 6) == 0)
      gora_image_keep_exif(image, marker->data + 6, marker->data_length - 6);
  image->width = decoder.image_width;
  image->height = decoder.image_height;
  int components = decoder.num_components;
  if (components == 2 || components > 4) {
    gora_image_fail(image, "a JPEG of %d components; expected 1 (grey), 3 (colours) or 4 (inks)", components);
    longjmp(errors.escape, 1);
  }
  if (!gora_image_allocate(image, limit)) longjmp(errors.escape, 1);
  decoder.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_start_decompress(&decoder);
  size_t width = image->width;
  // Freed by the library with everything else of the decoder.
  JSAMPARRAY row = decoder.mem->alloc_sarray((j_common_ptr)&decoder, JPOOL_IMAGE, (JDIMENSION)(width * (size_t)components), 1);
  while (decoder.output_scanline < decoder.output_height) {
    uint8_t *rgb = image->pixels + decoder.output_scanline * width * 3;
    jpeg_read_scanlines(&decoder, row, 1);
    if (components == 1) convert_grey(row[0], rgb, width);
    else if (components == 4) convert_cmyk(row[0], rgb, width);
    else memcpy(rgb, row[0], width * 3);
  }
  jpeg_finish_decompress(&decoder);
  jpeg_destroy_decompress(&decoder);
  return true;
}

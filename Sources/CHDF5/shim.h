#pragma once
#include <hdf5.h>
#include <stdio.h>

// Predefined types, property classes and access flags are macros that call H5open() first; Swift imports no such macro.
static inline hid_t gora_h5_f32le(void) { return H5T_IEEE_F32LE; }
static inline hid_t gora_h5_f64le(void) { return H5T_IEEE_F64LE; }
static inline hid_t gora_h5_i64le(void) { return H5T_STD_I64LE; }
static inline hid_t gora_h5_u16le(void) { return H5T_STD_U16LE; }
static inline hid_t gora_h5_native_float(void) { return H5T_NATIVE_FLOAT; }
static inline hid_t gora_h5_native_double(void) { return H5T_NATIVE_DOUBLE; }
static inline hid_t gora_h5_native_int64(void) { return H5T_NATIVE_INT64; }
static inline hid_t gora_h5_native_uint16(void) { return H5T_NATIVE_UINT16; }
static inline hid_t gora_h5_string(void) { return H5T_C_S1; }
static inline hid_t gora_h5_class_file_create(void) { return H5P_FILE_CREATE; }
static inline hid_t gora_h5_class_file_access(void) { return H5P_FILE_ACCESS; }
static inline hid_t gora_h5_class_dataset_create(void) { return H5P_DATASET_CREATE; }
static inline hid_t gora_h5_class_group_create(void) { return H5P_GROUP_CREATE; }
static inline hid_t gora_h5_create(const char *path, hid_t creation, hid_t access) {
  return H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
}

// The innermost line of the error stack. The error record is a versioned type behind a macro.
typedef struct {
  char *text;
  size_t size;
} gora_h5_text;
static inline herr_t gora_h5_copy_first(unsigned n, const H5E_error2_t *error, void *context) {
  gora_h5_text *text = (gora_h5_text *)context;
  if (n == 0) snprintf(text->text, text->size, "%s", error->desc ? error->desc : "");
  return 0;
}
static inline void gora_h5_innermost_error(char *text, size_t size) {
  gora_h5_text context = {text, size};
  text[0] = 0;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, gora_h5_copy_first, &context);
}

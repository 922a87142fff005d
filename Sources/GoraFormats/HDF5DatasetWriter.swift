import CHDF5
import GoraCore

/// A dataset being written; every method is to be called inside `HDF5.exclusively`.
struct HDF5DatasetWriter: ~Copyable {
  let place: HDF5Place
  let handle: HDF5Handle
  let element: HDF5Element
  /// One or two dimensions.
  let shape: [Int]

  /// Rows of a chunk: as many whole rows as fit 1 MiB, at least one.
  static func chunkRows(shape: [Int], element: HDF5Element) -> Int {
    let rowBytes = shape.dropFirst().reduce(element.byteCount, *)
    return max(1, min(shape[0], (1 << 20) / rowBytes))
  }

  /// Creates a chunked dataset with shuffle → compression → Fletcher-32, without times.
  init(
    creating name: String, in file: HDF5FileWriter, element: HDF5Element, shape: [Int], compression: Compression
  ) throws(GoraError) {
    let place = file.place.at(name)
    let chunk = [HDF5DatasetWriter.chunkRows(shape: shape, element: element)] + shape.dropFirst()
    let properties = try HDF5Handle("H5Pcreate", at: place) { H5Pcreate(gora_h5_class_dataset_create()) }
    let list = properties.id
    try h5Call("H5Pset_obj_track_times", at: place) { H5Pset_obj_track_times(list, false) }
    try h5Call("H5Pset_chunk", at: place) { H5Pset_chunk(list, Int32(chunk.count), chunk.map { hsize_t($0) }) }
    // Every chunk is written whole: filling it first would be work for nothing.
    try h5Call("H5Pset_fill_time", at: place) { H5Pset_fill_time(list, H5D_FILL_TIME_NEVER) }
    switch compression {
    case .none: break
    case .gzip(let level):
      try h5Call("H5Pset_shuffle", at: place) { H5Pset_shuffle(list) }
      try h5Call("H5Pset_deflate", at: place) { H5Pset_deflate(list, UInt32(level)) }
    case .zstd(let level):
      try h5Call("H5Pset_shuffle", at: place) { H5Pset_shuffle(list) }
      try h5Call("H5Pset_filter", at: place) {
        H5Pset_filter(list, ZstdFilter.identifier, UInt32(H5Z_FLAG_MANDATORY), 1, [UInt32(level)])
      }
    }
    try h5Call("H5Pset_fletcher32", at: place) { H5Pset_fletcher32(list) }
    let space = try HDF5Handle("H5Screate_simple", at: place) {
      H5Screate_simple(Int32(shape.count), shape.map { hsize_t($0) }, nil)
    }
    handle = try HDF5Handle("H5Dcreate2", at: place) {
      H5Dcreate2(file.id, name, element.fileType, space.id, HDF5.standard, list, HDF5.standard)
    }
    self.place = place
    self.element = element
    self.shape = shape
  }

  /// Writes rows (or, in one dimension, elements) of the native type of `element`.
  func write(rows: Range<Int>, from values: UnsafeRawPointer) throws(GoraError) {
    if rows.isEmpty { return }
    let memory = try memorySpace(rows)
    let file = try fileSpace(rows)
    let id = handle.id
    try h5Call("H5Dwrite", at: place) { H5Dwrite(id, element.memoryType, memory.id, file.id, HDF5.standard, values) }
  }

  func write(attribute name: String, _ value: String) throws(GoraError) {
    try h5WriteAttribute(name, value, on: handle.id, at: place)
  }

  func write(attribute name: String, _ value: Int) throws(GoraError) {
    try h5WriteAttribute(name, value, on: handle.id, at: place)
  }

  consuming func close() throws(GoraError) {
    let place = place
    try handle.close("H5Dclose", at: place)
  }

  private func memorySpace(_ rows: Range<Int>) throws(GoraError) -> HDF5Handle {
    let extents = [hsize_t(rows.count)] + shape.dropFirst().map { hsize_t($0) }
    return try HDF5Handle("H5Screate_simple", at: place) { H5Screate_simple(Int32(extents.count), extents, nil) }
  }

  private func fileSpace(_ rows: Range<Int>) throws(GoraError) -> HDF5Handle {
    let id = handle.id
    let space = try HDF5Handle("H5Dget_space", at: place) { H5Dget_space(id) }
    let start = [hsize_t(rows.lowerBound)] + shape.dropFirst().map { _ in 0 }
    let count = [hsize_t(rows.count)] + shape.dropFirst().map { hsize_t($0) }
    try h5Call("H5Sselect_hyperslab", at: place) {
      H5Sselect_hyperslab(space.id, H5S_SELECT_SET, start, nil, count, nil)
    }
    return space
  }
}

extension HDF5Element {
  /// The type on disk: little-endian.
  fileprivate var fileType: hid_t {
    switch self {
    case .float32: gora_h5_f32le()
    case .float64: gora_h5_f64le()
    case .int64: gora_h5_i64le()
    case .uint16: gora_h5_u16le()
    }
  }

  fileprivate var memoryType: hid_t {
    switch self {
    case .float32: gora_h5_native_float()
    case .float64: gora_h5_native_double()
    case .int64: gora_h5_native_int64()
    case .uint16: gora_h5_native_uint16()
    }
  }
}

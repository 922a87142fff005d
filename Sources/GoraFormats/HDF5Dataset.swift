import CHDF5
import GoraCore

/// How the chunks of a dataset are compressed; byte shuffle goes before, a Fletcher-32 checksum after.
package enum Compression: Sendable, Equatable, CustomStringConvertible {
  /// Zstandard (filter 32015), level 1...22.
  case zstd(Int)
  /// Deflate, which every HDF5 tool reads, level 1...9.
  case gzip(Int)
  case none

  /// Reads `zstd`, `zstd:3`, `gzip`, `gzip:6` or `none`.
  /// - Throws: `.usage` for anything else.
  package init(parsing text: String) throws(GoraError) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let level = parts.count > 1 ? Int(parts[1]) : nil
    switch (parts[0], parts.count > 1, level) {
    case ("none", false, _): self = .none
    case ("zstd", false, _): self = .zstd(3)
    case ("zstd", true, .some(1...22)): self = .zstd(level ?? 3)
    case ("gzip", false, _): self = .gzip(6)
    case ("gzip", true, .some(1...9)): self = .gzip(level ?? 6)
    default:
      throw GoraError(
        .usage, "unknown compression \"\(text)\"",
        hint: "use zstd:1 to zstd:22, gzip:1 to gzip:9, or none")
    }
  }

  package var description: String {
    switch self {
    case .zstd(let level): "zstd:\(level)"
    case .gzip(let level): "gzip:\(level)"
    case .none: "none"
    }
  }
}

/// An open dataset of one of four element types; every method is to be called inside `HDF5.exclusively`.
struct HDF5Dataset: ~Copyable {
  enum Element: String {
    case float32, float64, int64, uint16

    var byteCount: Int {
      switch self {
      case .float32: 4
      case .float64, .int64: 8
      case .uint16: 2
      }
    }

    /// The type on disk when written (little-endian) and its big-endian twin.
    fileprivate var fileTypes: (little: hid_t, big: hid_t) {
      switch self {
      case .float32: (gora_h5_f32le(), gora_h5_f32be())
      case .float64: (gora_h5_f64le(), gora_h5_f64be())
      case .int64: (gora_h5_i64le(), gora_h5_i64be())
      case .uint16: (gora_h5_u16le(), gora_h5_u16be())
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

  /// Larger chunks are refused when read: decoding needs one whole in memory.
  static let largestChunkBytes = 1 << 28
  /// No legal compression goes beyond: a zstd block of one repeated byte is 4 bytes for 128 KiB.
  static let largestRatio = 1 << 15

  let place: HDF5Place
  let handle: HDF5Handle
  let element: Element
  /// One or two dimensions.
  let shape: [Int]
  /// Chunk dimensions; nil for a contiguous dataset.
  let chunk: [Int]?

  // MARK: Writing

  /// Rows of a chunk: as many whole rows as fit 1 MiB, at least one.
  static func chunkRows(shape: [Int], element: Element) -> Int {
    let rowBytes = shape.dropFirst().reduce(element.byteCount, *)
    return max(1, min(shape[0], (1 << 20) / rowBytes))
  }

  /// Creates a chunked dataset with shuffle → compression → Fletcher-32, without times.
  init(
    creating name: String, in file: HDF5File, element: Element, shape: [Int], compression: Compression
  ) throws(GoraError) {
    let place = file.place.at(name)
    let chunk = [HDF5Dataset.chunkRows(shape: shape, element: element)] + shape.dropFirst()
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
      H5Dcreate2(file.id, name, element.fileTypes.little, space.id, HDF5.standard, list, HDF5.standard)
    }
    self.place = place
    self.element = element
    self.shape = shape
    self.chunk = chunk
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
    try handle.close(at: place)
  }

  // MARK: Reading

  /// Opens a dataset and checks what it claims, reading no values.
  /// - Throws: `.data` for another rank or type, a claimed size beyond what is stored, filters or storage that gora does not read.
  init(opening name: String, in file: HDF5File, rank: Int, elements: [Element]) throws(GoraError) {
    let place = file.place.at(name)
    let dataset = try HDF5Handle("H5Dopen2", at: place) { H5Dopen2(file.id, name, HDF5.standard) }
    let id = dataset.id

    let space = try HDF5Handle("H5Dget_space", at: place) { H5Dget_space(id) }
    let foundRank = Int(try h5Call("H5Sget_simple_extent_ndims", at: place) { H5Sget_simple_extent_ndims(space.id) })
    guard foundRank == rank else { throw place.error("\(foundRank) dimensions; expected \(rank)") }
    var extents = [hsize_t](repeating: 0, count: rank)
    try h5Call("H5Sget_simple_extent_dims", at: place) { H5Sget_simple_extent_dims(space.id, &extents, nil) }

    let type = try HDF5Handle("H5Dget_type", at: place) { H5Dget_type(id) }
    let element = elements.first { H5Tequal(type.id, $0.fileTypes.little) > 0 || H5Tequal(type.id, $0.fileTypes.big) > 0 }
    guard let element else {
      let words = elements.map(\.rawValue).joined(separator: " or ")
      throw place.error("the element type is not \(words)")
    }

    let properties = try HDF5Handle("H5Dget_create_plist", at: place) { H5Dget_create_plist(id) }
    try HDF5Dataset.checkFilters(properties.id, at: place)
    let layout = H5Pget_layout(properties.id)
    var chunk: [Int]?
    if layout == H5D_CHUNKED {
      var chunkExtents = [hsize_t](repeating: 0, count: rank)
      try h5Call("H5Pget_chunk", at: place) { H5Pget_chunk(properties.id, Int32(rank), &chunkExtents) }
      let (sizes, bytes) = try HDF5Dataset.checked(chunkExtents, element, at: place)
      guard bytes > 0, bytes <= HDF5Dataset.largestChunkBytes else {
        throw place.error("chunks of \(bytes) bytes; expected 1 to \(HDF5Dataset.largestChunkBytes)")
      }
      chunk = sizes
    } else if layout != H5D_CONTIGUOUS && layout != H5D_COMPACT || H5Pget_external_count(properties.id) != 0 {
      throw place.error("values are stored outside the file")
    }

    let (shape, bytes) = try HDF5Dataset.checked(extents, element, at: place)
    let stored = Int(clamping: H5Dget_storage_size(id))
    let ratio = chunk == nil ? 1 : HDF5Dataset.largestRatio
    guard stored < Int.max / ratio, bytes <= stored * ratio else {
      throw place.error("shape \(shape) claims \(bytes) bytes, but only \(stored) are stored")
    }
    handle = dataset
    self.place = place
    self.element = element
    self.shape = shape
    self.chunk = chunk
  }

  private static func checked(
    _ extents: [hsize_t], _ element: Element, at place: HDF5Place
  ) throws(GoraError) -> (sizes: [Int], bytes: Int) {
    var bytes = element.byteCount
    for extent in extents {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: Int(clamping: extent))
      if overflow { throw place.error("shape \(extents) overflows") }
      bytes = product
    }
    return (extents.map { Int($0) }, bytes)
  }

  private static func checkFilters(_ list: hid_t, at place: HDF5Place) throws(GoraError) {
    let known = [H5Z_FILTER_DEFLATE, H5Z_FILTER_SHUFFLE, H5Z_FILTER_FLETCHER32, ZstdFilter.identifier]
    let count = try h5Call("H5Pget_nfilters", at: place) { H5Pget_nfilters(list) }
    for i in 0..<count {
      var flags: UInt32 = 0
      var parameters = 0
      var configuration: UInt32 = 0
      let filter = try h5Call("H5Pget_filter2", at: place) {
        H5Pget_filter2(list, UInt32(i), &flags, &parameters, nil, 0, nil, &configuration)
      }
      guard known.contains(filter) else {
        throw place.error("unknown HDF5 filter \(filter); expected deflate, shuffle, fletcher32 or zstd (32015)")
      }
    }
  }

  /// Reads rows (or, in one dimension, elements) as the native type of `element`.
  /// - Throws: `.data` where a chunk is missing or damaged.
  func read(rows: Range<Int>, into values: UnsafeMutableRawPointer) throws(GoraError) {
    if rows.isEmpty || shape.contains(0) { return }
    try checkChunks(of: rows)
    let memory = try memorySpace(rows)
    let file = try fileSpace(rows)
    let id = handle.id
    ZstdFilter.chunkBytes = chunk.map { $0.reduce(element.byteCount, *) } ?? 0
    defer { ZstdFilter.chunkBytes = 0 }
    try h5Call("H5Dread", at: place) { H5Dread(id, element.memoryType, memory.id, file.id, HDF5.standard, values) }
  }

  /// A chunk that is absent would read as zeros, and one whose filters are masked out would be taken undecoded.
  private func checkChunks(of rows: Range<Int>) throws(GoraError) {
    guard let chunk else { return }
    let id = handle.id
    let chunkBytes = chunk.reduce(element.byteCount, *)
    let columns = shape.count > 1 ? shape[1] : 1
    let chunkColumns = shape.count > 1 ? chunk[1] : 1
    for row in stride(from: rows.lowerBound / chunk[0] * chunk[0], to: rows.upperBound, by: chunk[0]) {
      for column in stride(from: 0, to: columns, by: chunkColumns) {
        let offset = shape.count > 1 ? [hsize_t(row), hsize_t(column)] : [hsize_t(row)]
        var mask: UInt32 = 0
        var address: haddr_t = 0
        var size: hsize_t = 0
        try h5Call("H5Dget_chunk_info_by_coord", at: place) {
          H5Dget_chunk_info_by_coord(id, offset, &mask, &address, &size)
        }
        guard address != haddr_t.max, size > 0 else { throw place.error("the chunk at \(offset) is missing") }
        guard mask == 0 else { throw place.error("the chunk at \(offset) skips filters") }
        // Compression of random bytes adds less than 1 in 128, and a checksum 4.
        guard size <= hsize_t(chunkBytes + chunkBytes / 128 + 1024) else {
          throw place.error("the chunk at \(offset) is stored in \(size) bytes, more than its \(chunkBytes)")
        }
      }
    }
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

import CHDF5
import CZstd
import Glibc
import GoraCore

/// HDF5 filter 32015 (Zstandard) as registered with the HDF Group: the level in `cd_values[0]`, one frame a chunk with content size.
///
/// Its state belongs to the holder of `HDF5.exclusively`. Files are read without libhdf5: see `HDF5ChunkDecoder`.
enum ZstdFilter {
  static let identifier: H5Z_filter_t = 32015
  private nonisolated(unsafe) static let compressor = ZSTD_createCCtx()

  /// Makes the filter known to libhdf5 (`H5Zregister`); negative where that fails.
  static func register() -> herr_t {
    var record = H5Z_class2_t(
      version: H5Z_CLASS_T_VERS, id: identifier, encoder_present: 1, decoder_present: 0,
      name: UnsafePointer(strdup("zstd")),  // libhdf5 keeps the pointer
      can_apply: nil, set_local: nil,
      filter: { flags, count, parameters, bytes, capacity, buffer in
        guard let capacity, let buffer, let input = buffer.pointee else { return 0 }
        let source = UnsafeRawBufferPointer(start: input, count: bytes)
        // gora decodes by itself, and libhdf5 only what it writes in pieces, which gora does not.
        guard flags & UInt32(H5Z_FLAG_REVERSE) == 0 else { return 0 }
        let level = count > 0 ? Int32(bitPattern: parameters?[0] ?? 3) : 3
        guard let output = ZstdFilter.encode(source, level: level) else { return 0 }
        free(input)
        buffer.pointee = output.baseAddress
        capacity.pointee = output.count
        return output.count
      })
    return H5Zregister(&record)
  }

  /// One frame with content size, in memory that the caller frees with `free`; nil where memory is short.
  static func encode(_ source: UnsafeRawBufferPointer, level: Int32) -> UnsafeMutableRawBufferPointer? {
    let bound = ZSTD_compressBound(source.count)
    guard let memory = malloc(bound) else { return nil }
    let count = ZSTD_compressCCtx(compressor, memory, bound, source.baseAddress, source.count, level)
    if ZSTD_isError(count) != 0 {
      free(memory)
      return nil
    }
    return UnsafeMutableRawBufferPointer(start: memory, count: count)
  }
}

import CHDF5
import CZstd
import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// HDF5 filter 32015 (Zstandard) as registered with the HDF Group: the level in `cd_values[0]`, one frame a chunk with content size.
///
/// Decoding never allocates more than the chunk holds. All state belongs to the holder of `HDF5.exclusively`.
enum ZstdFilter {
  static let identifier: H5Z_filter_t = 32015
  /// Bytes of the chunks that are about to be decoded; a frame that claims another size is refused unread.
  nonisolated(unsafe) static var chunkBytes = 0
  /// Why the last frame was refused (libhdf5 says only that a filter failed).
  nonisolated(unsafe) static var refusal: String?

  private nonisolated(unsafe) static let compressor = ZSTD_createCCtx()
  private nonisolated(unsafe) static let decompressor = ZSTD_createDCtx()

  /// Makes the filter known to libhdf5 (`H5Zregister`); negative where that fails.
  static func register() -> herr_t {
    var record = H5Z_class2_t(
      version: H5Z_CLASS_T_VERS, id: identifier, encoder_present: 1, decoder_present: 1,
      name: UnsafePointer(strdup("zstd")),  // libhdf5 keeps the pointer
      can_apply: nil, set_local: nil,
      filter: { flags, count, parameters, bytes, capacity, buffer in
        guard let capacity, let buffer, let input = buffer.pointee else { return 0 }
        let source = UnsafeRawBufferPointer(start: input, count: bytes)
        let output: UnsafeMutableRawBufferPointer?
        if flags & UInt32(H5Z_FLAG_REVERSE) != 0 {
          output = ZstdFilter.decode(source, expected: ZstdFilter.chunkBytes)
        } else {
          output = ZstdFilter.encode(source, level: count > 0 ? Int32(bitPattern: parameters?[0] ?? 3) : 3)
        }
        guard let output else { return 0 }
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

  /// The bytes of exactly one frame of exactly `expected` bytes, to be freed with `free`; nil (and `refusal`) otherwise.
  static func decode(_ source: UnsafeRawBufferPointer, expected: Int) -> UnsafeMutableRawBufferPointer? {
    let frame = ZSTD_findFrameCompressedSize(source.baseAddress, source.count)
    if ZSTD_isError(frame) != 0 {
      refusal = "a chunk is not a zstd frame"
      return nil
    }
    if frame != source.count {
      refusal = "a zstd frame of \(frame) bytes in a chunk stored in \(source.count)"
      return nil
    }
    let claimed = ZSTD_getFrameContentSize(source.baseAddress, source.count)
    guard expected > 0, claimed == UInt64(expected) else {
      // The two largest values stand for "not stated" and "not a frame".
      refusal =
        claimed >= UInt64.max - 1
        ? "a zstd frame does not state its size" : "a zstd frame claims \(claimed) bytes, a chunk has \(expected)"
      return nil
    }
    guard let memory = malloc(expected) else {
      refusal = "no memory for a chunk of \(expected) bytes"
      return nil
    }
    if ZSTD_decompressDCtx(decompressor, memory, expected, source.baseAddress, source.count) != expected {
      refusal = "a zstd frame is damaged"
      free(memory)
      return nil
    }
    return UnsafeMutableRawBufferPointer(start: memory, count: expected)
  }
}

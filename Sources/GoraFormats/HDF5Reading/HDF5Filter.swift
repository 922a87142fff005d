import CGoraKernels
import CZlib
import CZstd
import GoraCore

/// One step of how chunks are stored.
enum HDF5Filter: Int, Sendable {
  case deflate = 1, shuffle = 2, fletcher32 = 3, zstd = 32015

  /// The filters of a dataset, in the order of writing: a part of shuffle → deflate or zstd → fletcher32.
  static func pipeline(_ message: HDF5Cursor?, elementSize: Int) throws(GoraError) -> [HDF5Filter] {
    guard var message else { return [] }
    let version = try message.byte()
    guard version == 1 || version == 2 else { throw message.damaged("version \(version); expected 1 or 2") }
    let count = try message.byte()
    if version == 1 { try message.skip(6) }
    var identifiers: [Int] = []
    for _ in 0..<count {
      let identifier = try message.number(2)
      let nameCount = version == 1 || identifier >= 256 ? try message.number(2) : 0
      try message.skip(2)
      let parameterCount = try message.number(2)
      try message.skip(nameCount)
      let first = parameterCount > 0 ? try message.number(4) : nil
      try message.skip(4 * max(0, parameterCount - 1))
      if version == 1, parameterCount % 2 != 0 { try message.skip(4) }
      if identifier == HDF5Filter.shuffle.rawValue, first != elementSize {
        throw message.damaged("shuffle of elements of \(first ?? 0) bytes; expected \(elementSize)")
      }
      identifiers.append(identifier)
    }
    let filters = identifiers.compactMap { HDF5Filter(rawValue: $0) }
    guard filters.count == identifiers.count, zip(filters, filters.dropFirst()).allSatisfy({ $0.stage < $1.stage }) else {
      throw message.storage.damaged(
        "HDF5 filters \(identifiers); expected at most shuffle (2), deflate (1) or zstd (32015), fletcher32 (3), in this order")
    }
    return filters
  }

  private var stage: Int {
    switch self {
    case .shuffle: 1
    case .deflate, .zstd: 2
    case .fletcher32: 3
    }
  }
}

/// Undoes the filters of chunks, in memory that it keeps from one chunk to the next.
struct HDF5ChunkDecoder: ~Copyable {
  private let filters: [HDF5Filter]
  private let elementSize: Int
  private let zstd = ZSTD_createDCtx()
  private var planes: [UInt8]

  init(_ filters: [HDF5Filter], elementSize: Int, chunkBytes: Int) {
    (self.filters, self.elementSize) = (filters, elementSize)
    planes = [UInt8](repeating: 0, count: filters.contains(.shuffle) && filters.count > 1 ? chunkBytes : 0)
  }

  deinit { ZSTD_freeDCtx(zstd) }

  /// Decodes what is stored of a chunk into exactly its bytes; says what is wrong otherwise.
  /// - Parameter mask: the filters that were passed over, by their place: a compression that did not pay is the only one that may be.
  mutating func decode(_ stored: UnsafeRawBufferPointer, mask: UInt32, into chunk: UnsafeMutableRawBufferPointer) -> String? {
    var bytes = stored
    var steps: [HDF5Filter] = []
    for (place, filter) in filters.enumerated() {
      if place < 32, mask >> UInt32(place) & 1 != 0 {
        guard filter == .deflate || filter == .zstd else { return "skips filter \(filter)" }
      } else {
        steps.append(filter)
      }
    }
    if steps.last == .fletcher32 {
      guard bytes.count >= 4 else { return "is stored in \(bytes.count) bytes" }
      let body = UnsafeRawBufferPointer(rebasing: bytes.dropLast(4))
      let sum = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: body.count, as: UInt32.self))
      guard gora_fletcher32(body.baseAddress, body.count) == sum else { return "is damaged: its checksum is wrong" }
      bytes = body
      steps.removeLast()
    }
    let isShuffled = steps.first == .shuffle
    if let compression = steps.last, compression != .shuffle {
      let problem =
        isShuffled
        ? planes.withUnsafeMutableBytes { HDF5ChunkDecoder.expand(bytes, compression, zstd, into: $0) }
        : HDF5ChunkDecoder.expand(bytes, compression, zstd, into: chunk)
      if let problem { return problem }
      if isShuffled { planes.withUnsafeBytes { unshuffle($0, into: chunk) } }
      return nil
    }
    guard bytes.count == chunk.count else { return "is damaged: \(bytes.count) bytes of \(chunk.count)" }
    if isShuffled { unshuffle(bytes, into: chunk) } else { chunk.copyMemory(from: bytes) }
    return nil
  }

  private func unshuffle(_ planes: UnsafeRawBufferPointer, into chunk: UnsafeMutableRawBufferPointer) {
    gora_unshuffle(planes.baseAddress, chunk.baseAddress, chunk.count / elementSize, elementSize)
  }

  private static func expand(
    _ bytes: UnsafeRawBufferPointer, _ compression: HDF5Filter, _ zstd: OpaquePointer?, into target: UnsafeMutableRawBufferPointer
  ) -> String? {
    if compression == .zstd {
      let count = ZSTD_decompressDCtx(zstd, target.baseAddress, target.count, bytes.baseAddress, bytes.count)
      if ZSTD_isError(count) != 0 { return "is damaged: zstd: \(String(cString: ZSTD_getErrorName(count)).lowercased())" }
      return count == target.count ? nil : "is damaged: it decodes to \(count) bytes of \(target.count)"
    }
    var count = UInt(target.count)
    let status = uncompress(target.baseAddress, &count, bytes.baseAddress, UInt(bytes.count))
    if status == Z_BUF_ERROR, count == target.count { return "is damaged: it decodes to more than its \(target.count) bytes" }
    guard status == Z_OK else { return "is damaged: deflate, after \(count) bytes of \(target.count)" }
    return count == target.count ? nil : "is damaged: it decodes to \(count) bytes of \(target.count)"
  }
}

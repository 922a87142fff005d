import GoraCore

/// Writes GGUF files of version 3, little-endian. Equal contents give equal bytes.
package enum GGUFWriter {
  package enum Value: Sendable {
    case string(String)
    case uint32(UInt32)
    /// Type and value as they stand in another file.
    case bytes([UInt8])
  }

  /// What the header says of a tensor.
  package struct Entry: Sendable {
    package let name: String
    package let dtype: DType
    /// The elements of a row last.
    package let shape: [Int]

    package init(name: String, dtype: DType, shape: [Int]) { (self.name, self.dtype, self.shape) = (name, dtype, shape) }

    var byteCount: Int {
      guard let count = dtype.byteCount(shape) else { preconditionFailure("shape overflows") }
      return count
    }
  }

  /// Writes tensors that are made one at a time, into a file that the caller commits.
  /// - Parameters:
  ///   - alignment: of `general.alignment`, 32 where there is none.
  ///   - body: called for each tensor in order; appends exactly its bytes, in as many pieces as it likes.
  /// - Throws: `.io` as `AtomicFile`, and what `body` throws.
  package static func write(
    to file: AtomicFile, metadata: [(key: String, value: Value)], entries: [Entry], alignment: Int = 32,
    body: (Entry, (UnsafeRawBufferPointer) throws(GoraError) -> Void) throws(GoraError) -> Void
  ) throws(GoraError) {
    precondition(Set(entries.map(\.name)).count == entries.count, "tensor names are unique")
    func padding(_ count: Int) -> Int { (alignment - count % alignment) % alignment }
    var header = Bytes()
    header.append(Array("GGUF".utf8))
    header.append(UInt32(3))
    header.append(UInt64(entries.count))
    header.append(UInt64(metadata.count))
    for (key, value) in metadata {
      header.append(key)
      switch value {
      case .string(let text):
        header.append(GGUFValueType.string.rawValue)
        header.append(text)
      case .uint32(let number):
        header.append(GGUFValueType.uint32.rawValue)
        header.append(number)
      case .bytes(let bytes): header.append(bytes)
      }
    }
    var offset = 0
    for entry in entries {
      guard let number = GGUFTensorType.number(of: entry.dtype) else { preconditionFailure("\(entry.dtype) is not of GGUF") }
      header.append(entry.name)
      header.append(UInt32(entry.shape.count))
      for size in entry.shape.reversed() { header.append(UInt64(size)) }
      header.append(number)
      header.append(UInt64(offset))
      offset += entry.byteCount + padding(entry.byteCount)
    }
    header.append([UInt8](repeating: 0, count: padding(header.all.count)))
    try file.write(header.all)
    for entry in entries {
      try file.write(entry, name: entry.name, byteCount: entry.byteCount, body: body)
      try file.write([UInt8](repeating: 0, count: padding(entry.byteCount)))
    }
  }

  private struct Bytes {
    var all: [UInt8] = []
    mutating func append(_ bytes: [UInt8]) { all.append(contentsOf: bytes) }
    mutating func append(_ number: some FixedWidthInteger) {
      withUnsafeBytes(of: number.littleEndian) { all.append(contentsOf: $0) }
    }
    mutating func append(_ text: String) {
      append(UInt64(text.utf8.count))
      append(Array(text.utf8))
    }
  }
}

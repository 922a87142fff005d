import GoraCore

/// Writes safetensors files: the larger element types first, then by name, so that equal contents give equal bytes.
package enum SafetensorsWriter {
  /// What the header says of a tensor.
  package struct Entry: Sendable {
    package let name: String
    package let dtype: DType
    package let shape: [Int]

    package init(name: String, dtype: DType, shape: [Int]) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
    }

    var byteCount: Int {
      guard let count = dtype.byteCount(shape) else { preconditionFailure("shape overflows") }
      return count
    }
  }

  /// A tensor in memory; the bytes are little-endian and row-major, and must live until it is written.
  package struct Tensor: @unchecked Sendable {
    package let name: String
    package let dtype: DType
    package let shape: [Int]
    package let bytes: UnsafeRawBufferPointer

    package init(name: String, dtype: DType, shape: [Int], bytes: UnsafeRawBufferPointer) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
      self.bytes = bytes
    }
  }

  /// Writes the tensors atomically; nothing is copied in memory.
  /// - Throws: `.cannotCreate` and `.io` as `AtomicFile`.
  package static func write(
    path: String, tensors: [Tensor], metadata: [(String, String)]
  ) throws(GoraError) {
    let file = try AtomicFile(path: path)
    try write(to: file, tensors: tensors, metadata: metadata)
    try file.commit()
  }

  /// Writes the tensors into a file that the caller commits.
  package static func write(to file: AtomicFile, tensors: [Tensor], metadata: [(String, String)]) throws(GoraError) {
    let bytes = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.bytes) })
    try write(
      to: file, entries: tensors.map { Entry(name: $0.name, dtype: $0.dtype, shape: $0.shape) }, metadata: metadata
    ) { entry, append throws(GoraError) in
      if let bytes = bytes[entry.name] { try append(bytes) }
    }
  }

  /// Writes tensors that are made one at a time, into a file that the caller commits.
  /// - Parameter body: called for each tensor in the order of the file; appends exactly its bytes, in as many pieces as it likes.
  package static func write(
    to file: AtomicFile, entries: [Entry], metadata: [(String, String)],
    body: (Entry, (UnsafeRawBufferPointer) throws(GoraError) -> Void) throws(GoraError) -> Void
  ) throws(GoraError) {
    let ordered = entries.sorted { ($1.dtype.byteCount, $0.name) < ($0.dtype.byteCount, $1.name) }
    var members: [JSON.Member] = []
    if !metadata.isEmpty {
      let sorted = metadata.sorted { $0.0 < $1.0 }
      members.append(JSON.Member("__metadata__", JSON(.object(sorted.map { JSON.Member($0.0, JSON($0.1)) }))))
    }
    var offset = 0
    for entry in ordered {
      let end = offset + entry.byteCount
      members.append(
        JSON.Member(
          entry.name,
          .object([
            "dtype": JSON(entry.dtype.rawValue), "shape": .integers(entry.shape), "data_offsets": .integers([offset, end]),
          ])))
      offset = end
    }
    precondition(Set(members.map(\.key)).count == members.count, "tensor names are unique")
    var header = Array(JSON(.object(members)).compact().utf8)
    header.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8))
    try file.write(withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header)
    for entry in ordered {
      try file.write(entry, name: entry.name, byteCount: entry.byteCount, body: body)
    }
  }
}

extension AtomicFile {
  /// A tensor that is made in pieces, exactly as long as the header has announced.
  func write<Entry>(
    _ entry: Entry, name: String, byteCount: Int,
    body: (Entry, (UnsafeRawBufferPointer) throws(GoraError) -> Void) throws(GoraError) -> Void
  ) throws(GoraError) {
    var written = 0
    try body(entry) { bytes throws(GoraError) in
      written += bytes.count
      try write(bytes)
    }
    guard written == byteCount else {
      throw GoraError(.internal, "tensor \"\(name)\": \(written) bytes written, \(byteCount) announced")
    }
  }
}

extension Array where Element: BitwiseCopyable {
  /// Hands out the bytes of the elements.
  package func giveBytes(to append: (UnsafeRawBufferPointer) throws(GoraError) -> Void) throws(GoraError) {
    try withUnsafeBytes { bytes -> Result<Void, GoraError> in
      do throws(GoraError) { return .success(try append(bytes)) } catch { return .failure(error) }
    }.get()
  }
}

import GoraCore

/// Reads a GGUF file from its beginning on, little-endian; whatever lies beyond its end is an error that names byte and part.
struct GGUFCursor {
  let path: String
  let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0
  /// What is being read, for messages.
  var part = "header"

  init(_ file: MappedFile) {
    path = file.path
    bytes = file.bytes
  }

  /// An error at a byte; at where the cursor stands, if none is named.
  func error(_ problem: String, at place: Int? = nil, hint: String? = nil) -> GoraError {
    GoraError(.data, at: .bytes(path, offset: place ?? offset, part: part), problem, hint: hint)
  }

  private var left: Int { bytes.count - offset }

  mutating func skip(_ count: Int) throws(GoraError) {
    guard count <= left else { throw error("the file ends here, \(count - left) bytes too early") }
    offset += count
  }

  mutating func number<Number: FixedWidthInteger & BitwiseCopyable>(_: Number.Type) throws(GoraError) -> Number {
    let start = offset
    try skip(MemoryLayout<Number>.size)
    return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: Number.self))
  }

  /// A number of items, each of at least `size` bytes, that the rest of the file can hold.
  mutating func count(of items: String, size: Int) throws(GoraError) -> Int {
    let start = offset
    let count = try number(UInt64.self)
    guard count <= UInt64(left / size) else {
      throw error("\(count) \(items) in a file of \(bytes.count) bytes", at: start)
    }
    return Int(count)
  }

  /// Where a string's bytes lie.
  mutating func string() throws(GoraError) -> Range<Int> {
    let length = try count(of: "bytes of text", size: 1)
    let start = offset
    try skip(length)
    return start..<start + length
  }

  /// A string that names something.
  mutating func name(_ kind: String) throws(GoraError) -> String {
    let start = offset
    let range = try string()
    guard let name = String(validating: bytes[range], as: UTF8.self) else { throw error("the \(kind) is not UTF-8", at: start) }
    guard !name.isEmpty else { throw error("the \(kind) is empty", at: start) }
    return name
  }
}

import GoraCore

/// Reads the little-endian fields of one structure, never beyond its end.
struct HDF5Cursor {
  private let bytes: [UInt8]
  private var at = 0
  private var end: Int
  /// What errors call the structure.
  let what: String
  let storage: HDF5Storage

  init(_ bytes: [UInt8], _ what: String, _ storage: HDF5Storage) {
    (self.bytes, end, self.what, self.storage) = (bytes, bytes.count, what, storage)
  }

  /// Bytes that are left.
  var count: Int { end - at }

  func damaged(_ problem: String) -> GoraError { storage.damaged("\(what): \(problem)") }

  mutating func take(_ count: Int) throws(GoraError) -> ArraySlice<UInt8> {
    guard count >= 0, count <= end - at else { throw damaged("it ends too early") }
    at += count
    return bytes[at - count..<at]
  }

  mutating func skip(_ count: Int) throws(GoraError) { _ = try take(count) }

  /// The next bytes as a structure of their own.
  mutating func part(_ count: Int, _ what: String) throws(GoraError) -> HDF5Cursor {
    HDF5Cursor(Array(try take(count)), what, storage)
  }

  /// An unsigned number of up to 8 bytes.
  mutating func bits(_ width: Int) throws(GoraError) -> UInt64 {
    guard width <= 8 else { throw damaged("a number of \(width) bytes") }
    var value: UInt64 = 0
    for (i, byte) in try take(width).enumerated() { value |= UInt64(byte) << UInt64(8 * i) }
    return value
  }

  mutating func byte() throws(GoraError) -> Int { Int(try bits(1)) }

  /// A size or count; none of a file that exists reaches 2^62.
  mutating func number(_ width: Int) throws(GoraError) -> Int {
    let value = try bits(width)
    guard value < 1 << 62 else { throw damaged("a size of \(value)") }
    return Int(value)
  }

  mutating func length() throws(GoraError) -> Int { try number(storage.lengthWidth) }

  /// An address; nil where all bits are set, which stands for none.
  mutating func optionalAddress() throws(GoraError) -> Int? {
    let value = try bits(storage.offsetWidth)
    if value == UInt64.max >> UInt64(64 - 8 * storage.offsetWidth) { return nil }
    guard value < 1 << 61 else { throw damaged("an address of \(value)") }
    return Int(value)
  }

  mutating func address() throws(GoraError) -> Int {
    guard let address = try optionalAddress() else { throw damaged("an address is missing") }
    return address
  }

  mutating func expect(_ signature: StaticString) throws(GoraError) {
    let found = try take(signature.utf8CodeUnitCount)
    guard signature.withUTF8Buffer({ $0.elementsEqual(found) }) else { throw damaged("no signature \"\(signature)\"") }
  }

  mutating func expect(_ value: Int, _ field: String) throws(GoraError) {
    let found = try byte()
    guard found == value else { throw damaged("\(field) \(found); expected \(value)") }
  }

  mutating func expect(version: Int) throws(GoraError) { try expect(version, "version") }

  /// Takes away the last four bytes, which must be the checksum of all bytes of the structure before them.
  mutating func dropChecksum() throws(GoraError) {
    guard count >= 4 else { throw damaged("it ends too early") }
    end -= 4
    var stored = HDF5Cursor(Array(bytes[end..<end + 4]), what, storage)
    guard try stored.bits(4) == UInt64(hdf5Checksum(bytes[..<end])) else { throw damaged("its checksum is wrong") }
  }
}

import GoraCore

/// An HDF5 file and the object in it that is being read, for the error that this may end in.
struct HDF5Storage: Sendable {
  let file: HDF5Bytes
  /// Where the file's addresses count from: a block of the user's own may come first.
  var base = 0
  /// Bytes of an address and of a length.
  var offsetWidth = 8
  var lengthWidth = 8
  /// The object inside the file, such as `/gradients/…`; empty for the file itself.
  var object = ""

  func at(_ object: String) -> HDF5Storage {
    var storage = self
    storage.object = object
    return storage
  }

  func damaged(_ problem: String, hint: String? = nil) -> GoraError {
    GoraError(.data, at: object.isEmpty ? .file(file.path) : .object(file.path, name: object), problem, hint: hint)
  }

  /// The place in the file of `count` bytes at one of its addresses.
  func place(of address: Int, _ count: Int, _ what: String) throws(GoraError) -> Int {
    // Addresses and sizes are below 2^62 by how they are read.
    guard count <= file.count, base + address <= file.count - count else {
      throw damaged("\(what) of \(count) bytes at \(address) would lie beyond the end of the file")
    }
    return base + address
  }

  func cursor(at address: Int, _ count: Int, _ what: String) throws(GoraError) -> HDF5Cursor {
    let place = try place(of: address, count, what)
    var bytes = [UInt8](repeating: 0, count: count)
    var failure: GoraError?
    bytes.withUnsafeMutableBytes { target in
      do throws(GoraError) { try file.read(at: place, into: target) } catch { failure = error }
    }
    if let failure { throw failure }
    return HDF5Cursor(bytes, what, self)
  }

  /// A structure that begins with a signature and ends in a checksum of all before it; the cursor stands between them.
  func checked(_ signature: StaticString, at address: Int, _ count: Int) throws(GoraError) -> HDF5Cursor {
    var cursor = try cursor(at: address, count, "\(signature)")
    try cursor.expect(signature)
    try cursor.dropChecksum()
    return cursor
  }
}

/// What a walk through the nodes of an index may still read: each byte of a file belongs to one node, so that no index is larger than
/// its file, however its nodes point at each other.
struct HDF5Budget {
  private var left: Int

  init(_ storage: HDF5Storage) { left = storage.file.count }

  mutating func spend(_ count: Int, _ storage: HDF5Storage) throws(GoraError) {
    guard count <= left else { throw storage.damaged("an index that is larger than the file, or leads back into itself") }
    left -= count
  }
}

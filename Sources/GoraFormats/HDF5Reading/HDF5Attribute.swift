import GoraCore

extension HDF5Object {
  /// Longest text that is read: 16 MiB.
  private static var longestText: Int { 1 << 24 }

  /// A scalar text attribute of fixed or variable length (h5py writes the latter); nil where there is none.
  /// - Throws: `.data` where it is no scalar text, not UTF-8, or longer than 16 MiB.
  func text(attribute name: String) throws(GoraError) -> String? {
    guard var found = try attribute(name) else { return nil }
    let bytes: ArraySlice<UInt8>
    switch found.type {
    case .text(let size):
      guard size <= HDF5Object.longestText else { throw storage.damaged("attribute \"\(name)\" claims \(size) bytes of text") }
      bytes = try found.value.take(size)
    case .variableText:
      let count = try found.value.number(4)
      let collection = try found.value.optionalAddress()
      let index = try found.value.number(4)
      guard count <= HDF5Object.longestText else { throw storage.damaged("attribute \"\(name)\" claims \(count) bytes of text") }
      if let collection, collection > 0, count > 0 {
        bytes = try global(object: index, in: collection, count)
      } else {
        bytes = []
      }
    default: throw storage.damaged("attribute \"\(name)\" is not text")
    }
    guard let text = String(validating: bytes.prefix { $0 != 0 }, as: UTF8.self) else {
      throw storage.damaged("attribute \"\(name)\" is not UTF-8")
    }
    return text
  }

  /// A scalar integer attribute of any width; nil where there is none.
  func integer(attribute name: String) throws(GoraError) -> Int? {
    guard var found = try attribute(name) else { return nil }
    guard case .integer(let size, let isSigned, let isBigEndian) = found.type else {
      throw storage.damaged("attribute \"\(name)\" is not an integer")
    }
    let bytes = try found.value.take(size)
    let bits = (isBigEndian ? Array(bytes) : bytes.reversed()).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    if !isSigned {
      guard let value = Int(exactly: bits) else { throw storage.damaged("attribute \"\(name)\" is \(bits), beyond 63 bits") }
      return value
    }
    let unused = UInt64(64 - 8 * size)
    return Int(Int64(bitPattern: bits << unused) >> Int64(unused))
  }

  /// The type of a scalar attribute, and its value where that begins.
  private func attribute(_ name: String) throws(GoraError) -> (type: HDF5Type, value: HDF5Cursor)? {
    for message in messages(.attribute) {
      if let found = try HDF5Object.attribute(name, in: message) { return found }
    }
    guard var info = try message(.attributeInfo) else { return nil }
    try info.expect(version: 0)
    if try info.byte() & 1 != 0 { try info.skip(2) }
    guard let heapAddress = try info.optionalAddress() else { return nil }
    var heap = try HDF5FractalHeap(at: heapAddress, storage)
    var found: (HDF5Type, HDF5Cursor)?
    try HDF5IndexTree(at: try info.address(), type: 8, storage).forEach { record throws(GoraError) in
      let identifier = try record.part(8, "attribute")
      guard try record.byte() & 2 == 0 else { throw record.damaged("an attribute that is shared, which gora does not read") }
      if found == nil { found = try HDF5Object.attribute(name, in: try heap.object(identifier)) }
    }
    return found
  }

  /// The type and the value of an attribute's message; nil where its name is another.
  private static func attribute(
    _ name: String, in message: HDF5Cursor
  ) throws(GoraError) -> (type: HDF5Type, value: HDF5Cursor)? {
    var message = message
    let version = try message.byte()
    guard (1...3).contains(version) else { throw message.damaged("version \(version); expected 1 to 3") }
    guard try message.byte() == 0 || version == 1 else {
      throw message.damaged("a type that is shared with other objects, which gora does not read")
    }
    let (nameCount, typeCount, spaceCount) = (try message.number(2), try message.number(2), try message.number(2))
    if version == 3 { try message.skip(1) }
    func padded(_ count: Int) -> Int { version == 1 ? (count + 7) / 8 * 8 : count }
    let found = try message.take(padded(nameCount)).prefix { $0 != 0 }
    guard found.elementsEqual(name.utf8) else { return nil }
    var type = try message.part(padded(typeCount), "type of attribute \"\(name)\"")
    var space = try message.part(padded(spaceCount), "space of attribute \"\(name)\"")
    guard try HDF5Space(&space).shape?.allSatisfy({ $0 == 1 }) == true else {
      throw message.damaged("attribute \"\(name)\" is not a single value")
    }
    return (try HDF5Type(&type), message)
  }

  /// The first `count` bytes of an object in a global heap, where texts of variable length lie.
  private func global(object wanted: Int, in address: Int, _ count: Int) throws(GoraError) -> ArraySlice<UInt8> {
    var start = try storage.cursor(at: address, 8 + storage.lengthWidth, "global heap")
    try start.expect("GCOL")
    try start.expect(version: 1)
    try start.skip(3)
    let size = try start.length()
    var heap = try storage.cursor(at: address, size, "global heap")
    try heap.skip(8 + storage.lengthWidth)
    while heap.count >= 8 + storage.lengthWidth {
      let index = try heap.number(2)
      try heap.skip(6)
      let length = try heap.length()
      if index == 0 { break }
      if index == wanted {
        guard count <= length else { throw heap.damaged("an object of \(length) bytes where \(count) are asked for") }
        return try heap.take(count)
      }
      try heap.skip((length + 7) / 8 * 8)
    }
    throw heap.damaged("no object \(wanted)")
  }
}

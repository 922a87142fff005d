import GoraCore

/// An object of an HDF5 file (group or dataset): the messages of its header.
struct HDF5Object: Sendable {
  enum Kind: Int {
    case dataspace = 1, linkInfo = 2, datatype = 3, link = 6, externalFiles = 7, layout = 8, filters = 11, attribute = 12
    case continuation = 16, symbolTable = 17, attributeInfo = 21
  }

  let storage: HDF5Storage
  private var messages: [(kind: Kind, bytes: [UInt8])] = []

  /// - Throws: `.data` where there is no whole header at `address`.
  init(at address: Int, _ storage: HDF5Storage) throws(GoraError) {
    self.storage = storage
    var budget = HDF5Budget(storage)
    var start = try storage.cursor(at: address, 4, "object header")
    var blocks: [(address: Int, count: Int)] = []
    if try start.take(4).elementsEqual("OHDR".utf8) {
      let most = min(storage.file.count - storage.base - address, 34)
      var prefix = try storage.cursor(at: address, most, "object header")
      try prefix.skip(4)
      try prefix.expect(version: 2)
      let flags = try prefix.byte()
      if flags & 0x20 != 0 { try prefix.skip(16) }  // times
      if flags & 0x10 != 0 { try prefix.skip(4) }  // where attributes change their form
      let count = try prefix.number(1 << (flags & 3))
      let prefixCount = most - prefix.count
      try budget.spend(count, storage)
      var block = try storage.checked("OHDR", at: address, prefixCount + count + 4)
      try block.skip(prefixCount - 4)
      try collect(from: block, flags: flags, &blocks)
      while let (address, count) = blocks.popLast() {
        try budget.spend(count, storage)
        try collect(from: try storage.checked("OCHK", at: address, count), flags: flags, &blocks)
      }
    } else {
      var prefix = try storage.cursor(at: address, 12, "object header")
      try prefix.expect(version: 1)
      try prefix.skip(7)
      blocks = [(address + 16, try prefix.number(4))]
      while let (address, count) = blocks.popLast() {
        try budget.spend(count, storage)
        try collect(from: try storage.cursor(at: address, count, "object header"), flags: nil, &blocks)
      }
    }
  }

  /// Keeps the messages of one block; `flags` are those of a version 2 header.
  private mutating func collect(
    from block: HDF5Cursor, flags: Int?, _ blocks: inout [(address: Int, count: Int)]
  ) throws(GoraError) {
    var block = block
    let prefix = flags.map { $0 & 4 != 0 ? 6 : 4 } ?? 8
    while block.count >= prefix {
      let number = try block.number(flags == nil ? 2 : 1)
      let count = try block.number(2)
      let messageFlags = try block.byte()
      try block.skip(prefix - (flags == nil ? 5 : 4))
      var message = try block.part(count, "message \(number)")
      guard let kind = Kind(rawValue: number) else {
        guard messageFlags & 0x80 == 0 || number <= 0x18 else { throw message.damaged("it is of a later version of HDF5") }
        continue
      }
      guard messageFlags & 2 == 0 else {
        throw message.damaged("a part that is shared with other objects, which gora does not read")
      }
      if kind == .continuation {
        blocks.append((try message.address(), try message.length()))
        // Each takes more bytes of the file than it took here, or ends the walk by the budget.
        guard blocks.count <= 1024 else { throw message.damaged("too many parts") }
      } else {
        messages.append((kind, Array(try message.take(count))))
      }
    }
  }

  /// The messages of one kind, in the order of the header.
  func messages(_ kind: Kind) -> [HDF5Cursor] {
    messages.filter { $0.kind == kind }.map { HDF5Cursor($0.bytes, "\(kind)", storage) }
  }

  /// The only message of a kind.
  func message(_ kind: Kind) throws(GoraError) -> HDF5Cursor? {
    let found = messages(kind)
    guard found.count <= 1 else { throw storage.damaged("\(found.count) messages \(kind) in one object") }
    return found.first
  }
}

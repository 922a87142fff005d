import GoraCore

/// The links of a group, however they are stored: as messages, in a heap under a B-tree, or in a symbol table.
struct HDF5Group: Sendable {
  private let storage: HDF5Storage
  private var addresses: [String: Int] = [:]
  /// Names in the order in which they are stored.
  private(set) var names: [String] = []

  /// - Throws: `.data` where the object is no group, or a link leads out of the group or the file, or a name is not UTF-8.
  init(_ object: HDF5Object) throws(GoraError) {
    storage = object.storage
    let (table, info) = (try object.message(.symbolTable), try object.message(.linkInfo))
    guard table != nil || info != nil else { throw storage.damaged("not a group") }
    for link in object.messages(.link) { try add(link: link) }
    if var info {
      try info.expect(version: 0)
      if try info.byte() & 1 != 0 { try info.skip(8) }
      if let heapAddress = try info.optionalAddress() {
        var heap = try HDF5FractalHeap(at: heapAddress, storage)
        let index = try HDF5IndexTree(at: try info.address(), type: 5, storage)
        try index.forEach { record throws(GoraError) in
          try record.skip(4)  // the name's hash
          try add(link: try heap.object(record.part(record.count, "link")))
        }
      }
    }
    if var table { try addSymbols(tree: try table.address(), heap: try table.address()) }
  }

  func contains(_ name: String) -> Bool { addresses[name] != nil }

  /// The object that a link of this group leads to.
  func object(_ name: String) throws(GoraError) -> HDF5Object {
    let parent = storage.object == "/" ? "" : storage.object
    let place = storage.at("\(parent)/\(name)")
    guard let address = addresses[name] else { throw place.damaged("there is no such object") }
    return try HDF5Object(at: address, place)
  }

  private mutating func add(_ name: some Collection<UInt8>, at address: Int) throws(GoraError) {
    guard let text = String(validating: name, as: UTF8.self), !text.isEmpty else {
      throw storage.damaged("a name that is not UTF-8")
    }
    guard addresses.updateValue(address, forKey: text) == nil else { throw storage.damaged("two links of the name \"\(text)\"") }
    names.append(text)
  }

  private mutating func add(link: HDF5Cursor) throws(GoraError) {
    var link = link
    try link.expect(version: 1)
    let flags = try link.byte()
    let kind = flags & 8 != 0 ? try link.byte() : 0
    if flags & 4 != 0 { try link.skip(8) }
    if flags & 16 != 0 { try link.skip(1) }
    let name = try link.take(try link.number(1 << (flags & 3)))
    guard kind == 0 else {
      throw storage.damaged("\"\(String(decoding: name, as: UTF8.self))\" is a soft or external link")
    }
    try add(name, at: try link.address())
  }

  /// A symbol table: nodes of a B-tree lead to symbol nodes, whose names lie in a heap.
  private mutating func addSymbols(tree: Int, heap: Int) throws(GoraError) {
    var header = try storage.cursor(at: heap, 8 + 2 * storage.lengthWidth + storage.offsetWidth, "local heap")
    try header.expect("HEAP")
    try header.expect(version: 0)
    try header.skip(3)
    let size = try header.length()
    try header.skip(storage.lengthWidth)
    var text = try storage.cursor(at: try header.address(), size, "local heap")
    let names = Array(try text.take(size))
    var budget = HDF5Budget(storage)
    let (width, lengthWidth) = (storage.offsetWidth, storage.lengthWidth)
    let storage = storage
    try HDF5OldTree.forEach(at: tree, type: 0, keyCount: lengthWidth, storage, &budget) {
      _, address, budget throws(GoraError) in
      var start = try storage.cursor(at: address, 8, "symbol node")
      try start.expect("SNOD")
      try start.expect(version: 1)
      try start.skip(1)
      let count = try start.number(2)
      var node = try storage.cursor(at: address + 8, count * (2 * width + 24), "symbol node")
      try budget.spend(8 + node.count, storage)
      for _ in 0..<count {
        let offset = try node.number(width)
        let object = try node.address()
        let kind = try node.number(4)
        try node.skip(20)
        guard offset < names.count else { throw node.damaged("a name outside the heap") }
        let name = names[offset...].prefix { $0 != 0 }
        guard kind != 2 else { throw storage.damaged("\"\(String(decoding: name, as: UTF8.self))\" is a soft link") }
        try add(name, at: object)
      }
    }
  }
}

import GoraCore

/// A version 1 B-tree: of a group's symbol nodes (type 0) or of a dataset's chunks (type 1).
enum HDF5OldTree {
  /// Calls `body` with each key and the address that belongs to it, in the order of the tree.
  static func forEach(
    at address: Int, type: Int, keyCount: Int, _ storage: HDF5Storage, _ budget: inout HDF5Budget,
    _ body: (_ key: inout HDF5Cursor, _ address: Int, _ budget: inout HDF5Budget) throws(GoraError) -> Void
  ) throws(GoraError) {
    try visit(address, level: nil, type, keyCount, storage, &budget, body)
  }

  private static func visit(
    _ address: Int, level expected: Int?, _ type: Int, _ keyCount: Int, _ storage: HDF5Storage, _ budget: inout HDF5Budget,
    _ body: (inout HDF5Cursor, Int, inout HDF5Budget) throws(GoraError) -> Void
  ) throws(GoraError) {
    let prefix = 8 + 2 * storage.offsetWidth
    var start = try storage.cursor(at: address, prefix, "B-tree node")
    try start.expect("TREE")
    let foundType = try start.byte()
    let level = try start.byte()
    guard foundType == type, level == expected ?? level else {
      throw start.damaged("type \(foundType), level \(level); expected type \(type), level \(expected ?? level)")
    }
    let count = try start.number(2)
    let size = count * (keyCount + storage.offsetWidth)
    try budget.spend(prefix + size, storage)
    var node = try storage.cursor(at: address + prefix, size, "B-tree node")
    for _ in 0..<count {
      var key = try node.part(keyCount, "B-tree key")
      let child = try node.address()
      if level == 0 {
        try body(&key, child, &budget)
      } else {
        try visit(child, level: level - 1, type, keyCount, storage, &budget, body)
      }
    }
  }
}

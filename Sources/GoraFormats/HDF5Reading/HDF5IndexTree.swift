import GoraCore

/// A version 2 B-tree: of links (type 5), attributes (8), large objects of a heap (1) or chunks (10, 11).
struct HDF5IndexTree: Sendable {
  let recordSize: Int
  private let storage: HDF5Storage
  private let type: Int
  private let nodeSize: Int
  private let depth: Int
  private let root: (address: Int, records: Int)?
  /// Bytes of the number of records in a child, and of those below it, by the child's height.
  private var childWidth = 1
  private var totalWidths = [0]

  init(at address: Int, type: Int, _ storage: HDF5Storage) throws(GoraError) {
    (self.storage, self.type) = (storage, type)
    var header = try storage.checked("BTHD", at: address, 22 + storage.offsetWidth + storage.lengthWidth)
    try header.expect(version: 0)
    try header.expect(type, "type")
    nodeSize = try header.number(4)
    recordSize = try header.number(2)
    depth = try header.number(2)
    try header.skip(2)
    let root = try header.optionalAddress()
    let records = try header.number(2)
    self.root = root.map { ($0, records) }
    guard recordSize > 0, depth <= 16, nodeSize > 10 + recordSize else {
      throw header.damaged("records of \(recordSize) bytes in nodes of \(nodeSize), \(depth) levels")
    }
    // How many records a node may hold decides how wide the numbers of records are.
    let leaf = (nodeSize - 10) / recordSize
    childWidth = HDF5IndexTree.width(of: leaf)
    var below = leaf
    for height in 0..<depth {
      let pointer = storage.offsetWidth + childWidth + totalWidths[height]
      let most = max(0, nodeSize - 10 - pointer) / (recordSize + pointer)
      let (product, overflow) = (most + 1).multipliedReportingOverflow(by: below)
      guard !overflow, product < 1 << 62 else { throw header.damaged("\(depth) levels of nodes of \(nodeSize) bytes") }
      below = product + most
      totalWidths.append(HDF5IndexTree.width(of: below))
    }
  }

  /// Bytes that numbers up to `limit` take.
  static func width(of limit: Int) -> Int { (Int.bitWidth - 1 - max(limit, 1).leadingZeroBitCount) / 8 + 1 }

  /// Calls `body` with each record in the order of the tree.
  func forEach(_ body: (inout HDF5Cursor) throws(GoraError) -> Void) throws(GoraError) {
    guard let root else { return }
    var budget = HDF5Budget(storage)
    try visit(root.address, root.records, height: depth, &budget, body)
  }

  private func visit(
    _ address: Int, _ count: Int, height: Int, _ budget: inout HDF5Budget,
    _ body: (inout HDF5Cursor) throws(GoraError) -> Void
  ) throws(GoraError) {
    let totalWidth = height > 1 ? totalWidths[height - 1] : 0
    let pointer = height > 0 ? storage.offsetWidth + childWidth + totalWidth : 0
    guard count <= nodeSize else { throw storage.damaged("a B-tree node of \(count) records in \(nodeSize) bytes") }
    let size = 10 + count * recordSize + (height > 0 ? (count + 1) * pointer : 0)
    guard size <= nodeSize else { throw storage.damaged("a B-tree node of \(size) bytes; expected at most \(nodeSize)") }
    try budget.spend(size, storage)
    var node = try storage.checked(height > 0 ? "BTIN" : "BTLF", at: address, size)
    try node.expect(version: 0)
    try node.expect(type, "type")
    var records: [HDF5Cursor] = []
    for _ in 0..<count { records.append(try node.part(recordSize, "B-tree record")) }
    for i in 0...count {
      if height > 0 {
        let child = try node.address()
        let childCount = try node.number(childWidth)
        try node.skip(totalWidth)
        try visit(child, childCount, height: height - 1, &budget, body)
      }
      if i < count { try body(&records[i]) }
    }
  }
}

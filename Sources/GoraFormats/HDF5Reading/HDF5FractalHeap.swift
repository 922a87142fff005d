import GoraCore

/// A fractal heap: where groups of many links and objects of many attributes keep them.
struct HDF5FractalHeap {
  private let storage: HDF5Storage
  private let address: Int
  private let identifierCount: Int
  private let hasBlockChecksums: Bool
  private let hugeTree: Int?
  private let width: Int
  private let startSize: Int
  private let directSize: Int
  private let heapBits: Int
  private let lengthWidth: Int
  private let root: Int?
  private let rootRows: Int
  /// The block of the last object: the next one mostly lies in it too.
  private var block: (address: Int, bytes: [UInt8])?
  /// Where large objects lie, by their number; read when the first is asked for.
  private var huge: [UInt64: (address: Int, count: Int)]?

  init(at address: Int, _ storage: HDF5Storage) throws(GoraError) {
    (self.storage, self.address) = (storage, address)
    let (offsets, lengths) = (storage.offsetWidth, storage.lengthWidth)
    var header = try storage.checked("FRHP", at: address, 26 + 3 * offsets + 12 * lengths)
    try header.expect(version: 0)
    identifierCount = try header.number(2)
    guard try header.number(2) == 0 else { throw header.damaged("a heap with filters, which gora does not read") }
    hasBlockChecksums = try header.byte() & 2 != 0
    let largestManaged = try header.number(4)
    try header.skip(lengths)
    hugeTree = try header.optionalAddress()
    try header.skip(lengths + offsets + 8 * lengths)
    width = try header.number(2)
    startSize = try header.length()
    directSize = try header.length()
    heapBits = try header.number(2)
    try header.skip(2)
    root = try header.optionalAddress()
    rootRows = try header.number(2)
    // The format has powers of two; the bounds keep all sums below 2^62.
    guard [width, startSize, directSize].allSatisfy({ $0.nonzeroBitCount == 1 }), startSize <= directSize,
      width <= 1 << 15, directSize <= 1 << 31, (1...60).contains(heapBits), rootRows <= 62
    else { throw header.damaged("blocks of \(startSize) to \(directSize) bytes, \(width) a row, 2^\(heapBits) in all") }
    lengthWidth = min((directSize.trailingZeroBitCount + 7) / 8, HDF5IndexTree.width(of: largestManaged))
  }

  private var offsetWidth: Int { (heapBits + 7) / 8 }

  /// The bytes of an object.
  mutating func object(_ identifier: HDF5Cursor) throws(GoraError) -> HDF5Cursor {
    var identifier = identifier
    guard identifier.count == identifierCount, identifierCount > 0 else {
      throw identifier.damaged("an identifier of another size")
    }
    let first = try identifier.byte()
    guard first >> 6 == 0 else { throw identifier.damaged("an identifier of version \(first >> 6)") }
    switch first >> 4 & 3 {
    case 0:
      return try managed(try identifier.number(offsetWidth), try identifier.number(lengthWidth))
    case 1:
      let place: (address: Int, count: Int)
      if storage.offsetWidth + storage.lengthWidth <= identifierCount - 1 {
        place = (try identifier.address(), try identifier.length())
      } else {
        let number = try identifier.bits(min(8, identifierCount - 1))
        guard let found = try hugeObjects()[number] else { throw identifier.damaged("no large object \(number)") }
        place = found
      }
      return try storage.cursor(at: place.address, place.count, "large object")
    case 2:
      let extended = identifierCount > 17
      let count = (extended ? (first & 15) << 8 | (try identifier.byte()) : first & 15) + 1
      return try identifier.part(count, "small object")
    default: throw identifier.damaged("an object of unknown kind")
    }
  }

  private mutating func hugeObjects() throws(GoraError) -> [UInt64: (address: Int, count: Int)] {
    if let huge { return huge }
    guard let hugeTree else { throw storage.damaged("a heap without large objects") }
    var found: [UInt64: (address: Int, count: Int)] = [:]
    let lengths = storage.lengthWidth
    try HDF5IndexTree(at: hugeTree, type: 1, storage).forEach { record throws(GoraError) in
      let place = (try record.address(), try record.length())
      found[try record.bits(lengths)] = place
    }
    huge = found
    return found
  }

  /// Finds the block of an offset: rows of `width` blocks each, whose sizes double from the second row on.
  private mutating func managed(_ offset: Int, _ count: Int) throws(GoraError) -> HDF5Cursor {
    guard var blockAddress = root else { throw storage.damaged("an empty heap") }
    var (blockStart, blockSize, rows) = (0, startSize, rootRows)
    while rows > 0 {
      let inside = offset - blockStart
      // Row r ≥ 1 begins at width · start · 2^(r−1), and its blocks have start · 2^(r−1) bytes.
      let units = inside / (width * startSize)
      let row = units == 0 ? 0 : Int.bitWidth - units.leadingZeroBitCount
      guard row < rows else { throw storage.damaged("an object outside its heap") }
      let size = startSize << max(0, row - 1)
      let rowStart = row == 0 ? 0 : width * size
      let column = (inside - rowStart) / size
      let entry = row * width + column
      let prefix = 5 + storage.offsetWidth + offsetWidth
      var node = try storage.checked("FHIB", at: blockAddress, prefix + rows * width * storage.offsetWidth + 4)
      try checkHead(of: &node, blockStart)
      try node.skip(entry * storage.offsetWidth)
      blockAddress = try node.address()
      blockStart += rowStart + column * size
      blockSize = size
      let first = startSize.trailingZeroBitCount + width.trailingZeroBitCount
      rows = size <= directSize ? 0 : size.trailingZeroBitCount - first + 1
      guard size <= directSize || rows > 0 else { throw storage.damaged("a heap whose blocks do not fit each other") }
    }
    let inside = offset - blockStart
    guard inside >= 0, count <= blockSize, inside <= blockSize - count else {
      throw storage.damaged("an object outside its block")
    }
    if block?.address != blockAddress {
      var cursor = try storage.cursor(at: blockAddress, blockSize, "heap block")
      let bytes = Array(try cursor.take(blockSize))
      var head = HDF5Cursor(bytes, "heap block", storage)
      try head.expect("FHDB")
      try checkHead(of: &head, blockStart)
      if hasBlockChecksums {
        let at = blockSize - head.count
        let stored = try head.bits(4)
        var cleared = bytes
        for i in at..<at + 4 { cleared[i] = 0 }
        guard stored == UInt64(hdf5Checksum(cleared[...])) else { throw head.damaged("its checksum is wrong") }
      }
      block = (blockAddress, bytes)
    }
    return HDF5Cursor(Array((block?.bytes ?? [])[inside..<inside + count]), "heap object", storage)
  }

  private func checkHead(of node: inout HDF5Cursor, _ start: Int) throws(GoraError) {
    try node.expect(version: 0)
    guard try node.address() == address, try node.number(offsetWidth) == start else {
      throw node.damaged("it belongs to another heap or place")
    }
  }
}

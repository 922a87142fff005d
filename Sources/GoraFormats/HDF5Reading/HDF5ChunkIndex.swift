import GoraCore

/// Where a chunk is stored, how many bytes it takes there, and which filters it skips.
struct HDF5Chunk: Sendable {
  let address: Int
  let count: Int
  let mask: UInt32
}

/// The chunks of a dataset in the order of their places, row after row: all of them, each once.
///
/// Read from version 1 B-trees (every file that is not of a later format) and from all indexes of HDF5 1.10: single chunks, implicit
/// ones, fixed and extensible arrays, version 2 B-trees.
struct HDF5ChunkIndex {
  let storage: HDF5Storage
  /// Chunks along each dimension, and with the space that the dataset may grow into.
  let grid: [Int]
  let chunk: [Int]
  let chunkBytes: Int
  let isFiltered: Bool
  private var found: [(place: Int, chunk: HDF5Chunk)] = []

  private init(_ space: HDF5Space, chunk: [Int], chunkBytes: Int, isFiltered: Bool, _ storage: HDF5Storage) {
    (self.storage, self.chunk, self.chunkBytes, self.isFiltered) = (storage, chunk, chunkBytes, isFiltered)
    grid = zip(space.shape ?? [], chunk).map { ($0 + $1 - 1) / $1 }
  }

  /// Chunks of a layout message of version 3, under a version 1 B-tree.
  static func chunks(
    ofTree address: Int?, _ space: HDF5Space, chunk: [Int], chunkBytes: Int, isFiltered: Bool, _ storage: HDF5Storage
  ) throws(GoraError) -> [HDF5Chunk] {
    var index = HDF5ChunkIndex(space, chunk: chunk, chunkBytes: chunkBytes, isFiltered: isFiltered, storage)
    if let address {
      var budget = HDF5Budget(storage)
      try HDF5OldTree.forEach(at: address, type: 1, keyCount: 8 + 8 * (chunk.count + 1), storage, &budget) {
        key, address, _ throws(GoraError) in
        let (count, mask) = (try key.number(4), UInt32(try key.number(4)))
        var position: [Int] = []
        for extent in chunk {
          let offset = try key.number(8)
          guard offset % extent == 0 else { throw key.damaged("a chunk at \(offset), between those of \(extent)") }
          position.append(offset / extent)
        }
        try index.add(HDF5Chunk(address: address, count: count, mask: mask), at: position)
      }
    }
    return try index.complete()
  }

  /// Chunks of a layout message of version 4, whose cursor stands at the kind of index.
  static func chunks(
    of layout: inout HDF5Cursor, flags: Int, _ space: HDF5Space, chunk: [Int], chunkBytes: Int, isFiltered: Bool
  ) throws(GoraError) -> [HDF5Chunk] {
    let storage = layout.storage
    var index = HDF5ChunkIndex(space, chunk: chunk, chunkBytes: chunkBytes, isFiltered: isFiltered, storage)
    switch try layout.byte() {
    case 1:
      let (count, mask) = flags & 2 != 0 ? (try layout.length(), UInt32(try layout.number(4))) : (chunkBytes, 0)
      if let address = try layout.optionalAddress() {
        try index.add(HDF5Chunk(address: address, count: count, mask: mask), at: chunk.map { _ in 0 })
      }
    case 2:
      if let address = try layout.optionalAddress() { try index.addImplicit(from: address, index.limits(space)) }
    case 3:
      try layout.skip(1)
      if let address = try layout.optionalAddress() { try index.addFixedArray(at: address, index.limits(space)) }
    case 4:
      try layout.skip(5)
      guard let endless = space.most.firstIndex(of: nil) else {
        throw layout.damaged("for a dataset without an endless dimension")
      }
      if let address = try layout.optionalAddress() {
        try index.addExtensibleArray(at: address, index.limits(space, endless: endless), endless: endless)
      }
    case 5:
      try layout.skip(6)
      if let address = try layout.optionalAddress() { try index.addTree(at: address) }
    case let kind: throw layout.damaged("index \(kind) of chunks, which gora does not know")
    }
    return try index.complete()
  }

  /// The grid with the space that the dataset may grow into; as it is where it may grow without end.
  private func limits(_ space: HDF5Space, endless: Int? = nil) throws(GoraError) -> [Int] {
    var total = 1
    var limits: [Int] = []
    for (i, extent) in chunk.enumerated() {
      guard let most = i == endless ? space.shape?[i] : space.most[i] else {
        throw storage.damaged("an index of fixed size for a dataset without limits")
      }
      limits.append(most / extent + (most % extent == 0 ? 0 : 1))
      let (product, overflow) = total.multipliedReportingOverflow(by: limits[limits.count - 1])
      // Each takes a byte at the least.
      guard !overflow, product <= storage.file.count else {
        throw storage.damaged("\(limits) chunks in a file of \(storage.file.count) bytes")
      }
      total = product
    }
    return limits
  }

  private mutating func add(_ stored: HDF5Chunk, at position: [Int]) throws(GoraError) {
    var place = 0
    for (i, extent) in zip(position, grid) {
      guard i < extent else { throw storage.damaged("a chunk at \(position) of \(grid)") }
      // The product of the grid is below the dataset's elements, which fit an Int.
      place = place * extent + i
    }
    guard stored.count > 0, isFiltered || stored.count == chunkBytes, stored.count <= chunkBytes + chunkBytes / 128 + 1024 else {
      // Compression of random bytes adds less than 1 in 128, and a checksum 4.
      throw storage.damaged("the chunk at \(position) is stored in \(stored.count) bytes, for its \(chunkBytes)")
    }
    _ = try storage.place(of: stored.address, stored.count, "the chunk at \(position)")
    found.append((place, stored))
  }

  /// Adds the chunk of a place in a grid, unless it is one that the dataset may grow into.
  /// - Parameter outermost: the dimension that changes last, the others following in their order.
  mutating func add(
    _ stored: HDF5Chunk, ofPlace place: Int, in limits: [Int], outermost: Int = 0
  ) throws(GoraError) {
    var (position, rest) = ([Int](repeating: 0, count: limits.count), place)
    for i in limits.indices.reversed().filter({ $0 != outermost }) + [outermost] {
      (rest, position[i]) = rest.quotientAndRemainder(dividingBy: limits[i])
    }
    if zip(position, grid).allSatisfy({ $0 < $1 }) { try add(stored, at: position) }
  }

  /// Chunks of one size after each other.
  private mutating func addImplicit(from address: Int, _ limits: [Int]) throws(GoraError) {
    let total = limits.reduce(1, *)
    guard total <= storage.file.count / chunkBytes else {
      throw storage.damaged("\(total) chunks of \(chunkBytes) bytes are not there")
    }
    for place in 0..<total {
      try add(HDF5Chunk(address: address + place * chunkBytes, count: chunkBytes, mask: 0), ofPlace: place, in: limits)
    }
  }

  /// A version 2 B-tree, for datasets that may grow in more than one dimension.
  private mutating func addTree(at address: Int) throws(GoraError) {
    let tree = try HDF5IndexTree(at: address, type: isFiltered ? 11 : 10, storage)
    let countWidth = tree.recordSize - storage.offsetWidth - 4 - 8 * chunk.count
    let (rank, isFiltered, chunkBytes) = (chunk.count, isFiltered, chunkBytes)
    try tree.forEach { record throws(GoraError) in
      let address = try record.address()
      let count = isFiltered ? try record.number(countWidth) : chunkBytes
      let mask = isFiltered ? UInt32(try record.number(4)) : 0
      var position: [Int] = []
      for _ in 0..<rank { position.append(try record.number(8)) }
      try add(HDF5Chunk(address: address, count: count, mask: mask), at: position)
    }
  }

  /// All chunks by their places.
  /// - Throws: `.data` where one is missing or there twice, or they take more than the file has.
  private consuming func complete() throws(GoraError) -> [HDF5Chunk] {
    let total = grid.reduce(1, *)
    found.sort { $0.place < $1.place }
    for (i, entry) in found.enumerated() where entry.place != i {
      throw entry.place < i ? storage.damaged("the chunk at \(origin(entry.place)) is there twice") : missing(i)
    }
    guard found.count == total else { throw missing(found.count) }
    var left = storage.file.count
    for entry in found {
      left -= entry.chunk.count
      guard left >= 0 else { throw storage.damaged("its chunks take more bytes than the file has") }
    }
    return found.map(\.chunk)
  }

  private func missing(_ place: Int) -> GoraError { storage.damaged("the chunk at \(origin(place)) is missing") }

  /// The first element of a chunk.
  private func origin(_ place: Int) -> [Int] {
    var (origin, rest) = (chunk, place)
    for i in grid.indices.reversed() {
      let (quotient, remainder) = rest.quotientAndRemainder(dividingBy: grid[i])
      (rest, origin[i]) = (quotient, remainder * chunk[i])
    }
    return origin
  }
}

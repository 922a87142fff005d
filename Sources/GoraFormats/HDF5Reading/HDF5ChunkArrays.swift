import GoraCore

/// The two array indexes of HDF5 1.10.
extension HDF5ChunkIndex {
  /// A fixed array, in pages where it is long.
  mutating func addFixedArray(at address: Int, _ limits: [Int]) throws(GoraError) {
    let total = limits.reduce(1, *)
    var header = try storage.checked("FAHD", at: address, 12 + storage.lengthWidth + storage.offsetWidth)
    try header.expect(version: 0)
    try header.expect(isFiltered ? 1 : 0, "kind of entries")
    let size = try header.byte()
    let pageBits = try header.byte()
    guard try header.length() == total, size >= storage.offsetWidth + (isFiltered ? 5 : 0), pageBits <= 32 else {
      throw header.damaged("its size is not that of the dataset's \(total) chunks")
    }
    guard let block = try header.optionalAddress() else { return }
    let pageLength = 1 << pageBits
    let pages = total > pageLength ? (total + pageLength - 1) / pageLength : 0
    let prefix = 6 + storage.offsetWidth + (pages + 7) / 8
    var entries = try storage.checked("FADB", at: block, prefix + (pages > 0 ? 0 : total * size) + 4)
    try checkHead(of: &entries, address)
    if pages == 0 { return try add(total, from: &entries, size, 0, limits, outermost: 0) }
    let written = Array(try entries.take((pages + 7) / 8))
    for page in 0..<pages where written[page / 8] >> UInt8(7 - page % 8) & 1 != 0 {
      let start = page * pageLength
      let count = min(pageLength, total - start)
      var part = try storage.cursor(at: block + prefix + 4 + page * (pageLength * size + 4), count * size + 4, "page of chunks")
      try part.dropChecksum()
      try add(count, from: &part, size, start, limits, outermost: 0)
    }
  }

  /// An extensible array: the first entries in the index block, then data blocks that double in size, under super blocks from some on.
  mutating func addExtensibleArray(at address: Int, _ limits: [Int], endless: Int) throws(GoraError) {
    let total = limits.reduce(1, *)
    let (offsets, lengths) = (storage.offsetWidth, storage.lengthWidth)
    var header = try storage.checked("EAHD", at: address, 16 + 6 * lengths + offsets)
    try header.expect(version: 0)
    try header.expect(isFiltered ? 1 : 0, "kind of entries")
    let (size, bits) = (try header.byte(), try header.byte())
    let (inIndex, smallest, pointers, pageBits) = (try header.byte(), try header.byte(), try header.byte(), try header.byte())
    try header.skip(6 * lengths)
    guard size >= offsets + (isFiltered ? 5 : 0), bits <= 48, pageBits <= bits, smallest.nonzeroBitCount == 1,
      pointers.nonzeroBitCount == 1, pointers > 1, smallest.trailingZeroBitCount <= bits
    else { throw header.damaged("its measures do not fit each other") }
    guard let indexBlock = try header.optionalAddress() else { return }
    // Super block i has 2^(i/2) data blocks of smallest · 2^((i+1)/2) entries; those of the first stand in the index block.
    let blocks = 1 + bits - smallest.trailingZeroBitCount
    let direct = min(blocks, 2 * pointers.trailingZeroBitCount)
    let addresses = 2 * (pointers - 1) + blocks - direct
    var index = try storage.checked("EAIB", at: indexBlock, 10 + offsets + inIndex * size + addresses * offsets)
    try checkHead(of: &index, address)
    try add(inIndex, from: &index, size, 0, limits, outermost: endless)
    let placeWidth = (bits + 7) / 8
    let pageLength = 1 << pageBits
    var start = inIndex
    var budget = HDF5Budget(storage)
    for i in 0..<blocks where start < total {
      let (count, length) = (1 << (i / 2), smallest << ((i + 1) / 2))
      let pages = length > pageLength ? length / pageLength : 0
      var pointers = index
      var written: [UInt8] = []
      if i >= direct {
        guard let superBlock = try index.optionalAddress() else {
          start += count * length
          continue
        }
        let map = count * ((pages + 7) / 8)
        let byteCount = 10 + offsets + placeWidth + map + count * offsets
        try budget.spend(byteCount, storage)
        pointers = try storage.checked("EASB", at: superBlock, byteCount)
        try checkHead(of: &pointers, address)
        try pointers.skip(placeWidth)
        written = Array(try pointers.take(map))
      } else if pages > 0 {
        throw header.damaged("pages in the first blocks")
      }
      for block in 0..<count where start < total {
        defer { start += length }
        guard let dataBlock = try pointers.optionalAddress() else { continue }
        let prefix = 6 + offsets + placeWidth
        let byteCount = prefix + (pages > 0 ? 0 : length * size) + 4
        try budget.spend(byteCount, storage)
        var entries = try storage.checked("EADB", at: dataBlock, byteCount)
        try checkHead(of: &entries, address)
        try entries.skip(placeWidth)
        if pages == 0 { try add(length, from: &entries, size, start, limits, outermost: endless) }
        for page in 0..<pages {
          let bit = block * ((pages + 7) / 8) * 8 + page
          guard written[bit / 8] >> UInt8(7 - bit % 8) & 1 != 0 else { continue }
          try budget.spend(pageLength * size + 4, storage)
          var part = try storage.cursor(
            at: dataBlock + byteCount + page * (pageLength * size + 4), pageLength * size + 4, "page of chunks")
          try part.dropChecksum()
          try add(pageLength, from: &part, size, start + page * pageLength, limits, outermost: endless)
        }
      }
      if i < direct { index = pointers }
    }
  }

  private func checkHead(of block: inout HDF5Cursor, _ header: Int) throws(GoraError) {
    try block.expect(version: 0)
    try block.expect(isFiltered ? 1 : 0, "kind of entries")
    guard try block.address() == header else { throw block.damaged("it belongs to another array") }
  }

  /// Adds the next entries of an array, from place `start` on; those beyond the grid say nothing.
  private mutating func add(
    _ count: Int, from entries: inout HDF5Cursor, _ size: Int, _ start: Int, _ limits: [Int], outermost: Int
  ) throws(GoraError) {
    let total = limits.reduce(1, *)
    for i in 0..<count {
      let address = try entries.optionalAddress()
      let stored = isFiltered ? try entries.number(size - storage.offsetWidth - 4) : chunkBytes
      let mask = isFiltered ? UInt32(try entries.number(4)) : 0
      guard let address, start + i < total else { continue }
      try add(HDF5Chunk(address: address, count: stored, mask: mask), ofPlace: start + i, in: limits, outermost: outermost)
    }
  }
}

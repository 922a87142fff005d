import CGoraKernels
import GoraCore

/// A dataset of one or two dimensions: what it claims is checked against what is stored before memory is taken.
struct HDF5DatasetReader: Sendable {
  /// Larger chunks are refused: decoding needs one whole in memory.
  static let largestChunkBytes = 1 << 28
  /// No legal compression goes beyond: a zstd block of one repeated byte is 4 bytes for 128 KiB.
  static let largestRatio = 1 << 15

  private enum Layout {
    case contiguous(address: Int)
    case compact([UInt8])
    case chunked([HDF5Chunk], [HDF5Filter])
  }

  let object: HDF5Object
  let element: HDF5Element
  let shape: [Int]
  /// Chunk dimensions; nil for a dataset that is stored in one piece.
  private(set) var chunk: [Int]?
  private let isBigEndian: Bool
  private let layout: Layout

  private var storage: HDF5Storage { object.storage }

  /// Checks what a dataset claims, reading no values.
  /// - Throws: `.data` for another rank or type, a claimed size beyond what is stored, filters or storage that gora does not read.
  init(_ object: HDF5Object, rank: Int, elements: [HDF5Element]) throws(GoraError) {
    let storage = object.storage
    guard var spaceMessage = try object.message(.dataspace), var typeMessage = try object.message(.datatype),
      var layout = try object.message(.layout)
    else { throw storage.damaged("not a dataset") }
    let space = try HDF5Space(&spaceMessage)
    guard let shape = space.shape, shape.count == rank else {
      throw storage.damaged("\(space.shape?.count ?? 0) dimensions; expected \(rank)")
    }
    let type = try HDF5Type(&typeMessage)
    guard let (element, isBigEndian) = elements.lazy.compactMap({ e in e.isBigEndian(type).map { (e, $0) } }).first else {
      throw storage.damaged("the element type is not \(elements.map(\.rawValue).joined(separator: " or "))")
    }
    (self.object, self.shape, self.element, self.isBigEndian) = (object, shape, element, isBigEndian)
    let bytes = try HDF5DatasetReader.byteCount(shape, element, storage)
    guard object.messages(.externalFiles).isEmpty else { throw storage.damaged("values are stored outside the file") }

    let version = try layout.byte()
    guard version == 3 || version == 4 else { throw layout.damaged("version \(version); expected 3 or 4") }
    func claims(_ stored: Int) -> GoraError {
      storage.damaged("shape \(shape) claims \(bytes) bytes, but only \(stored) are stored")
    }
    switch try layout.byte() {
    case 0:
      let count = try layout.number(2)
      guard bytes <= count else { throw claims(count) }
      self.layout = .compact(Array(try layout.take(count)))
    case 1:
      let address = try layout.optionalAddress()
      let count = address == nil ? 0 : try layout.length()
      guard bytes <= count else { throw claims(count) }
      _ = try storage.place(of: address ?? 0, bytes, "the values")
      self.layout = .contiguous(address: address ?? 0)
    case 2:
      let flags = version == 4 ? try layout.byte() : 0
      guard flags & 1 == 0 else { throw layout.damaged("chunks at the edges without filters, which gora does not read") }
      guard try layout.byte() == rank + 1 else { throw layout.damaged("chunks of another rank; expected \(rank)") }
      let tree = version == 3 ? try layout.optionalAddress() : nil
      let width = version == 4 ? try layout.byte() : 4
      var extents: [Int] = []
      for _ in 0...rank { extents.append(try layout.number(width)) }
      guard extents.removeLast() == element.byteCount, !extents.contains(0) else {
        throw layout.damaged("chunks \(extents) of other elements")
      }
      let chunkBytes = try HDF5DatasetReader.byteCount(extents, element, storage)
      guard chunkBytes <= HDF5DatasetReader.largestChunkBytes else {
        throw storage.damaged("chunks of \(chunkBytes) bytes; expected at most \(HDF5DatasetReader.largestChunkBytes)")
      }
      let filters = try HDF5Filter.pipeline(try object.message(.filters), elementSize: element.byteCount)
      let stored =
        version == 3
        ? try HDF5ChunkIndex.chunks(
          ofTree: tree, space, chunk: extents, chunkBytes: chunkBytes, isFiltered: !filters.isEmpty, storage)
        : try HDF5ChunkIndex.chunks(
          of: &layout, flags: flags, space, chunk: extents, chunkBytes: chunkBytes, isFiltered: !filters.isEmpty)
      let count = stored.reduce(0) { $0 + $1.count }
      guard bytes / HDF5DatasetReader.largestRatio <= count else { throw claims(count) }
      chunk = extents
      self.layout = .chunked(stored, filters)
    default: throw storage.damaged("values are stored outside the file")
    }
  }

  private static func byteCount(
    _ extents: [Int], _ element: HDF5Element, _ storage: HDF5Storage
  ) throws(GoraError) -> Int {
    var bytes = element.byteCount
    for extent in extents {
      let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
      // Room for sums of such counts.
      guard !overflow, product < 1 << 60 else { throw storage.damaged("shape \(extents) overflows") }
      bytes = product
    }
    return bytes
  }

  /// Has the system read ahead all that is stored.
  /// - Throws: `.data` where that lies outside the file.
  func announce() throws(GoraError) {
    switch layout {
    case .compact: break
    case .contiguous(let address):
      let count = shape.reduce(element.byteCount, *)
      storage.file.announce(at: try storage.place(of: address, count, "the values"), count: count)
    case .chunked(let chunks, _):
      for chunk in chunks {
        storage.file.announce(at: try storage.place(of: chunk.address, chunk.count, "a chunk"), count: chunk.count)
      }
    }
  }

  /// Reads rows (or, in one dimension, elements) as the native type of `element`.
  /// - Parameter values: memory for all of `rows`.
  /// - Throws: `.data` where a chunk is damaged.
  func read(rows: Range<Int>, into values: UnsafeMutableRawPointer) throws(GoraError) {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= shape[0], "rows outside the dataset")
    if rows.isEmpty || shape.contains(0) { return }
    let rowBytes = shape.dropFirst().reduce(element.byteCount, *)
    let target = UnsafeMutableRawBufferPointer(start: values, count: rows.count * rowBytes)
    switch layout {
    case .compact(let bytes):
      bytes.withUnsafeBytes {
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[rows.lowerBound * rowBytes..<rows.upperBound * rowBytes]))
      }
    case .contiguous(let address):
      let place = try storage.place(of: address + rows.lowerBound * rowBytes, target.count, "the values")
      try storage.file.read(at: place, into: target)
    case .chunked(let chunks, let filters):
      try read(rows, of: chunks, filters, rowBytes, into: target)
    }
    if isBigEndian { gora_reverse_bytes(target.baseAddress, target.count / element.byteCount, element.byteCount) }
  }

  private func read(
    _ rows: Range<Int>, of chunks: [HDF5Chunk], _ filters: [HDF5Filter], _ rowBytes: Int,
    into target: UnsafeMutableRawBufferPointer
  ) throws(GoraError) {
    guard let chunk else { return }
    let chunkRowBytes = chunk.dropFirst().reduce(element.byteCount, *)
    let chunkBytes = chunk[0] * chunkRowBytes
    let columns = (rowBytes + chunkRowBytes - 1) / chunkRowBytes
    let first = rows.lowerBound / chunk[0]
    let last = (rows.upperBound - 1) / chunk[0]
    let largest = chunks[first * columns..<(last + 1) * columns].reduce(0) { max($0, $1.count) }
    var decoder = HDF5ChunkDecoder(filters, elementSize: element.byteCount, chunkBytes: chunkBytes)
    let stored = UnsafeMutableRawBufferPointer.allocate(byteCount: largest, alignment: 16)
    let whole = UnsafeMutableRawBufferPointer.allocate(byteCount: chunkBytes, alignment: 16)
    defer {
      stored.deallocate()
      whole.deallocate()
    }
    for row in first...last {
      for column in 0..<columns {
        let entry = chunks[row * columns + column]
        let bytes = UnsafeMutableRawBufferPointer(rebasing: stored[..<entry.count])
        try storage.file.read(at: try storage.place(of: entry.address, entry.count, "a chunk"), into: bytes)
        let some = max(rows.lowerBound, row * chunk[0])..<min(rows.upperBound, (row + 1) * chunk[0])
        let start = (some.lowerBound - rows.lowerBound) * rowBytes + column * chunkRowBytes
        // A chunk of whole rows, all of them wanted, is decoded where it belongs.
        let isDirect = columns == 1 && chunkRowBytes == rowBytes && some.count == chunk[0]
        let decoded = isDirect ? UnsafeMutableRawBufferPointer(rebasing: target[start..<start + chunkBytes]) : whole
        if let problem = decoder.decode(UnsafeRawBufferPointer(bytes), mask: entry.mask, into: decoded) {
          let origin = shape.count > 1 ? [row * chunk[0], column * chunk[1]] : [row * chunk[0]]
          throw storage.damaged("the chunk at \(origin) \(problem)")
        }
        if isDirect { continue }
        let count = min(chunkRowBytes, rowBytes - column * chunkRowBytes)
        for i in some {
          let from = (i - row * chunk[0]) * chunkRowBytes
          let to = start + (i - some.lowerBound) * rowBytes
          UnsafeMutableRawBufferPointer(rebasing: target[to..<to + count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: whole[from..<from + count]))
        }
      }
    }
  }
}

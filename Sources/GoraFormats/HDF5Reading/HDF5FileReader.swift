import GoraCore

/// An HDF5 file that is read by gora itself, trusting nothing in it: libhdf5 writes gora's files but is not shown any.
///
/// What gora, h5py and h5repack write is read: superblocks 0 to 3, both kinds of object headers, groups and attributes however they are
/// stored, and matrices of chunks under the indexes that `HDF5ChunkIndex` lists. The rest is refused by name; nothing leads into
/// another file.
struct HDF5FileReader: Sendable {
  let root: HDF5Object

  /// - Throws: `.noInput` where there is no such regular file, `.data` where it is not HDF5, cut short or still open for writing.
  init(path: String) throws(GoraError) { try self.init(HDF5Bytes(path: path)) }

  init(_ file: HDF5Bytes) throws(GoraError) {
    do throws(GoraError) {
      let (storage, address) = try HDF5FileReader.superblock(of: HDF5Storage(file: file))
      root = try HDF5Object(at: address, storage.at("/"))
    } catch {
      guard error.status == .data else { throw error }
      throw GoraError(
        .data, at: .file(file.path), "not a whole HDF5 file: \(error.problem)",
        hint: "make the file again, or copy it again if it was cut short")
    }
  }

  /// The settings of the file and the address of its root group.
  private static func superblock(of unset: HDF5Storage) throws(GoraError) -> (HDF5Storage, root: Int) {
    // At the file's start, or behind a block of the user's own, whose size is a power of two.
    var start = 0
    while true {
      guard start + 8 <= unset.file.count else { throw unset.damaged("no HDF5 signature") }
      var signature = try unset.cursor(at: start, 8, "signature")
      if try signature.take(8).elementsEqual([0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A]) { break }
      start = start == 0 ? 512 : 2 * start
    }
    var storage = unset
    storage.base = start
    let most = min(unset.file.count - start, 128)
    var block = try storage.cursor(at: 0, most, "superblock")
    try block.skip(8)
    let version = try block.byte()
    guard version <= 3 else { throw block.damaged("version \(version); expected 0 to 3") }
    if version < 2 { try block.skip(4) }
    (storage.offsetWidth, storage.lengthWidth) = (try block.byte(), try block.byte())
    guard [4, 8].contains(storage.offsetWidth), [4, 8].contains(storage.lengthWidth) else {
      throw block.damaged("addresses of \(storage.offsetWidth) bytes, lengths of \(storage.lengthWidth)")
    }
    if version < 2 {
      try block.skip(version == 0 ? 9 : 13)
    } else {
      let flags = try block.byte()
      // Version 3 says by these bits that a program has it open, or died with it open.
      guard version < 3 || flags & 5 == 0 else { throw block.damaged("the file was never closed by the program that wrote it") }
    }

    var fields = try storage.cursor(at: most - block.count, block.count, "superblock")
    _ = try fields.address()  // the base, which the signature's place says
    _ = try fields.optionalAddress()
    let end = try fields.address()
    guard end <= unset.file.count else {
      throw unset.damaged("truncated: \(unset.file.count) bytes of \(end)")
    }
    if version < 2 {
      _ = try fields.optionalAddress()
      try fields.skip(storage.offsetWidth)
      return (storage, try fields.address())
    }
    let root = try fields.address()
    var whole = try storage.cursor(at: 0, 12 + 4 * storage.offsetWidth + 4, "superblock")
    try whole.dropChecksum()
    return (storage, root)
  }
}

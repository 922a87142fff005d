import GoraCore

/// One file in the GGUF format, versions 2 and 3, mapped; all of its header is checked before anything is handed out.
///
/// Layout: "GGUF", version, number of tensors, number of keys; the keys with their values; for each tensor its name, dimensions,
/// type and offset; from the next multiple of the alignment on the elements, each tensor's at a multiple of it.
struct GGUFPart: Sendable {
  let file: MappedFile
  /// In the order of the file.
  let fields: [GGUFField]
  /// In the order of the file; shapes as elsewhere, the elements of a row last.
  let tensors: [TensorView]

  /// - Throws: `.noInput` where the file cannot be read, `.data` with byte and part where it is malformed.
  init(path: String) throws(GoraError) {
    let file = try MappedFile(path: path)
    self.file = file
    var cursor = GGUFCursor(file)
    let (tensorCount, keyCount) = try Self.begin(&cursor)
    fields = try Self.readFields(keyCount, &cursor, file)
    var alignment = 32
    if let field = fields.first(where: { $0.key == "general.alignment" }) {
      alignment = try field.int(in: 1...(1 << 30))
      guard alignment & (alignment - 1) == 0 else { throw field.error("is \(alignment); expected a power of two") }
    }
    tensors = try Self.readTensors(tensorCount, &cursor, file, alignment: alignment)
  }

  /// Magic and version; the numbers of tensors and keys.
  private static func begin(_ cursor: inout GGUFCursor) throws(GoraError) -> (tensors: Int, keys: Int) {
    if let pointer = GitLFS.refusal(of: cursor.bytes, cursor.path) { throw pointer }
    let magic = Array("GGUF".utf8)
    guard cursor.bytes.prefix(4).elementsEqual(magic) else {
      throw cursor.error("the file does not begin with \"GGUF\"", hint: "expected a GGUF file or the folder of a checkpoint")
    }
    try cursor.skip(4)
    let place = cursor.offset
    let version = try cursor.number(UInt32.self)
    guard (2...3).contains(version) else {
      if (1...3).contains(version.byteSwapped) {
        throw cursor.error("a big-endian GGUF file; expected a little-endian one", at: place)
      }
      throw cursor.error(
        "GGUF version \(version); expected 2 or 3", at: place, hint: "make the file again by llama.cpp's converter")
    }
    cursor.part = "number of tensors"
    let tensors = try cursor.count(of: "tensors", size: 24)
    cursor.part = "number of keys"
    let keys = try cursor.count(of: "keys", size: 13)
    return (tensors, keys)
  }

  private static func readFields(_ count: Int, _ cursor: inout GGUFCursor, _ file: MappedFile) throws(GoraError) -> [GGUFField] {
    var fields: [GGUFField] = []
    var known: Set<String> = []
    for index in 0..<count {
      cursor.part = "key \(index + 1) of \(count)"
      let place = cursor.offset
      let key = try cursor.name("key")
      guard known.insert(key).inserted else { throw cursor.error("the key \"\(key)\" stands twice", at: place) }
      cursor.part = "key \"\(key)\""
      fields.append(GGUFField(key: key, value: try GGUFValue(reading: &cursor), file: file))
    }
    return fields
  }

  /// What the header says of a tensor.
  private struct Entry {
    let name: String
    let dtype: DType
    let shape: [Int]
    let byteCount: Int
    /// Counted from where the elements begin.
    let offset: Int
    /// Byte of the header where the entry stands.
    let at: Int
  }

  private static func readTensors(
    _ count: Int, _ cursor: inout GGUFCursor, _ file: MappedFile, alignment: Int
  ) throws(GoraError) -> [TensorView] {
    var entries: [Entry] = []
    var known: Set<String> = []
    for index in 0..<count {
      cursor.part = "tensor \(index + 1) of \(count)"
      let entry = try readEntry(&cursor, alignment: alignment)
      guard known.insert(entry.name).inserted else {
        throw cursor.error("the tensor \"\(entry.name)\" stands twice", at: entry.at)
      }
      entries.append(entry)
    }
    if entries.isEmpty { return [] }
    // Both are far below 2^62: the header is in memory, and the alignment is 2^30 at most.
    let begin = (cursor.offset + alignment - 1) / alignment * alignment
    let room = file.bytes.count - begin
    for entry in entries {
      cursor.part = "tensor \"\(entry.name)\""
      guard entry.offset <= room, entry.byteCount <= room - entry.offset else {
        throw cursor.error(
          "\(entry.byteCount) bytes from \(entry.offset) on, where the file has \(max(0, room)) bytes of elements", at: entry.at,
          hint: "is the download complete?")
      }
    }
    let ordered = entries.sorted { ($0.offset, $0.byteCount) < ($1.offset, $1.byteCount) }
    for (one, next) in zip(ordered, ordered.dropFirst()) where one.offset + one.byteCount > next.offset {
      cursor.part = "tensor \"\(next.name)\""
      throw cursor.error("begins at \(next.offset), within tensor \"\(one.name)\"", at: next.at)
    }
    return entries.map { entry in
      let start = begin + entry.offset
      return TensorView(
        name: entry.name, dtype: entry.dtype, shape: entry.shape,
        bytes: UnsafeRawBufferPointer(rebasing: file.bytes[start..<start + entry.byteCount]), file: file)
    }
  }

  private static func readEntry(_ cursor: inout GGUFCursor, alignment: Int) throws(GoraError) -> Entry {
    let at = cursor.offset
    let name = try cursor.name("tensor's name")
    cursor.part = "tensor \"\(name)\""
    let dimensions = try cursor.number(UInt32.self)
    guard (1...4).contains(dimensions) else { throw cursor.error("\(dimensions) dimensions; expected 1 to 4", at: at) }
    var sizes: [Int] = []
    for _ in 0..<dimensions {
      let size = try cursor.number(UInt64.self)
      guard size >= 1, let size = Int(exactly: size) else { throw cursor.error("a dimension of \(size)", at: at) }
      sizes.append(size)
    }
    let number = try cursor.number(UInt32.self)
    guard let dtype = GGUFTensorType.dtype(number) else {
      throw cursor.error(
        "elements of type \(GGUFTensorType.name(number))", at: at,
        hint: "read are \(GGUFTensorType.read.map(\.dtype.rawValue).joined(separator: ", "))")
    }
    guard sizes[0] % dtype.block.elements == 0 else {
      throw cursor.error("rows of \(sizes[0]) elements; \(dtype.rawValue) has blocks of \(dtype.block.elements)", at: at)
    }
    let shape = Array(sizes.reversed())
    guard let byteCount = dtype.byteCount(shape) else { throw cursor.error("shape \(shape) overflows", at: at) }
    let offset = try cursor.number(UInt64.self)
    guard let offset = Int(exactly: offset), offset % alignment == 0 else {
      throw cursor.error("offset \(offset) is no multiple of the alignment, \(alignment)", at: at)
    }
    return Entry(name: name, dtype: dtype, shape: shape, byteCount: byteCount, offset: offset, at: at)
  }
}

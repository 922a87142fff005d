import CGoraKernels
import Glibc
import GoraCore

/// A tensor in a mapped file, safetensors or GGUF.
package struct TensorView: @unchecked Sendable {
  /// As the model calls it, where a folder renamed it.
  package var name: String
  package let dtype: DType
  package let shape: [Int]
  /// The elements, row-major and little-endian; they need not be aligned (`isAligned`). Valid while `file` lives.
  package let bytes: UnsafeRawBufferPointer
  /// Keeps the mapping alive.
  package let file: MappedFile
  /// Where the rows lie; nil: in their order. Quantised rows that have one are those of a matrix.
  package var rowOrder: RowOrder?
  /// What is added to each element as it is read as a float.
  package var addend: Float = 0

  /// Number of elements; 1 for a tensor of rank 0.
  package var count: Int { bytes.count / dtype.block.bytes * dtype.block.elements }

  /// Whether the elements may be read through a typed pointer.
  package var isAligned: Bool { Int(bitPattern: bytes.baseAddress) % max(1, dtype.byteCount) == 0 }

  /// Whether the elements are floating-point numbers that can be read here.
  package var isFloat: Bool { [.f64, .f32, .f16, .bf16].contains(dtype) || dtype.isQuantised }

  /// Whether another tensor has the same elements in the same type.
  package func hasElements(of other: TensorView) -> Bool {
    guard dtype == other.dtype, shape == other.shape, rowOrder == other.rowOrder, addend == other.addend else { return false }
    guard let a = bytes.baseAddress, let b = other.bytes.baseAddress else { return bytes.isEmpty }
    return memcmp(a, b, bytes.count) == 0
  }

  /// Where messages say the tensor is.
  package var location: Location { .object(file.path, name: " tensor \"\(name)\"") }

  private var notFloat: GoraError {
    GoraError(
      .data, at: location, "elements of type \(dtype.rawValue); expected F32, F16 or BF16",
      hint: "a quantised checkpoint? use the one that it was made from")
  }

  /// Takes the tensor's pages out of this process; see `MappedFile.releasePages`.
  package func releasePages() { MappedFile.releasePages(of: bytes) }

  /// The elements as binary32, rounded to nearest where the dtype is wider, in the order of the shape.
  /// - Throws: `.data` where they are not floating-point numbers.
  package func toFloat() throws(GoraError) -> [Float] {
    guard isFloat else { throw notFloat }
    let count = self.count
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      initialized = count
      if let out = buffer.baseAddress, count > 0 { widen(into: out) }
    }
  }

  /// The same into room for `count` floats; the elements must be floating-point numbers.
  package func widen(into out: UnsafeMutablePointer<Float>) {
    defer {
      if addend != 0 { for i in 0..<count { out[i] += addend } }
      withExtendedLifetime(file) {}
    }
    guard let start = bytes.baseAddress else { return }
    if dtype.isQuantised {
      return BlockWeight(dtype, start, columns: shape.last ?? 1, rowOrder: rowOrder).decode(0..<count, into: out)
    }
    guard let rowOrder else { return widen(start, count, into: out) }
    let columns = shape.dropFirst().reduce(1, *)
    for row in 0..<(shape.first ?? 0) {
      widen(start + rowOrder.place(of: row) * columns * dtype.byteCount, columns, into: out + row * columns)
    }
  }

  /// The elements as they are, the rows in the order of the shape.
  package func copy(into out: UnsafeMutableRawPointer) {
    defer { withExtendedLifetime(file) {} }
    guard let start = bytes.baseAddress else { return }
    guard let rowOrder, let rows = shape.first, rows > 0 else { return out.copyMemory(from: start, byteCount: bytes.count) }
    let size = bytes.count / rows
    for row in 0..<rows { (out + row * size).copyMemory(from: start + rowOrder.place(of: row) * size, byteCount: size) }
  }

  private func widen(_ start: UnsafeRawPointer, _ count: Int, into out: UnsafeMutablePointer<Float>) {
    func convert<Element: BitwiseCopyable>(_: Element.Type, _ widen: (Element) -> Float) {
      for i in 0..<count {
        out[i] = widen(start.loadUnaligned(fromByteOffset: i * MemoryLayout<Element>.size, as: Element.self))
      }
    }
    switch dtype {
    case .f32: memcpy(out, start, count * 4)
    case .f16 where isAligned: gora_f16_to_f32(start.assumingMemoryBound(to: UInt16.self), out, count)
    case .bf16 where isAligned: gora_bf16_to_f32(start.assumingMemoryBound(to: UInt16.self), out, count)
    case .f16: convert(Float16.self) { Float($0) }
    case .bf16: convert(UInt16.self) { Float(BFloat16(bitPattern: $0)) }
    case .f64: convert(Double.self) { Float($0) }
    default: preconditionFailure("\(dtype) is no float")
    }
  }
}

/// A safetensors file, mapped; its header is checked completely before anything is handed out.
///
/// Layout: 8 bytes header length (little-endian), a JSON header `name -> {dtype, shape, data_offsets}`, the elements without a gap.
package final class SafetensorsFile: Sendable {
  package let path: String
  /// `__metadata__`, in the order of the file.
  package let metadata: [(key: String, value: String)]
  private let file: MappedFile
  /// By offset in the file.
  private let entries: [Entry]
  private let index: [String: Int]
  private let dataOffset: Int

  private struct Entry {
    let name: String
    let dtype: DType
    let shape: [Int]
    /// Of the elements, counted from the end of the header.
    let begin: Int
    let end: Int
    /// Byte of the header where the entry stands.
    let at: Int
  }

  /// As the reference implementation.
  static let headerLimit = 100_000_000

  /// - Throws: `.noInput` where the file cannot be read, `.data` with byte offset and tensor where it is malformed.
  package init(path: String) throws(GoraError) {
    let file = try MappedFile(path: path)
    self.path = path
    self.file = file
    let bytes = file.bytes
    func refuse(_ offset: Int, _ part: String, _ problem: String) -> GoraError {
      GoraError(.data, at: .bytes(path, offset: offset, part: part), problem)
    }
    guard bytes.count >= 8 else {
      throw refuse(0, "header length", "the file has \(bytes.count) bytes; a safetensors file has 8 at least")
    }
    if let pointer = GitLFS.refusal(of: bytes, path) { throw pointer }
    let claimed = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard claimed <= UInt64(SafetensorsFile.headerLimit) else {
      throw refuse(0, "header length", "header of \(claimed) bytes; the limit is \(SafetensorsFile.headerLimit)")
    }
    let headerLength = Int(claimed)
    guard headerLength <= bytes.count - 8 else {
      throw refuse(0, "header length", "header of \(headerLength) bytes in a file of \(bytes.count) bytes")
    }
    let header = UnsafeRawBufferPointer(rebasing: bytes[8..<8 + headerLength])
    guard String(validating: header, as: UTF8.self) != nil else { throw refuse(8, "header", "the header is not UTF-8") }
    let root: JSON
    do throws(JSONSyntaxError) {
      root = try JSON(parsing: header, maxDepth: 8)
    } catch {
      throw refuse(8 + error.offset, "header", error.problem)
    }
    guard case .object(let members) = root.content else { throw refuse(8, "header", "the header is not an object") }

    var metadata: [(key: String, value: String)] = []
    var entries: [Entry] = []
    let dataLength = bytes.count - 8 - headerLength
    for member in members {
      if member.key == "__metadata__" {
        if member.value.content == .null { continue }
        guard case .object(let pairs) = member.value.content else {
          throw refuse(8 + member.value.offset, "header, __metadata__", "__metadata__ is not an object")
        }
        for pair in pairs {
          guard case .string(let text) = pair.value.content else {
            throw refuse(8 + pair.value.offset, "header, __metadata__", "the value of \"\(pair.key)\" is not a string")
          }
          metadata.append((pair.key, text))
        }
        continue
      }
      let at = 8 + member.value.offset
      let part = "header, tensor \"\(member.key)\""
      guard case .object(let fields) = member.value.content else { throw refuse(at, part, "the entry is not an object") }
      func field(_ key: String) throws(GoraError) -> JSON {
        guard let field = fields.first(where: { $0.key == key }) else { throw refuse(at, part, "the entry lacks \"\(key)\"") }
        return field.value
      }
      /// Non-negative integers.
      func sizes(_ key: String) throws(GoraError) -> [Int] {
        let field = try field(key)
        guard case .array(let elements) = field.content else {
          throw refuse(8 + field.offset, part, "\"\(key)\" is not an array")
        }
        var sizes: [Int] = []
        for element in elements {
          guard case .integer(let size) = element.content, size >= 0 else {
            throw refuse(
              8 + element.offset, part, "\"\(key)\" holds \(element.compact()); expected integers of 0 or more")
          }
          sizes.append(size)
        }
        return sizes
      }
      let dtypeField = try field("dtype")
      guard case .string(let dtypeName) = dtypeField.content, let dtype = DType(rawValue: dtypeName), !dtype.isQuantised
      else {
        let known = DType.allCases.filter { !$0.isQuantised }.map(\.rawValue).joined(separator: ", ")
        throw refuse(8 + dtypeField.offset, part, "unknown dtype \(dtypeField.compact()); known are \(known)")
      }
      let shape = try sizes("shape")
      guard let byteCount = dtype.byteCount(shape) else {
        throw refuse(at, part, "shape \(shape) overflows or, in \(dtype.rawValue), ends within a byte")
      }
      let offsets = try sizes("data_offsets")
      guard offsets.count == 2 else { throw refuse(at, part, "\"data_offsets\" has \(offsets.count) numbers; expected 2") }
      let (begin, end) = (offsets[0], offsets[1])
      if end < begin { throw refuse(at, part, "data from \(begin) to \(end): the end is before the start") }
      if end - begin != byteCount {
        throw refuse(at, part, "data of \(end - begin) bytes; \(dtype.rawValue) of shape \(shape) takes \(byteCount)")
      }
      if end > dataLength { throw refuse(at, part, "data ends at \(end); the file has \(dataLength) bytes of data") }
      entries.append(Entry(name: member.key, dtype: dtype, shape: shape, begin: begin, end: end, at: at))
    }
    entries.sort { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
    var position = 0
    var index: [String: Int] = [:]
    for (i, entry) in entries.enumerated() {
      // The parser refuses equal bytes; Swift also takes two spellings of one accented letter for equal.
      guard index.updateValue(i, forKey: entry.name) == nil else {
        throw refuse(entry.at, "header, tensor \"\(entry.name)\"", "another tensor has an equivalent name")
      }
      if entry.begin != position {
        throw refuse(
          entry.at, "header, tensor \"\(entry.name)\"",
          "data starts at \(entry.begin) where \(position) was expected: "
            + (entry.begin < position ? "tensors overlap" : "there is a hole"))
      }
      position = entry.end
    }
    guard position == dataLength else {
      throw refuse(8 + headerLength + position, "data", "tensors end at \(position); the file has \(dataLength) bytes of data")
    }
    self.metadata = metadata
    self.entries = entries
    dataOffset = 8 + headerLength
    self.index = index
  }

  /// All tensors, by offset in the file.
  package var tensors: [TensorView] { entries.map(view) }

  /// The tensor of that name, if there is one.
  package func tensor(_ name: String) -> TensorView? { index[name].map { view(entries[$0]) } }

  private func view(_ entry: Entry) -> TensorView {
    let range = dataOffset + entry.begin..<dataOffset + entry.end
    return TensorView(
      name: entry.name, dtype: entry.dtype, shape: entry.shape, bytes: UnsafeRawBufferPointer(rebasing: file.bytes[range]),
      file: file)
  }
}

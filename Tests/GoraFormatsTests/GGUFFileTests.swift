import Foundation
import GoraCore
import Testing

@testable import GoraFormats

/// The bytes of a GGUF file, part by part.
struct GGUFBytes {
  var bytes: [UInt8] = []

  mutating func add(_ number: some FixedWidthInteger) { withUnsafeBytes(of: number.littleEndian) { bytes += $0 } }
  mutating func add(_ text: String) {
    add(UInt64(text.utf8.count))
    bytes += Array(text.utf8)
  }
  mutating func key(_ key: String, string: String) {
    add(key)
    add(UInt32(8))
    add(string)
  }
  mutating func key(_ key: String, uint32: UInt32) {
    add(key)
    add(UInt32(4))
    add(uint32)
  }
  mutating func tensor(_ name: String, _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) {
    add(name)
    add(UInt32(dimensions.count))
    for size in dimensions { add(size) }
    add(type)
    add(offset)
  }

  /// A whole file: what `keys` and `tensors` add, and elements of so many bytes.
  static func file(
    version: UInt32 = 3, keys: UInt64, tensors: UInt64 = 0, elements: Int = 0, _ body: (inout GGUFBytes) -> Void
  ) -> [UInt8] {
    var file = GGUFBytes()
    file.bytes = Array("GGUF".utf8)
    file.add(version)
    file.add(tensors)
    file.add(keys)
    body(&file)
    if tensors > 0 { file.bytes += [UInt8](repeating: 0, count: (32 - file.bytes.count % 32) % 32) }
    file.bytes += (0..<elements).map { UInt8(truncatingIfNeeded: $0) }
    return file.bytes
  }
}

private func tensors(_ count: UInt64, elements: Int, _ body: (inout GGUFBytes) -> Void) -> [UInt8] {
  GGUFBytes.file(keys: 0, tensors: count, elements: elements, body)
}

@Suite struct GGUFFileTests {
  struct Refusal: Sendable, CustomTestStringConvertible {
    var words: String
    var bytes: [UInt8]
    var testDescription: String { words }
  }

  static let refusals: [Refusal] = [
    Refusal(words: "does not begin with \"GGUF\"", bytes: []),
    Refusal(words: "does not begin with \"GGUF\"", bytes: Array("GGML....".utf8)),
    Refusal(words: "the file ends here", bytes: Array("GGUF".utf8)),
    Refusal(words: "GGUF version 1; expected 2 or 3", bytes: GGUFBytes.file(version: 1, keys: 0) { _ in }),
    Refusal(words: "GGUF version 4", bytes: GGUFBytes.file(version: 4, keys: 0) { _ in }),
    Refusal(words: "a big-endian GGUF file", bytes: GGUFBytes.file(version: UInt32(3).byteSwapped, keys: 0) { _ in }),
    Refusal(words: "9223372036854775808 keys", bytes: GGUFBytes.file(keys: 1 << 63) { _ in }),
    Refusal(words: "18446744073709551615 tensors", bytes: GGUFBytes.file(keys: 0, tensors: .max) { _ in }),
    Refusal(words: "1 keys in a file of 24 bytes", bytes: GGUFBytes.file(keys: 1) { _ in }),
    Refusal(words: "the key is empty", bytes: GGUFBytes.file(keys: 1) { $0.key("", string: "values") }),
    Refusal(
      words: "the key is not UTF-8",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add(UInt64(2))
        $0.bytes += [0xC3, 0x28, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      }),
    Refusal(
      words: "the key \"a\" stands twice",
      bytes: GGUFBytes.file(keys: 2) {
        $0.key("a", uint32: 1)
        $0.key("a", string: "again")
      }),
    Refusal(
      words: "value type 13; known are 0 to 12",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("a")
        $0.add(UInt32(13))
        $0.add(UInt64(0))
      }),
    Refusal(
      words: "an array of arrays",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("a")
        for number: UInt32 in [9, 9, 0, 0, 0, 0] { $0.add(number) }
      }),
    Refusal(
      words: "2305843009213693952 elements",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("a")
        $0.add(UInt32(9))
        $0.add(UInt32(10))
        $0.add(UInt64(1 << 61))
      }),
    Refusal(
      words: "bytes of text",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("a")
        $0.add(UInt32(8))
        $0.add(UInt64.max)
      }),
    Refusal(
      words: "bytes of text",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("tokens")
        $0.add(UInt32(9))
        $0.add(UInt32(8))
        $0.add(UInt64(1))
        $0.add(UInt64(7))
        $0.bytes += [1, 2, 3]
      }),
    Refusal(
      words: "a truth value of 2",
      bytes: GGUFBytes.file(keys: 1) {
        $0.add("a-flag-here")
        $0.add(UInt32(7))
        $0.add(UInt8(2))
      }),
    Refusal(words: "is 48; expected a power of two", bytes: GGUFBytes.file(keys: 1) { $0.key("general.alignment", uint32: 48) }),
    Refusal(words: "is 0; expected 1 to", bytes: GGUFBytes.file(keys: 1) { $0.key("general.alignment", uint32: 0) }),
    Refusal(words: "5 dimensions; expected 1 to 4", bytes: tensors(1, elements: 32) { $0.tensor("t", [1, 1, 1, 1, 1]) }),
    Refusal(words: "0 dimensions", bytes: tensors(1, elements: 32) { $0.tensor("t", []) }),
    Refusal(words: "a dimension of 0", bytes: tensors(1, elements: 32) { $0.tensor("t", [4, 0]) }),
    Refusal(words: "a dimension of 9223372036854775808", bytes: tensors(1, elements: 32) { $0.tensor("t", [1 << 63]) }),
    Refusal(words: "overflows", bytes: tensors(1, elements: 32) { $0.tensor("t", [1 << 40, 1 << 40]) }),
    Refusal(words: "overflows", bytes: tensors(1, elements: 32) { $0.tensor("t", [1 << 61]) }),
    Refusal(words: "elements of type \"IQ4_XS\"", bytes: tensors(1, elements: 32) { $0.tensor("t", [256], type: 23) }),
    Refusal(words: "elements of type 99, which is not known", bytes: tensors(1, elements: 32) { $0.tensor("t", [8], type: 99) }),
    Refusal(
      words: "rows of 33 elements; Q4_0 has blocks of 32", bytes: tensors(1, elements: 64) { $0.tensor("t", [33], type: 2) }),
    Refusal(words: "no multiple of the alignment, 32", bytes: tensors(1, elements: 64) { $0.tensor("t", [8], offset: 8) }),
    Refusal(
      words: "is no multiple of the alignment", bytes: tensors(1, elements: 64) { $0.tensor("t", [8], offset: (1 << 63) | 1) }),
    Refusal(words: "where the file has 32 bytes of elements", bytes: tensors(1, elements: 32) { $0.tensor("t", [9]) }),
    Refusal(words: "32 bytes from 64 on", bytes: tensors(1, elements: 32) { $0.tensor("t", [8], offset: 64) }),
    Refusal(
      words: "32 bytes from 9223372036854775776 on",
      bytes: tensors(1, elements: 32) { $0.tensor("t", [8], offset: (1 << 63) - 32) }),
    Refusal(
      words: "begins at 32, within tensor \"one\"",
      bytes: tensors(2, elements: 96) {
        $0.tensor("one", [16])
        $0.tensor("two", [8], offset: 32)
      }),
    Refusal(
      words: "within tensor",
      bytes: tensors(2, elements: 96) {
        $0.tensor("one", [16])
        $0.tensor("two", [16])
      }),
    Refusal(
      words: "the tensor \"one\" stands twice",
      bytes: tensors(2, elements: 96) {
        $0.tensor("one", [8])
        $0.tensor("one", [8], offset: 32)
      }),
  ]

  @Test(arguments: refusals) func refuses(_ refusal: Refusal) throws {
    let scratch = ScratchFolder()
    let path = try scratch.file("model.gguf", refusal.bytes)
    let error = errorThrown { try GGUFFile(path: path) }
    #expect(error.status == .data && "\(error)".contains(refusal.words) && "\(error)".contains(path), "\(error)")
  }

  /// Wherever a file ends too early, that is what is said of it, or of its beginning.
  @Test func refusesEveryBeginning() throws {
    let whole = try [UInt8](Data(contentsOf: URL(filePath: "\(fixturesFolder)/gguf/qwen2.gguf")))
    let scratch = ScratchFolder()
    for count in Array(stride(from: 0, to: 3000, by: 7)) + [whole.count - 1] {
      let path = try scratch.file("model.gguf", Array(whole.prefix(count)))
      #expect(errorThrown { try GGUFFile(path: path) }.status == .data)
    }
  }

  /// Any byte may be another one: what is read then lies within the file, or is refused.
  @Test func survivesDamage() throws {
    let whole = try [UInt8](Data(contentsOf: URL(filePath: "\(fixturesFolder)/gguf/mixed-00002-of-00003.gguf")))
    let scratch = ScratchFolder()
    var numbers = TestNumbers(state: 3)
    for _ in 0..<400 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...3, using: &numbers) {
        bytes[Int.random(in: 0..<1000, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
      }
      let path = try scratch.file("model.gguf", bytes)
      do throws(GoraError) {
        let part = try GGUFPart(path: path)
        for tensor in part.tensors { #expect(try tensor.toFloat().count == tensor.count) }
      } catch {
        #expect(error.status == .data)
      }
    }
  }

  @Test func metadata() throws {
    let scratch = ScratchFolder()
    let path = try scratch.file(
      "some.gguf",
      GGUFBytes.file(keys: 7) {
        $0.key("text", string: "naïve")
        $0.key("number", uint32: 7)
        $0.add("numbers")
        for number: UInt32 in [9, 5, 3, 0, 1, 0xFFFF_FFFF, 3] { $0.add(number) }
        $0.add("real")
        $0.add(UInt32(6))
        $0.add(Float(0.5).bitPattern)
        $0.add("flag")
        $0.add(UInt32(7))
        $0.add(UInt8(1))
        $0.add("words")
        for number: UInt32 in [9, 8, 2, 0] { $0.add(number) }
        $0.add("a")
        $0.add(UInt64(2))
        $0.bytes += [0xC3, 0x28]
        $0.add("huge")
        $0.add(UInt32(10))
        $0.add(UInt64.max)
      })
    let file = try GGUFFile(path: path)
    func field(_ key: String) throws -> GGUFField { try #require(file.metadata(key)) }
    #expect(file.keys == ["text", "number", "numbers", "real", "flag", "words", "huge"] && file.tensors.isEmpty)
    #expect(try field("text").string == "naïve" && field("number").int == 7 && field("numbers").ints == [1, -1, 3])
    #expect(try field("real").double == 0.5 && field("flag").bool && field("words").count == 2)
    #expect(try field("words").byteStrings == [[0x61], [0xC3, 0x28]] && field("numbers").floats == [1, -1, 3])
    #expect(file.metadata("none") == nil)
    for (key, read) in [
      ("text", { _ = try $0.int }), ("number", { _ = try $0.string }), ("real", { _ = try $0.bool }),
      ("number", { _ = try $0.ints }), ("words", { _ = try $0.strings }), ("huge", { _ = try $0.int }),
      ("number", { _ = try $0.int(in: 0...6) }),
    ] as [(String, (GGUFField) throws -> Void)] {
      let error = errorThrown { try read(try field(key)) }
      #expect(error.status == .data && "\(error)".contains("\(path): key \"\(key)\""), "\(error)")
    }
    #expect(errorThrown { try file.required("none") }.problem.contains("lacks the key \"none\""))
  }

  @Test func splitFiles() throws {
    let scratch = ScratchFolder()
    for number in 1...3 {
      let name = "mixed-0000\(number)-of-00003.gguf"
      try FileManager.default.copyItem(atPath: "\(fixturesFolder)/gguf/\(name)", toPath: "\(scratch.path)/\(name)")
    }
    let first = "\(scratch.path)/mixed-00001-of-00003.gguf"
    #expect(try GGUFFile(path: first).tensors.count == 20)
    #expect(
      errorThrown { try GGUFFile(path: "\(scratch.path)/mixed-00002-of-00003.gguf") }.hint?.contains("-00001-of-00003") == true)
    try FileManager.default.copyItem(atPath: first, toPath: "\(scratch.path)/renamed.gguf")
    #expect(errorThrown { try GGUFFile(path: "\(scratch.path)/renamed.gguf") }.problem.contains("does not end in"))
    // The second file in the place of the third.
    try FileManager.default.removeItem(atPath: "\(scratch.path)/mixed-00003-of-00003.gguf")
    #expect(errorThrown { try GGUFFile(path: first) }.status == .noInput)
    try FileManager.default.copyItem(
      atPath: "\(scratch.path)/mixed-00002-of-00003.gguf", toPath: "\(scratch.path)/mixed-00003-of-00003.gguf")
    #expect(errorThrown { try GGUFFile(path: first) }.problem.contains("is 1 in file number 3"))
  }
}

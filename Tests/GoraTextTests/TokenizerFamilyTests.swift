import GoraCore
import GoraFormats
import Testing

@testable import GoraText

/// Small tokenizers of the kinds of T5 (Unigram) and CLIP against HF `tokenizers` and Transformers' tokenizer classes
/// (Tests/Fixtures/tokenizer/make_unigram.py), and refusals.
struct TokenizerFamilyTests {
  private static func fixture(_ name: String) throws -> JSONField {
    try JSONDocument(path: name, text: readWholeFile("\(tokenizerFixtures)/\(name).json")).root
  }

  /// A tokenizer.json with some of its members replaced.
  private static func changed(_ tokenizer: JSON, _ change: JSON) -> [UInt8] {
    guard case .object(let members) = tokenizer.content, case .object(let new) = change.content else { return [] }
    let kept = members.map { member in new.first { $0.key == member.key } ?? member }
    return Array(JSON(.object(kept)).compact().utf8)
  }

  private static func check(_ tokenizer: Tokenizer, _ row: [JSONField], _ name: String) throws {
    let text = try row[0].string
    let ids = try row[1].ints.map { Int32($0) }
    let note: Comment = "\(name): \(text.debugDescription)"
    #expect(tokenizer.encode(text) == ids, note)
    #expect(try tokenizer.encode(text, addSpecialTokens: true) == row[2].ints.map { Int32($0) }, note)
    #expect(try Array(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == Array(row[3].string.utf8), note)
    #expect(try Array(tokenizer.decode(ids).utf8) == Array(row[4].string.utf8), note)
  }

  @Test(arguments: ["unigram", "clip"])
  func settingsMatchHuggingFace(_ kind: String) throws {
    let root = try Self.fixture(kind)
    let base = try root.required("tokenizer").value
    var offsets = 0
    for entry in try root.required("cases").elements {
      let name = try "\(kind), \(entry.required("name").string)"
      let tokenizer = try Tokenizer(bytes: Self.changed(base, entry.required("change").value), path: name)
      for row in try entry.required("rows").elements {
        let fields = try row.elements
        try Self.check(tokenizer, fields, name)
        let tokens = try tokenizer.tokenized(fields[0].string)
        #expect(try tokens.ids == fields[1].ints.map { Int32($0) })
        // Bytes of unknown characters beside each other stand for one each here, for all of them there.
        guard fields[5].value.content != .null, !name.hasSuffix("byte fallback") else { continue }
        let ends = try fields[5].ints
        let note: Comment = "\(name): \(try fields[0].string.debugDescription)"
        #expect(tokens.offsets == stride(from: 0, to: ends.count, by: 2).map { ends[$0]..<ends[$0 + 1] }, note)
        offsets += 1
      }
    }
    #expect(offsets > (kind == "clip" ? 60 : 300))
  }

  @Test(arguments: ["unigram", "clip"])
  func foldersMatchAutoTokenizer(_ kind: String) throws {
    let root = try Self.fixture(kind)
    for entry in try root.required("folders").elements {
      let name = try "\(kind), \(entry.required("name").string)"
      let files = try entry.required("files").members.map { (key: $0.key, value: $0.field.value) }
      let tokenizer = try TokenizerFolderTests.tokenizer(files + [("tokenizer.json", try root.required("tokenizer").value)])
      for row in try entry.required("rows").elements { try Self.check(tokenizer, row.elements, name) }
      let special = try entry.required("special").members
      #expect(tokenizer.specialTokens.map(\.name) == special.map(\.key), "\(name)")
      #expect(try tokenizer.specialTokens.map(\.text) == special.map { try $0.field.string }, "\(name)")
    }
  }

  /// What differs from a sound table of eight bytes: its one unit, for nothing.
  private static func charsmap(_ bytes: [UInt8]) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - group.count))
      text += String((0..<4).map { $0 <= group.count ? alphabet[bits >> (18 - 6 * $0) & 63] : "=" })
    }
    return text
  }

  private static func table(_ units: [UInt32], _ texts: [UInt8], size: Int? = nil) -> [UInt8] {
    func bytes(_ word: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    return bytes(UInt32(size ?? units.count * 4)) + units.flatMap(bytes) + texts
  }

  /// A block for the root, one for what it leads to, and one for what follows "a", which is replaced by the text at `text`.
  private static func entry(text: UInt32, offset: UInt32 = 512 ^ (256 + 0x61)) -> [UInt32] {
    var units = [UInt32](repeating: 0, count: 768)
    units[0] = 256 << 10
    units[256 + 0x61] = offset << 10 | 256 | 0x61
    units[512] = 1 << 31 | text
    return units
  }

  @Test func charsmapsAreRead() throws {
    let sound = try #require(PrecompiledCharsmap(Self.table(Self.entry(text: 2), [0x78, 0, 0xC3, 0xA9, 0])))
    var text = AlignedText(Array("ba\u{301}c".utf8), tracksSources: true)
    sound.apply(to: &text)
    #expect(text.bytes == Array("b\u{E9}c".utf8))
    #expect(text.sources.map { Int($0.lowerBound)..<Int($0.upperBound) } == [0..<1, 1..<4, 1..<4, 4..<5])
    #expect(Base64.decoded(Self.charsmap([1, 2, 3, 4])) == [1, 2, 3, 4] && Base64.decoded("") == [])
    for damaged in ["AAA", "AA=A", "A===", "AB==", "AA*A", "====", "AAAA\n"] {
      #expect(Base64.decoded(damaged) == nil, "\(damaged)")
    }
  }

  @Test func refusesDamagedCharsmaps() throws {
    let damaged: [[UInt8]] = [
      [], [1, 2, 3], Self.table([0xFFFF_FFFF] + Self.entry(text: 0).dropFirst(), [0x78, 0]), Self.table([], []),
      Self.table([0], [], size: 8), Self.table([0], []),
      Self.table(Self.entry(text: 9), [0x78, 0]), Self.table(Self.entry(text: 1), [0xC3, 0xA9, 0]),
      Self.table(Self.entry(text: 0), [0xFF, 0]), Self.table(Self.entry(text: 0, offset: 4096), [0x78, 0]),
    ]
    for bytes in damaged { #expect(PrecompiledCharsmap(bytes) == nil) }
  }

  @Test(arguments: [
    (#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "%"}}"#, "\"precompiled_charsmap\" is damaged"),
    (#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}"#, "\"precompiled_charsmap\" is damaged"),
    (#"{"normalizer": {"type": "Precompiled"}}"#, "lacks \"precompiled_charsmap\""),
    (#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": []}}"#, "has 0 pieces"),
    (#"{"model": {"type": "Unigram", "unk_id": 1, "vocab": [["a", 0]]}}"#, "\"unk_id\" is 1"),
    (#"{"model": {"type": "Unigram", "unk_id": -1, "vocab": [["a", 0]]}}"#, "\"unk_id\" is -1"),
    (#"{"model": {"type": "Unigram", "unk_id": null, "vocab": [["a", 0]]}}"#, "lacks \"unk_id\""),
    (#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", "0"]]}}"#, "must be a number"),
    (#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1], ["a", 0]]}}"#, "\"a\" stands twice"),
    (#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a"]]}}"#, "a piece and its score"),
    (#"{"model": {"type": "Unigram", "unk_id": 0, "vocab": {"a": 0}}}"#, "must be an array"),
    (#"{"pre_tokenizer": {"type": "ByteLevel"}}"#, "ByteLevel before a Unigram model"),
  ])
  func refusesByName(_ change: String, _ part: String) throws { try Self.refuses(try JSON(parsing: change), part) }

  private static func refuses(_ change: JSON, _ part: String) throws {
    let bytes = changed(try fixture("unigram").required("tokenizer").value, change)
    let error = #expect(throws: GoraError.self) { try Tokenizer(bytes: bytes, path: "x") }
    #expect(error?.status == .data)
    #expect(error?.problem.contains(part) == true, "\(error?.problem ?? "")")
  }

  /// JSON has no word for them; text that has is no JSON, and numbers beyond the doubles are none.
  @Test(arguments: ["NaN", "-Infinity", "-1e999"])
  func refusesScoresThatAreNoNumbers(_ score: String) {
    let text = #"{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", \#(score)]]}}"#
    let error = #expect(throws: GoraError.self) { try Tokenizer(bytes: Array(text.utf8), path: "x") }
    #expect(error?.status == .data)
  }

  /// A word of unknown length takes time linear in it.
  @Test func longWordsAreCut() throws {
    let bytes = Array(try Self.fixture("unigram").required("tokenizer").value.compact().utf8)
    let tokenizer = try Tokenizer(bytes: bytes, path: "x")
    let once = tokenizer.encode("日")
    #expect(tokenizer.encode(String(repeating: "日", count: 20_000)) == once)
    let letter = try #require(tokenizer.encode("bb").last)
    #expect(tokenizer.encode(String(repeating: "b", count: 20_000)).suffix(100).allSatisfy { $0 == letter })
  }
}

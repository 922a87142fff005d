import GoraCore
import GoraFormats
import Testing

@testable import GoraText

/// Settings that the models at hand lack, against HF `tokenizers` (Tests/Fixtures/tokenizer/make_fixtures.py), and refusals.
struct TokenizerTests {
  private static func document(_ name: String) throws -> JSONField {
    try JSONDocument(path: name, text: readWholeFile("\(tokenizerFixtures)/\(name)")).root
  }

  /// The object with some members replaced; one level deeper under "model".
  private static func changed(_ object: JSON, _ changes: JSON) -> JSON {
    guard case .object(let members) = object.content, case .object(let new) = changes.content else { return changes }
    let kept = members.map { member in
      guard let change = new.first(where: { $0.key == member.key }) else { return member }
      return JSON.Member(member.key, member.key == "model" ? changed(member.value, change.value) : change.value)
    }
    return JSON(.object(kept))
  }

  @Test func settingsMatchHuggingFace() throws {
    let trained = try Self.document("trained.json").value
    let root = try Self.document("cases.json")
    let pieces = try root.required("pieces").value
    var rows = 0
    for entry in try root.required("cases").elements {
      let base = try entry.required("base").string == "bytes" ? trained : pieces
      let name = try entry.required("name").string
      let json = Self.changed(base, try entry.required("change").value)
      let tokenizer = try Tokenizer(bytes: Array(json.compact().utf8), path: name)
      for row in try entry.required("rows").elements {
        let fields = try row.elements
        let text = try fields[0].string
        let ids = try fields[1].ints.map { Int32($0) }
        let note: Comment = "\(name): \(text.debugDescription)"
        #expect(tokenizer.encode(text) == ids, note)
        let offsets = try fields[5].ints
        var ranges = stride(from: 0, to: offsets.count, by: 2).map { offsets[$0]..<offsets[$0 + 1] }
        // HF lets a composed character stand for the first of its parts only, so that the accent belongs to no token.
        if name == "nfc", Array(text.utf8) == Array("cafe\u{301}".utf8) { ranges[2] = 3..<6 }
        #expect(tokenizer.tokenized(text) == TokenizedText(ids: ids, offsets: ranges), note)
        #expect(try tokenizer.encode(text, addSpecialTokens: true) == fields[2].ints.map { Int32($0) }, note)
        #expect(try Array(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == Array(fields[3].string.utf8), note)
        #expect(try Array(tokenizer.decode(ids).utf8) == Array(fields[4].string.utf8), note)
        rows += 1
      }
    }
    #expect(rows > 1000)
  }

  @Test func bothSpellingsOfMergesAgree() throws {
    let json = try Self.document("trained.json").value
    let pairs = try JSONDocument(path: "pairs", text: Array(json.compact().utf8)).root.required("model").required("merges")
    let strings = try pairs.elements.map { JSON(try $0.elements.map { try $0.string }.joined(separator: " ")) }
    let other = Self.changed(json, .object(["model": .object(["merges": JSON(strings)])]))
    let text = "the cats and the dogs sat there"
    #expect(
      try Tokenizer(bytes: Array(other.compact().utf8), path: "strings").encode(text)
        == Tokenizer(bytes: Array(json.compact().utf8), path: "pairs").encode(text))
  }

  @Test(arguments: [
    (#"{"model": {"type": "WordPiece", "vocab": {}}}"#, "WordPiece"),
    (#"{"normalizer": {"type": "NFKC"}}"#, "NFKC"),
    (#"{"normalizer": {"type": "Replace", "pattern": {"Regex": "(a)\\1"}, "content": " "}}"#, #"(a)\1"#),
    (#"{"pre_tokenizer": {"type": "BertPreTokenizer"}}"#, "BertPreTokenizer"),
    (#"{"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?<=a)b"}, "behavior": "Isolated"}}"#, "(?<=a)b"),
    (#"{"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "Odd"}}"#, "Odd"),
    (#"{"post_processor": {"type": "NobodysProcessing"}}"#, "NobodysProcessing"),
    (#"{"decoder": {"type": "WordPiece"}}"#, "WordPiece"),
    (#"{"model": {"continuing_subword_prefix": "@@"}}"#, "@@"),
  ])
  func refusesByName(_ change: String, _ name: String) throws {
    let json = Self.changed(try Self.document("trained.json").value, try JSON(parsing: change))
    let error = #expect(throws: GoraError.self) { try Tokenizer(bytes: Array(json.compact().utf8), path: "x") }
    #expect(error?.status == .data)
    #expect(error?.problem.contains(name) == true, "\(error?.problem ?? "")")
    #expect(error?.hint?.hasPrefix("supported: ") == true)
  }

  @Test(arguments: [
    (#"{"model": {"merges": ["a"]}}"#, "merges[0]"), (#"{"model": {"merges": [["a", "\u65e5"]]}}"#, "merges[0]"),
    (#"{"model": {"vocab": {"a": 0, "b": 0}, "merges": []}}"#, "given to two tokens"),
    (#"{"model": {"vocab": {"a": -1}, "merges": []}}"#, "id of \"a\""),
    (#"{"model": {"vocab": {"a": 99999999999}, "merges": []}}"#, "id of \"a\""),
    (#"{"model": {"vocab": {"a": 2147483648}, "merges": []}}"#, "id of \"a\""),
    (#"{"model": {"unk_token": "<nothing>"}}"#, "<nothing>"), (#"{"added_tokens": [{"id": 1}]}"#, "content"),
    (
      #"{"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}], "#
        + #""special_tokens": {"x": {"ids": [900000]}}}}"#, "id 900000"
    ),
    (#"{"post_processor": {"type": "BertProcessing", "cls": ["<s>", 0], "sep": [1]}}"#, "sep"),
    (#"{"post_processor": {"type": "BertProcessing", "cls": ["<s>", 0], "sep": ["</s>", 301]}}"#, "id 301"),
  ])
  func refusesMalformedFiles(_ change: String, _ part: String) throws {
    let json = Self.changed(try Self.document("trained.json").value, try JSON(parsing: change))
    let error = #expect(throws: GoraError.self) { try Tokenizer(bytes: Array(json.compact().utf8), path: "x") }
    #expect(error?.status == .data)
    #expect(error?.problem.contains(part) == true, "\(error?.problem ?? "")")
  }

  @Test func namesAMissingFile() {
    let error = #expect(throws: GoraError.self) { try Tokenizer(contentsOf: "/nowhere/tokenizer.json") }
    #expect(error?.status == .noInput)
    #expect(error?.description.contains("/nowhere/tokenizer.json") == true)
  }

  @Test func looksUpTokens() throws {
    let tokenizer = try Tokenizer(contentsOf: "\(tokenizerFixtures)/trained.json")
    for id in 0..<Int32(tokenizer.vocabularySize) {
      #expect(tokenizer.token(id).flatMap { tokenizer.id(of: $0) } == id)
    }
    #expect(tokenizer.token(-1) == nil && tokenizer.token(300) == nil && tokenizer.id(of: "nothing") == nil)
    #expect(tokenizer.decode([0, 72, -1, 99_999], skipSpecialTokens: false) == "<s>" + tokenizer.decode([72]))
  }

  /// FNV-1a 64 of the offset basis, as its authors' test vectors give it.
  @Test func fingerprintIsFNV1a() {
    #expect(fnv1a([]) == "cbf29ce484222325")
    #expect(fnv1a(Array("foobar".utf8)) == "85944171f73967e8")
  }

  /// Long words go through a heap, short ones through a scan: both must give the same merges.
  @Test func longWordsMergeLikeShortOnes() throws {
    let tokenizer = try Tokenizer(contentsOf: "\(tokenizerFixtures)/trained.json")
    let once = tokenizer.encode("thethere")
    let many = tokenizer.encode(String(repeating: "thethere", count: 40))
    #expect(many == Array(repeating: once, count: 40).flatMap { $0 })
  }

  /// Tokens that take blanks along look at those blanks alone: work that grows with the square would take minutes here.
  @Test func strippingTokensTakeLinearTime() throws {
    let added = #"[{"id": 300, "content": "<tag>", "lstrip": true, "rstrip": true, "special": true}]"#
    let json = Self.changed(
      try Self.document("trained.json").value,
      .object(["added_tokens": try JSON(parsing: added), "post_processor": nil]))
    let tokenizer = try Tokenizer(bytes: Array(json.compact().utf8), path: "tags")
    let letter = try #require(tokenizer.id(of: "a"))
    let text = String(repeating: "a  <tag>  ", count: 30_000)
    #expect(tokenizer.encode(text) == Array(repeating: [letter, 300], count: 30_000).flatMap { $0 })
  }

  /// Beside tokenizers 0.22: an added token of blanks that takes blanks along is found once in them, and of two that normalise to the same
  /// text the last counts.
  @Test func addedTokensOfBlanks() throws {
    func tokenizer(_ added: String, normalizer: String = "null") throws -> Tokenizer {
      let json = Self.changed(
        try Self.document("trained.json").value,
        .object(["added_tokens": try JSON(parsing: added), "normalizer": try JSON(parsing: normalizer), "post_processor": nil]))
      return try Tokenizer(bytes: Array(json.compact().utf8), path: "blanks")
    }
    func blanks(_ left: Bool, _ right: Bool) -> String {
      #"[{"id": 300, "content": "  ", "lstrip": \#(left), "rstrip": \#(right), "special": true}]"#
    }
    let both = try tokenizer(blanks(true, true))
    let (a, b) = (try #require(both.id(of: "a")), try #require(both.id(of: "b")))
    #expect(both.encode("a    b      ") == [a, 300, b, 300])
    #expect(try tokenizer(blanks(true, false)).encode("a    b      ") == [a, 300, 300, b, 300, 300, 300])
    #expect(try tokenizer(blanks(false, true)).encode("a    b      ") == [a, 300, 300, b, 300, 300, 300])
    let twins = #"[{"id": 300, "content": "--", "normalized": true}, {"id": 301, "content": "__", "normalized": true}]"#
    let same = try tokenizer(twins, normalizer: #"{"type": "Replace", "pattern": {"String": "-"}, "content": "_"}"#)
    #expect(same.encode("a--b") == [a, 301, b] && same.encode("a__b") == [a, 301, b])
  }

  /// U+0F73, U+0F75 and U+0F81 are of class 0 and two marks: Python's `unicodedata.normalize` sorts these before another.
  @Test func canonicalOrderOfTibetanVowels() throws {
    let json = Self.changed(
      try Self.document("trained.json").value,
      .object(["normalizer": try JSON(parsing: #"{"type": "NFC"}"#), "added_tokens": [], "post_processor": nil]))
    let tokenizer = try Tokenizer(bytes: Array(json.compact().utf8), path: "nfc")
    for (vowel, marks) in [("\u{F73}", "\u{F71}\u{F72}"), ("\u{F75}", "\u{F71}\u{F74}"), ("\u{F81}", "\u{F71}\u{F80}")] {
      #expect(tokenizer.encode("<\u{307}" + vowel) == tokenizer.encode("<" + marks + "\u{307}"))
    }
  }

  @Test func encodesFromSeveralThreads() async throws {
    let tokenizer = try Tokenizer(contentsOf: "\(tokenizerFixtures)/trained.json")
    let expected = BPETrainerTests.lines.map { tokenizer.encode($0) }
    await withTaskGroup(of: [[Int32]].self) { group in
      for _ in 0..<8 { group.addTask { BPETrainerTests.lines.map { tokenizer.encode($0) } } }
      for await ids in group { #expect(ids == expected) }
    }
  }
}

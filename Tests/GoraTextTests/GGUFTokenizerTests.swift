import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraText

/// Tokenizers of GGUF files: ids as llama.cpp gives them (Tests/Fixtures/gguf-tokenizers/make_fixtures.py) and as the checkpoints' own
/// files give them.
struct GGUFTokenizerTests {
  private static let folder = "\(tokenizerFixtures)/../gguf-tokenizers"

  private static func tokenizer(_ files: CheckpointFiles) throws -> Tokenizer { try #require(try Tokenizer(of: files)) }

  private static func document(_ name: String, of files: CheckpointFiles) throws -> JSONField {
    try #require(try files.document(name)).root
  }

  @Test(arguments: ["gpt-2", "smollm", "llama-bpe", "deepseek-r1-qwen", "default", "llama", "llama-bare"])
  func matchesLlamaCpp(_ name: String) throws {
    let files = try CheckpointFiles("\(Self.folder)/\(name).gguf")
    let tokenizer = try Self.tokenizer(files)
    let cases = try JSONDocument(path: "cases.json", text: readWholeFile("\(Self.folder)/cases.json")).root.required(name)
    let rows = try cases.required("rows").elements
    for row in rows {
      let fields = try row.elements
      let text = try fields[0].string
      let ids = try fields[1].ints.map { Int32($0) }
      #expect(tokenizer.encode(text, addSpecialTokens: true) == ids, "\(text.debugDescription)")
    }
    #expect(rows.count > 100)
    let ends = try Self.document("generation_config.json", of: files).required("eos_token_id").ints
    #expect(try ends == cases.required("ends").ints)
  }

  /// Byte-level texts come back as they were; SentencePiece drops one leading space that it put there.
  @Test(arguments: ["gpt-2", "smollm", "default", "llama", "llama-bare"]) func textsComeBack(_ name: String) throws {
    let tokenizer = try Self.tokenizer(CheckpointFiles("\(Self.folder)/\(name).gguf"))
    for text in ["the cats and dogs", "x1y  12\n\tdon't", "naïve 🙂 漢字"] {
      #expect(tokenizer.decode(tokenizer.encode(text, addSpecialTokens: true)) == text)
    }
  }

  @Test func specialTokensAndTemplates() throws {
    let bytes = try CheckpointFiles("\(Self.folder)/smollm.gguf")
    let tokenizer = try Self.tokenizer(bytes)
    // The padding token is no special one in the file, and does not become one by its name.
    #expect(tokenizer.specialTokens.map(\.name) == ["bos_token", "eos_token"])
    #expect(tokenizer.specialTokens.map(\.text) == ["<s>", "</s>"])
    #expect(tokenizer.isSpecial(300) && tokenizer.isSpecial(304) && !tokenizer.isSpecial(301) && !tokenizer.isSpecial(303))
    #expect(tokenizer.addedToken(301) == Array("<tag>".utf8) && tokenizer.vocabularySize == 305)
    let templates = try Self.document("tokenizer_config.json", of: bytes).required("chat_template").elements
    #expect(try templates.map { try $0.required("name").string } == ["default", "tool_use"])
    let pieces = try CheckpointFiles("\(Self.folder)/llama.gguf")
    #expect(
      try Self.document("tokenizer_config.json", of: pieces).required("chat_template").string
        == "{{ bos_token }}{{ messages[0].content }}")
    #expect(try Self.tokenizer(pieces).beginTokens == [1] && Self.tokenizer(pieces).endTokens == [])
  }

  /// Qwen's tokenizers compose characters, whatever the architecture.
  @Test func qwenComposes() throws {
    var file = try GGUFText(trained: "qwen2")
    file.set("tokenizer.ggml.add_bos_token", .bool(true))
    file.set("tokenizer.ggml.add_eos_token", .bool(true))
    let tokenizer = try Self.tokenizer(file.files())
    #expect(tokenizer.encode("cafe\u{301}") == tokenizer.encode("caf\u{E9}"))
    #expect(tokenizer.beginTokens == [0] && tokenizer.endTokens == [1])
  }

  @Test func filesWithoutATokenizer() throws {
    for name in ["no_vocab", "none"] {
      var file = GGUFText()
      file.set("tokenizer.ggml.model", .string(name))
      #expect(try Tokenizer(of: file.files(vocabulary: 8)) == nil)
    }
    #expect(try Tokenizer(of: GGUFText().files(vocabulary: 8)) == nil)
  }

  // MARK: Refusals

  @Test(
    arguments: [
      ("tokenizer.ggml.model", .string("t5"), "key \"tokenizer.ggml.model\": is \"t5\", which is not supported"),
      ("tokenizer.ggml.model", .string("bert"), "is \"bert\", which is not supported"),
      ("tokenizer.ggml.model", .string("rwkv"), "is \"rwkv\", which is not supported"),
      ("tokenizer.ggml.pre", .string("tekken"), "key \"tokenizer.ggml.pre\": is \"tekken\", which is not supported"),
      ("tokenizer.ggml.tokens", .strings(["a", "b", "a"]), "has the token \"a\" twice, the second time as 2"),
      ("tokenizer.ggml.tokens", .bytes([[0xFF]]), "has a token 0 that is not UTF-8"),
      ("tokenizer.ggml.tokens", .uint32(3), "must be an array"),
      ("tokenizer.ggml.tokens", .strings([]), "has 0 tokens; expected 1 to 2097152"),
      (
        "tokenizer.ggml.tokens", .strings([String(repeating: "a", count: 1025)]),
        "has a token 0 of 1025 bytes; expected at most 1024"
      ),
      ("tokenizer.ggml.token_type", .ints([1, 1]), "has 2 elements for 300 tokens"),
      ("tokenizer.ggml.token_type", .ints(Array(repeating: 9, count: 300)), "is 9 at 0; expected 0 to 6"),
      ("tokenizer.ggml.bos_token_id", .uint32(300), "is 300; expected 0 to 299"),
      ("tokenizer.ggml.add_sep_token", .bool(true), "is true, which is not supported"),
      ("tokenizer.ggml.merges", .strings(["the"]), "two tokens of the vocabulary that make a third"),
      ("tokenizer.ggml.merges", .bytes([[0x61, 0x20, 0xFF]]), "is not UTF-8 at 0"),
      ("tokenizer.ggml.merges", nil, "lacks the key \"tokenizer.ggml.merges\""),
      ("tokenizer.chat_template", .uint32(1), "key \"tokenizer.chat_template\": must be a string"),
      ("tokenizer.ggml.eot_token_id", .uint32(1 << 20), "expected 0 to 299"),
    ] as [(String, GGUFText.Value?, String)])
  func refuses(_ key: String, _ value: GGUFText.Value?, _ problem: String) throws {
    var file = try GGUFText(trained: "gpt-2")
    file.set(key, value)
    let error = #expect(throws: GoraError.self) {
      let files = try file.files()
      _ = try Tokenizer(of: files)
      _ = try files.text("generation_config.json")
    }
    #expect(error?.status == .data && error?.description.contains(problem) == true, "\(error.debugDescription)")
  }

  @Test func refusesScoresThatDoNotBelong() throws {
    for (value, problem) in [
      (nil, "lacks the key \"tokenizer.ggml.scores\""), (.floats([1]), "has 1 elements for 3 tokens"),
      (.floats([1, .nan, 2]), "expected a finite number"),
    ] as [(GGUFText.Value?, String)] {
      var file = GGUFText()
      file.set("tokenizer.ggml.model", .string("llama"))
      file.set("tokenizer.ggml.tokens", .strings(["<unk>", "<s>", "</s>"]))
      file.set("tokenizer.ggml.scores", value)
      let error = #expect(throws: GoraError.self) { _ = try Tokenizer(of: file.files()) }
      #expect(error?.status == .data && error?.description.contains(problem) == true, "\(error.debugDescription)")
    }
  }

  // MARK: Real vocabularies

  /// The vocabularies of the shared tokenizers, written as GGUF, against Hugging Face's ids for 200 strings each.
  @Test(.enabled(if: sharedFolder != nil), arguments: [("gpt2", "gpt-2"), ("llama3", "llama-bpe"), ("qwen2.5", "qwen2")])
  func matchesHuggingFace(_ name: String, _ pre: String) throws {
    let data = try #require(sharedFolder) + "/data"
    let file = try GGUFText(tokenizer: "\(data)/tokenizers/\(name)/tokenizer.json", pre: pre)
    let tokenizer = try Self.tokenizer(file.files())
    try Self.expectGolden(tokenizer, "\(data)/golden/\(name).jsonl")
  }

  private static func expectGolden(_ tokenizer: Tokenizer, _ path: String) throws {
    var rows = 0
    for line in try readWholeFile(path).split(separator: 0x0A) {
      let row = try JSONDocument(path: "golden", text: Array(line)).root
      let text = try row.required("text").string
      #expect(try tokenizer.encode(text) == row.required("ids").ints.map { Int32($0) }, "\(text.debugDescription)")
      rows += 1
    }
    #expect(rows == 200)
  }
}

/// The metadata of a GGUF file of architecture llama, key by key.
struct GGUFText: Sendable {
  enum Value: Sendable {
    case string(String)
    case uint32(UInt32)
    case bool(Bool)
    case strings([String])
    case bytes([[UInt8]])
    case ints([Int32])
    case floats([Float])
  }

  private var keys: [(key: String, value: Value)] = [
    ("general.architecture", .string("llama")), ("llama.context_length", .uint32(64)), ("llama.embedding_length", .uint32(32)),
    ("llama.block_count", .uint32(1)), ("llama.feed_forward_length", .uint32(32)), ("llama.attention.head_count", .uint32(1)),
    ("llama.attention.layer_norm_rms_epsilon", .uint32(1)),
  ]

  init() {}

  /// The byte-level fixture.
  init(trained pre: String) throws {
    try self.init(tokenizer: "\(tokenizerFixtures)/trained.json", pre: pre)
    for (key, id) in [("bos", UInt32(0)), ("eos", 1)] { set("tokenizer.ggml.\(key)_token_id", .uint32(id)) }
  }

  /// A byte-level tokenizer.json.
  init(tokenizer path: String, pre: String) throws {
    let root = try JSONDocument(path: path, text: readWholeFile(path, limit: 1 << 30)).root
    var tokens: [Int: (text: String, type: Int32)] = [:]
    for (token, id) in try root.required("model").required("vocab").members { tokens[try id.int] = (token, 1) }
    for token in try root.required("added_tokens").elements {
      tokens[try token.required("id").int] = (try token.required("content").string, try token.required("special").bool ? 3 : 4)
    }
    let merges = try root.required("model").required("merges").elements.map { merge in
      if case .string(let text) = merge.value.content { return text }
      return try merge.elements.map { try $0.string }.joined(separator: " ")
    }
    let count = (tokens.keys.max() ?? -1) + 1
    set("tokenizer.ggml.model", .string("gpt2"))
    set("tokenizer.ggml.pre", .string(pre))
    set("tokenizer.ggml.tokens", .strings((0..<count).map { tokens[$0]?.text ?? "[PAD\($0)]" }))
    set("tokenizer.ggml.token_type", .ints((0..<count).map { tokens[$0]?.type ?? 5 }))
    set("tokenizer.ggml.merges", .strings(merges))
  }

  mutating func set(_ key: String, _ value: Value?) {
    let place = keys.firstIndex { $0.key == key } ?? keys.count
    keys.removeAll { $0.key == key }
    if let value { keys.insert((key, value), at: min(place, keys.count)) }
  }

  /// The file, opened.
  /// - Parameter vocabulary: for a file without tokens.
  func files(vocabulary: UInt32? = nil) throws -> CheckpointFiles {
    var copy = self
    if let vocabulary { copy.set("llama.vocab_size", .uint32(vocabulary)) }
    let path = FileManager.default.temporaryDirectory.appending(path: "gora-\(UUID().uuidString).gguf").path()
    try Data(copy.encoded).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try CheckpointFiles(path)
  }

  private var encoded: [UInt8] {
    var out = Array("GGUF".utf8)
    func add(_ number: some FixedWidthInteger) { withUnsafeBytes(of: number.littleEndian) { out += $0 } }
    func add(_ bytes: [UInt8]) {
      add(UInt64(bytes.count))
      out += bytes
    }
    func array(_ type: UInt32, _ count: Int) {
      add(UInt32(9))
      add(type)
      add(UInt64(count))
    }
    add(UInt32(3))
    add(UInt64(0))
    add(UInt64(keys.count))
    for (key, value) in keys {
      add(Array(key.utf8))
      switch value {
      case .string(let text):
        add(UInt32(8))
        add(Array(text.utf8))
      case .uint32(let number):
        add(UInt32(4))
        add(number)
      case .bool(let flag):
        add(UInt32(7))
        add(UInt8(flag ? 1 : 0))
      case .strings(let texts):
        array(8, texts.count)
        for text in texts { add(Array(text.utf8)) }
      case .bytes(let texts):
        array(8, texts.count)
        for text in texts { add(text) }
      case .ints(let numbers):
        array(5, numbers.count)
        for number in numbers { add(number) }
      case .floats(let numbers):
        array(6, numbers.count)
        for number in numbers { add(number.bitPattern) }
      }
    }
    return out
  }
}

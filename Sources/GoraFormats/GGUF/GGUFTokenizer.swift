import GoraCore

/// The tokenizer of a GGUF file as the files that stand beside a checkpoint's weights: pure functions of `tokenizer.ggml.*` and
/// `tokenizer.chat_template`.
///
/// Byte-level tokenizers (`gpt2`) and SentencePiece's byte-pair encoding (`llama`), to the ids that llama.cpp gives.
package struct GGUFTokenizer {
  /// The names that `text` may give a text for.
  package static let names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]

  /// The text of one of the files; nil where the metadata say nothing for it.
  /// - Throws: `.data` for a tokenizer that is malformed or not supported, by name.
  package static func text(_ name: String, of file: GGUFFile) throws(GoraError) -> [UInt8]? {
    guard names.contains(name), let tokenizer = try GGUFTokenizer(file) else { return nil }
    switch name {
    case "tokenizer.json": return try tokenizer.tokenizer()
    case "tokenizer_config.json": return Array(try tokenizer.settings().pretty().utf8)
    default: return try tokenizer.generation().map { Array($0.pretty().utf8) }
    }
  }

  /// `tokenizer.ggml.model`.
  private enum Kind {
    case byteLevel(GGUFPreTokenizer)
    case sentencePiece
  }

  /// `tokenizer.ggml.token_type`, by its numbers.
  private enum TokenType: Int {
    case undefined, normal, unknown, control, userDefined, unused, byte

    /// Whether it is looked for in a text before anything else is done with it.
    var isSought: Bool { [.unknown, .control, .userDefined].contains(self) }
  }

  /// Tokens beyond these are refused: tables are as long as the largest id, and a token is cut at each of its characters.
  private static let largestCount = 1 << 21
  private static let longestToken = 1 << 10

  private let file: GGUFFile
  private let kind: Kind
  /// UTF-8, by id, each once.
  private let tokens: [[UInt8]]
  private let types: [TokenType]
  /// Named special tokens in Transformers' order, those with a token of that kind.
  private let named: [(name: String, id: Int)]

  /// - Returns: nil for a file without a tokenizer.
  private init?(_ file: GGUFFile) throws(GoraError) {
    guard let model = file.metadata("tokenizer.ggml.model") else { return nil }
    self.file = file
    switch try model.string {
    case "gpt2": kind = .byteLevel(try .of(file))
    case "llama": kind = .sentencePiece
    case "no_vocab", "none": return nil
    case let name: throw model.error("is \"\(name)\", which is not supported", hint: "supported: gpt2, llama")
    }
    for key in ["add_sep_token", "normalizer.lowercase"] {
      if let flag = file.metadata("tokenizer.ggml.\(key)"), try flag.bool { throw flag.error("is true, which is not supported") }
    }
    let field = try file.required("tokenizer.ggml.tokens")
    tokens = try Self.tokens(field)
    if let embedding = file.tensor("token_embd.weight"), let rows = embedding.shape.first, rows < tokens.count {
      throw field.error("has \(tokens.count) tokens; the embedding has \(rows)")
    }
    let ids = try Self.namedIds(file, count: tokens.count, isSentencePiece: Self.isSentencePiece(kind))
    types = try Self.types(file, tokens: tokens, named: ids.map(\.id))
    let types = types
    // A name makes a token special: one that the file calls a word stays a word.
    named = ids.filter { types[$0.id].isSought }
  }

  private static func isSentencePiece(_ kind: Kind) -> Bool {
    if case .sentencePiece = kind { return true }
    return false
  }

  private static func tokens(_ field: GGUFField) throws(GoraError) -> [[UInt8]] {
    var tokens = try field.byteStrings
    guard 1...largestCount ~= tokens.count else { throw field.error("has \(tokens.count) tokens; expected 1 to \(largestCount)") }
    var known = Set<[UInt8]>(minimumCapacity: tokens.count)
    for id in tokens.indices {
      // As llama.cpp calls it.
      if tokens[id].isEmpty { tokens[id] = Array("[EMPTY_\(id)]".utf8) }
      guard tokens[id].count <= longestToken else {
        throw field.error("has a token \(id) of \(tokens[id].count) bytes; expected at most \(longestToken)")
      }
      guard String(validating: tokens[id], as: UTF8.self) != nil else { throw field.error("has a token \(id) that is not UTF-8") }
      guard known.insert(tokens[id]).inserted else {
        throw field.error("has the token \"\(String(decoding: tokens[id], as: UTF8.self))\" twice, the second time as \(id)")
      }
    }
    return tokens
  }

  /// The ids of `bos_token` and the like; llama.cpp's own for SentencePiece where the file has none.
  private static func namedIds(
    _ file: GGUFFile, count: Int, isSentencePiece: Bool
  ) throws(GoraError) -> [(name: String, id: Int)] {
    let keys = [
      ("bos_token", "bos", 1), ("eos_token", "eos", 2), ("unk_token", "unknown", 0), ("sep_token", "seperator", nil),
      ("pad_token", "padding", nil), ("cls_token", "cls", nil), ("mask_token", "mask", nil),
    ]
    var named: [(name: String, id: Int)] = []
    for (name, key, standard) in keys {
      if let field = file.metadata("tokenizer.ggml.\(key)_token_id") {
        named.append((name, try id(field, count: count)))
      } else if isSentencePiece, let standard, standard < count {
        named.append((name, standard))
      }
    }
    return named
  }

  private static func id(_ field: GGUFField, count: Int) throws(GoraError) -> Int { try field.int(in: 0...count - 1) }

  private static func types(
    _ file: GGUFFile, tokens: [[UInt8]], named: [Int]
  ) throws(GoraError) -> [TokenType] {
    guard let field = file.metadata("tokenizer.ggml.token_type") else {
      // Of old files: what has a name is special.
      var types = [TokenType](repeating: .normal, count: tokens.count)
      for id in named { types[id] = .control }
      return types
    }
    let numbers = try field.ints
    guard numbers.count == tokens.count else { throw field.error("has \(numbers.count) elements for \(tokens.count) tokens") }
    var types: [TokenType] = []
    types.reserveCapacity(tokens.count)
    for (id, number) in numbers.enumerated() {
      guard var type = TokenType(rawValue: number) else {
        throw field.error("is \(number) at \(id); expected \(TokenType.undefined.rawValue) to \(TokenType.byte.rawValue)")
      }
      // Some converters call an end of turn a word of the user's.
      if type == .userDefined, ends.contains(tokens[id]) { type = .control }
      types.append(type)
    }
    return types
  }

  /// Tokens that end an answer wherever they are special: ends of a turn and of a text, as llama.cpp knows them by their spelling.
  private static let ends = Set(
    [
      "<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>",
      "<EOT>", "[EOT]", "[EOS]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ].map { Array($0.utf8) })

  private func text(_ id: Int) -> String { String(decoding: tokens[id], as: UTF8.self) }

  private func id(_ name: String) -> Int? { named.first { $0.name == name }?.id }

  /// A flag of the tokenizer's; nil where the file does not say.
  private func flag(_ name: String) throws(GoraError) -> Bool? { try file.metadata("tokenizer.ggml.\(name)")?.bool }

  // MARK: tokenizer.json

  /// - Throws: `.data` for scores, merges or flags that are malformed or do not belong together.
  private func tokenizer() throws(GoraError) -> [UInt8] {
    var (normalizer, preTokenizer, ignoresMerges, addsBegin): (JSON, JSON, Bool, Bool) = (nil, nil, false, true)
    let decoder: JSON
    switch kind {
    case .byteLevel(let pre):
      (normalizer, preTokenizer) = (pre.normalizer, pre.json)
      (ignoresMerges, addsBegin) = (pre.ignoresMerges, pre.addsBegin)
      decoder = .object(["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true])
    case .sentencePiece:
      let prefixes = try flag("add_space_prefix") ?? true
      let space = Self.replace(" ", with: "\u{2581}")
      let prefix = JSON.object(["type": "Prepend", "prepend": "\u{2581}"])
      normalizer = Self.sequence("normalizers", prefixes ? [prefix, space] : [space])
      let strip = JSON.object(["type": "Strip", "content": " ", "start": 1, "stop": 0])
      decoder = Self.sequence(
        "decoders",
        [Self.replace("\u{2581}", with: " "), .object(["type": "ByteFallback"]), .object(["type": "Fuse"])]
          + (prefixes ? [strip] : []))
    }
    let added = tokens.indices.filter { types[$0].isSought }.map { id in
      JSON.object([
        "id": JSON(id), "content": JSON(text(id)), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        "special": JSON(types[id] != .userDefined),
      ])
    }
    let isSentencePiece = Self.isSentencePiece(kind)
    let unknown: JSON = isSentencePiece ? id("unk_token").map { JSON(text($0)) } ?? nil : nil
    var out: [UInt8] = []
    out.reserveCapacity(tokens.count * 64)
    func add(_ key: String, _ value: JSON) { out += ",\"\(key)\":\(value.compact())".utf8 }
    out += #"{"version":"1.0","truncation":null,"padding":null"#.utf8
    add("added_tokens", JSON(added))
    add("normalizer", normalizer)
    add("pre_tokenizer", preTokenizer)
    add("post_processor", try template(addsBegin: addsBegin))
    add("decoder", decoder)
    out += #","model":{"type":"BPE","dropout":null,"continuing_subword_prefix":null,"end_of_word_suffix":null"#.utf8
    add("unk_token", unknown)
    add("fuse_unk", JSON(isSentencePiece))
    add("byte_fallback", JSON(isSentencePiece))
    add("ignore_merges", JSON(ignoresMerges))
    out += #","vocab":{"#.utf8
    for (id, token) in tokens.enumerated() {
      if id > 0 { out.append(UInt8(ascii: ",")) }
      JSON.quote(utf8: token, into: &out)
      out += ":\(id)".utf8
    }
    out += #"},"merges":["#.utf8
    if isSentencePiece { try addScoredMerges(to: &out) } else { try addMerges(to: &out) }
    out += "]}}".utf8
    return out
  }

  private static func replace(_ pattern: String, with content: String) -> JSON {
    .object(["type": "Replace", "pattern": .object(["String": JSON(pattern)]), "content": JSON(content)])
  }

  private static func sequence(_ key: String, _ steps: [JSON]) -> JSON {
    JSON(.object([JSON.Member("type", "Sequence"), JSON.Member(key, JSON(steps))]))
  }

  /// Those of the file, two tokens with a space between them each.
  private func addMerges(to out: inout [UInt8]) throws(GoraError) {
    let field = try file.required("tokenizer.ggml.merges")
    for (rank, merge) in try field.byteStrings.enumerated() {
      guard String(validating: merge, as: UTF8.self) != nil else { throw field.error("is not UTF-8 at \(rank)") }
      if rank > 0 { out.append(UInt8(ascii: ",")) }
      JSON.quote(utf8: merge, into: &out)
    }
  }

  /// Those that the scores of the tokens stand for.
  private func addScoredMerges(to out: inout [UInt8]) throws(GoraError) {
    let field = try file.required("tokenizer.ggml.scores")
    let scores = try field.floats
    guard scores.count == tokens.count else { throw field.error("has \(scores.count) elements for \(tokens.count) tokens") }
    let takesPart = types.map { [.normal, .userDefined, .undefined].contains($0) }
    for (rank, merge) in GGUFMerges.of(pieces: tokens, scores: scores, takesPart: { takesPart[$0] }).enumerated() {
      out += rank > 0 ? ",[".utf8 : "[".utf8
      JSON.quote(utf8: tokens[merge.left], into: &out)
      out.append(UInt8(ascii: ","))
      JSON.quote(utf8: tokens[merge.right], into: &out)
      out.append(UInt8(ascii: "]"))
    }
  }

  /// `post_processor`: the begin and end tokens that llama.cpp puts around a text.
  private func template(addsBegin standard: Bool) throws(GoraError) -> JSON {
    let begin = try added("bos_token", by: "add_bos_token", standard: standard)
    let end = try added("eos_token", by: "add_eos_token", standard: false)
    if begin == nil, end == nil { return nil }
    func special(_ id: Int, _ type: Int) -> JSON {
      .object(["SpecialToken": .object(["id": JSON(text(id)), "type_id": JSON(type)])])
    }
    func around(_ sequence: JSON, _ type: Int) -> [JSON] {
      (begin.map { [special($0, type)] } ?? []) + [.object(["Sequence": .object(["id": sequence, "type_id": JSON(type)])])]
        + (end.map { [special($0, type)] } ?? [])
    }
    let ids = Set([begin, end].compactMap { $0 }).sorted()
    let tokens = ids.map { id in
      JSON.Member(text(id), .object(["id": JSON(text(id)), "ids": [JSON(id)], "tokens": [JSON(text(id))]]))
    }
    return .object([
      "type": "TemplateProcessing", "single": JSON(around("A", 0)), "pair": JSON(around("A", 0) + around("B", 1)),
      "special_tokens": JSON(.object(tokens)),
    ])
  }

  private func added(_ name: String, by key: String, standard: Bool) throws(GoraError) -> Int? {
    let given = try flag(key)
    guard given ?? standard else { return nil }
    if let id = id(name) { return id }
    guard given == nil else {
      throw try file.required("tokenizer.ggml.\(key)").error("is true, and no special token is the \(name)")
    }
    return nil
  }

  // MARK: The files beside it

  /// tokenizer_config.json: the named tokens and the chat templates.
  private func settings() throws(GoraError) -> JSON {
    var members = [JSON.Member("tokenizer_class", "PreTrainedTokenizerFast")]
    members += named.map { JSON.Member($0.name, JSON(text($0.id))) }
    members.append(JSON.Member("clean_up_tokenization_spaces", false))
    let standard = try file.metadata("tokenizer.chat_template")?.string
    var templates: [(name: String, text: String)] = standard.map { [("default", $0)] } ?? []
    let prefix = "tokenizer.chat_template."
    for key in file.keys where key.hasPrefix(prefix) {
      templates.append((String(key.dropFirst(prefix.count)), try file.required(key).string))
    }
    if let standard, templates.count == 1 {
      members.append(JSON.Member("chat_template", JSON(standard)))
    } else if !templates.isEmpty {
      let list = templates.map { JSON.object(["name": JSON($0.name), "template": JSON($0.text)]) }
      members.append(JSON.Member("chat_template", JSON(list)))
    }
    return JSON(.object(members))
  }

  /// generation_config.json: where an answer ends; nil where nothing says so.
  private func generation() throws(GoraError) -> JSON? {
    var stops: Set<Int> = []
    for key in ["eos", "eot", "eom"] {
      if let field = file.metadata("tokenizer.ggml.\(key)_token_id") { stops.insert(try Self.id(field, count: tokens.count)) }
    }
    if let end = id("eos_token") { stops.insert(end) }
    for id in tokens.indices where types[id] == .control && Self.ends.contains(tokens[id]) { stops.insert(id) }
    guard !stops.isEmpty else { return nil }
    return .object(["eos_token_id": JSON(stops.sorted().map { JSON($0) })])
  }
}

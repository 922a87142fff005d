import GoraCore
import GoraFormats

/// What the files of a checkpoint say about its tokenizer, put together as Transformers' AutoTokenizer (5.23) does.
///
/// Where tokenizer.json is there, `add_bos_token` and `add_eos_token` count for nothing: its post-processor decides.
struct TokenizerFolder: Sendable {
  /// How tokenizer.json is read.
  private(set) var kind = TokenizerKind.asWritten
  /// Tokens to add to those of `kind`, in order.
  private(set) var tokens: [AddedToken] = []
  /// The named special tokens in Transformers' order: `bos_token`, `eos_token`, …; then the model's own, by name.
  private(set) var named: [(name: String, token: AddedToken)] = []
  /// Special tokens in a text are not looked for (`split_special_tokens`).
  private(set) var splitsSpecialTokens = false

  private static let names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]

  /// - Parameters:
  ///   - tokenizer: tokenizer.json, and its text.
  init(_ files: CheckpointFiles, tokenizer: JSONField, text: [UInt8]) throws(GoraError) {
    let config = try files.document("tokenizer_config.json")?.root
    let modelConfig = try files.document("config.json")?.root
    var settings = try config?.members ?? []
    func setting(_ name: String) -> JSONField? {
      settings.first { $0.key == name && $0.field.value.content != .null }?.field
    }

    // Added tokens: tokenizer_config.json's where it lists any; else those of the older files, then tokenizer.json's.
    var listed: [(id: Int, token: AddedToken)] = []
    func list(_ id: Int, _ token: AddedToken) {
      if let i = listed.firstIndex(where: { $0.id == id }) { listed[i].token = token } else { listed.append((id, token)) }
    }
    if let decoder = settings.first(where: { $0.key == "added_tokens_decoder" })?.field {
      for (key, field) in try decoder.members {
        guard let id = Int(key) else { throw field.error("\"\(key)\" must be an id") }
        list(id, try readAddedToken(field))
      }
    } else {
      for (key, field) in try files.document("special_tokens_map.json")?.root.members ?? [] {
        settings.removeAll { $0.key == key }
        settings.append((key, field))
      }
      let special = try Self.specialContents(settings)
      for (content, id) in try files.document("added_tokens.json")?.root.members ?? [] {
        let isSpecial = special.contains(Array(content.utf8))
        list(try id.int, AddedToken(content: Array(content.utf8), normalized: !isSpecial, special: isSpecial))
      }
      for field in try tokenizer.optional("added_tokens")?.elements ?? [] {
        list(try field.required("id").int, try readAddedToken(field))
      }
    }
    listed.sort { $0.id < $1.id }

    let className = try Self.className(
      declared: setting("tokenizer_class")?.string, modelConfig: modelConfig, text: text)
    kind = try TokenizerKind(
      className: className, at: setting("tokenizer_class") ?? tokenizer,
      unknown: setting("unk_token").map { field throws(GoraError) in try Self.text(of: field) },
      sentinels: setting("extra_ids")?.int(in: 0...1024),
      addPrefixSpace: setting("add_prefix_space")?.bool, legacy: setting("legacy")?.bool ?? false)
    if let flag = setting("fix_mistral_regex"), try flag.bool {
      throw flag.error("\"fix_mistral_regex\" is not supported", hint: "save the tokenizer anew with Transformers")
    }
    splitsSpecialTokens = try setting("split_special_tokens")?.bool ?? false

    // A string stands for the listed token of that spelling, if there is one.
    func token(_ field: JSONField) throws(GoraError) -> AddedToken {
      guard case .string(let text) = field.value.content else { return try readAddedToken(field) }
      let content = Array(text.utf8)
      return listed.last { $0.token.content == content }?.token
        ?? AddedToken(content: content, normalized: false, special: true)
    }
    for name in Self.names {
      if let field = settings.first(where: { $0.key == name })?.field {
        if field.value.content != .null { named.append((name, try token(field))) }
      } else if let text = kind.standard[name] {
        named.append((name, AddedToken(content: Array(text.utf8), normalized: false, special: true)))
      } else if name == "pad_token", kind.takesPadToken, let field = try tokenizer.optional("padding")?.optional("pad_token") {
        named.append((name, try token(field)))
      }
    }
    for (key, field) in try Self.ownTokens(settings) { named.append((key, try token(field))) }

    tokens = listed.map(\.token)
    let present = kind == .asWritten ? try tokenizer.optional("added_tokens")?.elements ?? [] : []
    var contents = Set(tokens.map(\.content))
    for field in present { contents.insert(Array(try field.required("content").string.utf8)) }
    let extra = try Self.extraTokens(settings) ?? kind.sentinels
    for token in named.map(\.token) + extra where contents.insert(token.content).inserted {
      tokens.append(token)
    }
    let special = named.map(\.token.content)
    for i in tokens.indices where special.contains(tokens[i].content) { tokens[i].special = true }
    if kind.marksSpecialTokens {
      for content in special + extra.map(\.content) {
        tokens.append(AddedToken(content: content, normalized: false, special: true))
      }
    }
  }

  // MARK: Special tokens

  private static func text(of token: JSONField) throws(GoraError) -> String {
    if case .string(let text) = token.value.content { return text }
    return try token.required("content").string
  }

  /// Special tokens without a name: `extra_special_tokens`, or `additional_special_tokens` of older files where that is no list; nil without
  /// either.
  private static func extraTokens(_ settings: [(key: String, field: JSONField)]) throws(GoraError) -> [AddedToken]? {
    let lists = ["extra_special_tokens", "additional_special_tokens"].lazy.compactMap { name in
      settings.first { $0.key == name }?.field
    }
    guard let list = lists.first(where: { if case .array(let tokens) = $0.value.content { !tokens.isEmpty } else { false } })
    else {
      return nil
    }
    var tokens: [AddedToken] = []
    for field in try list.elements {
      if case .string(let text) = field.value.content {
        tokens.append(AddedToken(content: Array(text.utf8), normalized: false, special: true))
      } else {
        tokens.append(try readAddedToken(field))
      }
    }
    return tokens
  }

  /// Special tokens that the model names itself: keys that end in `_token`, and named `extra_special_tokens`.
  private static func ownTokens(_ settings: [(key: String, field: JSONField)]) throws(GoraError)
    -> [(key: String, field: JSONField)]
  {
    var own = settings.filter { key, field in
      guard key.hasSuffix("_token"), !names.contains(key) else { return false }
      switch field.value.content {
      case .string, .object: return true
      default: return false
      }
    }
    if let extra = settings.first(where: { $0.key == "extra_special_tokens" })?.field, case .object = extra.value.content {
      own += try extra.members
    }
    return own
  }

  private static func specialContents(_ settings: [(key: String, field: JSONField)]) throws(GoraError) -> Set<[UInt8]> {
    var contents = Set(try extraTokens(settings)?.map(\.content) ?? [])
    for (key, field) in settings where names.contains(key) && field.value.content != .null {
      if case .string(let text) = field.value.content {
        contents.insert(Array(text.utf8))
      } else {
        contents.insert(try readAddedToken(field).content)
      }
    }
    return contents
  }

  // MARK: Class

  /// The tokenizer class that AutoTokenizer takes; nil for its general one, which reads tokenizer.json as it is.
  private static func className(
    declared: String?, modelConfig: JSONField?, text: [UInt8]
  ) throws(GoraError) -> String? {
    let model = try modelConfig?.optional("model_type")?.string
    var name = declared
    if name == nil { name = try modelConfig?.optional("tokenizer_class")?.string }
    let declared = name.map { $0.hasSuffix("Fast") ? String($0.dropLast(4)) : $0 }
    // Mistral's tokenizers are always read as they are, Qwen 2's never.
    if model == "mistral" { return nil }
    if model == "qwen2" { return "Qwen2Tokenizer" }
    if declared == "LlamaTokenizer", text.firstRange(of: Array("\"ByteLevel\"".utf8)) != nil { return nil }
    guard declared == nil else { return declared }
    return switch model {
    case "qwen3": "Qwen2Tokenizer"
    case "gemma2", "gemma3_text": "GemmaTokenizer"
    case "t5": "T5Tokenizer"
    case "clip": "CLIPTokenizer"
    default: nil
    }
  }
}

/// How tokenizer.json is read. Some tokenizer classes of Transformers take its vocabulary, merges and post-processor only
/// and put what stands before and behind the model together themselves.
enum TokenizerKind: Sendable, Equatable {
  case asWritten
  case llama(addPrefixSpace: Bool, legacy: Bool)
  case qwen2(addPrefixSpace: Bool)
  case gpt2(addPrefixSpace: Bool)
  case gemma
  /// With so many `<extra_id_…>` where the settings list no special tokens.
  case t5(sentinels: Int)
  case clip(unknown: String)

  /// The id of T5's unknown piece, whatever the file says.
  static let unigramUnknown = 2

  /// Classes that put together a BPE tokenizer in yet another way.
  private static let others = [
    "Bart", "Blenderbot", "CodeLlama", "Cohere", "Deberta", "Esmc", "GPTNeoX", "Herbert", "LED", "LayoutLMv3",
    "Luke", "MarkupLM", "Mvp", "Nllb", "Nougat", "OpenAIGPT", "Qwen3_5", "Reformer", "Roberta", "SeamlessM4T", "Siglip2",
    "Tipsv2", "Whisper",
  ]

  fileprivate init(
    className: String?, at place: JSONField, unknown: String?, sentinels: Int?, addPrefixSpace: Bool?, legacy: Bool
  ) throws(GoraError) {
    switch className {
    case "LlamaTokenizer": self = .llama(addPrefixSpace: addPrefixSpace ?? true, legacy: legacy)
    case "Qwen2Tokenizer": self = .qwen2(addPrefixSpace: addPrefixSpace ?? false)
    case "GemmaTokenizer": self = .gemma
    case "T5Tokenizer": self = .t5(sentinels: sentinels ?? 100)
    case "CLIPTokenizer": self = .clip(unknown: unknown ?? "<|endoftext|>")
    case "GPT2Tokenizer": self = .gpt2(addPrefixSpace: addPrefixSpace ?? false)
    case let name? where Self.others.contains { name == $0 + "Tokenizer" }:
      throw place.error(
        "the tokenizer class \"\(name)\" is not supported: Transformers does not read its tokenizer.json as it is",
        hint:
          "supported: LlamaTokenizer, GemmaTokenizer, Qwen2Tokenizer, GPT2Tokenizer, T5Tokenizer, CLIPTokenizer, PreTrainedTokenizerFast (tokenizer.json as it is)"
      )
    default: self = .asWritten
    }
  }

  /// The special tokens that hold where the settings name none.
  fileprivate var standard: [String: String] {
    switch self {
    case .asWritten: [:]
    case .llama: ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"]
    case .qwen2: ["eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"]
    case .gemma: ["bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"]
    case .gpt2: ["bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"]
    case .t5: ["eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"]
    case .clip:
      [
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
      ]
    }
  }

  /// The special tokens, by name, that are put around a text whatever the file says; nil where the file says it.
  var surroundings: (before: [String], after: [String])? {
    switch self {
    case .t5: ([], ["eos_token"])
    case .clip: (["bos_token"], ["eos_token"])
    case .asWritten, .llama, .qwen2, .gemma, .gpt2: nil
    }
  }

  /// Special tokens that hold where the settings list none.
  fileprivate var sentinels: [AddedToken] {
    guard case .t5(let count) = self else { return [] }
    return (0..<count).map { AddedToken(content: Array("<extra_id_\($0)>".utf8), normalized: false, special: true) }
  }

  /// The token of what a BPE model does not know; nil where it is dropped.
  var unknown: String? {
    if case .clip(let unknown) = self { return unknown }
    return nil
  }

  /// What the last character of a word is looked up with.
  var endOfWord: [UInt8] {
    if case .clip = self { return Array("</w>".utf8) }
    return []
  }

  var isUnigram: Bool {
    if case .t5 = self { return true }
    return false
  }

  /// Whether the padding section of tokenizer.json names the padding token where the settings do not.
  fileprivate var takesPadToken: Bool {
    switch self {
    case .asWritten, .llama: true
    case .qwen2, .gpt2, .gemma, .t5, .clip: false
    }
  }

  /// Whether all special tokens are added once more, as plain ones.
  fileprivate var marksSpecialTokens: Bool {
    if case .qwen2 = self { return true }
    return false
  }

  var normalizers: [TokenizerNormalizer] {
    switch self {
    case .qwen2: [.nfc]
    case .gemma: [.replace([0x20], with: TokenizerPattern.metaspace)]
    case .clip: [.nfc, .replaceMatches(.whitespace, with: [0x20]), .lowercase]
    case .asWritten, .llama, .gpt2, .t5: []
    }
  }

  var preTokenizers: [TokenizerPreTokenizer] {
    switch self {
    case .asWritten, .gemma: []
    case .llama(let addPrefixSpace, let legacy):
      [
        .metaspace(
          replacement: TokenizerPattern.metaspace, scheme: addPrefixSpace ? legacy ? .always : .first : .never, splits: false)
      ]
    case .qwen2(let addPrefixSpace):
      [.split(TokenizerSplit(pattern: .words(digits: 1), behavior: .isolated))] + (addPrefixSpace ? [.prefixSpace] : [])
    case .gpt2(let addPrefixSpace):
      (addPrefixSpace ? [.prefixSpace] : []) + [.split(TokenizerSplit(pattern: .gpt2, behavior: .isolated))]
    case .t5:
      [
        .split(TokenizerSplit(pattern: .whitespace, behavior: .removed)),
        .metaspace(replacement: TokenizerPattern.metaspace, scheme: .always, splits: true),
      ]
    case .clip:
      [
        .split(TokenizerSplit(pattern: .clip, behavior: .removed, inverted: true)),
        .split(TokenizerSplit(pattern: .gpt2, behavior: .isolated)),
      ]
    }
  }

  var decoders: [TokenizerDecoder] {
    let pieces: [TokenizerDecoder] = [.replace(TokenizerPattern.metaspace, with: [0x20]), .byteFallback, .fuse]
    return switch self {
    case .gemma, .llama(addPrefixSpace: false, legacy: _): pieces
    case .llama: pieces + [.strip(content: [0x20], start: 1, stop: 0)]
    case .t5: [.metaspace(replacement: TokenizerPattern.metaspace, dropsFirst: true)]
    case .clip:
      [.byteLevel, .replace(endOfWord, with: [0x20]), .strip(content: [0x20], start: .max, stop: .max)]
    case .asWritten, .qwen2, .gpt2: [.byteLevel]
    }
  }

  var isSentencePiece: Bool {
    switch self {
    case .llama, .gemma: true
    case .asWritten, .qwen2, .gpt2, .t5, .clip: false
    }
  }
}

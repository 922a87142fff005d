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
    for token in named.map(\.token) + (try Self.extraTokens(settings)) where contents.insert(token.content).inserted {
      tokens.append(token)
    }
    let special = named.map(\.token.content)
    for i in tokens.indices where special.contains(tokens[i].content) { tokens[i].special = true }
    if kind.marksSpecialTokens {
      for content in special + (try Self.extraTokens(settings)).map(\.content) {
        tokens.append(AddedToken(content: content, normalized: false, special: true))
      }
    }
  }

  // MARK: Special tokens

  /// Special tokens without a name: `extra_special_tokens`, or `additional_special_tokens` of older files.
  private static func extraTokens(_ settings: [(key: String, field: JSONField)]) throws(GoraError) -> [AddedToken] {
    guard let list = extraField(settings), case .array = list.value.content else { return [] }
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

  private static func extraField(_ settings: [(key: String, field: JSONField)]) -> JSONField? {
    for name in ["extra_special_tokens", "additional_special_tokens"] {
      switch settings.first(where: { $0.key == name })?.field {
      case let field? where field.value.content != .null && field.value.content != .array([]): return field
      default: continue
      }
    }
    return nil
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
    if let extra = extraField(settings), case .object = extra.value.content { own += try extra.members }
    return own
  }

  private static func specialContents(_ settings: [(key: String, field: JSONField)]) throws(GoraError) -> Set<[UInt8]> {
    var contents = Set(try extraTokens(settings).map(\.content))
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

  /// Classes that put together a BPE tokenizer in yet another way.
  private static let others = [
    "Bart", "Blenderbot", "CLIP", "CodeLlama", "Cohere", "Deberta", "Esmc", "GPTNeoX", "Herbert", "LED", "LayoutLMv3",
    "Luke", "MarkupLM", "Mvp", "Nllb", "Nougat", "OpenAIGPT", "Qwen3_5", "Reformer", "Roberta", "SeamlessM4T", "Siglip2",
    "Tipsv2", "Whisper",
  ]

  fileprivate init(
    className: String?, at place: JSONField, addPrefixSpace: Bool?, legacy: Bool
  ) throws(GoraError) {
    switch className {
    case "LlamaTokenizer": self = .llama(addPrefixSpace: addPrefixSpace ?? true, legacy: legacy)
    case "Qwen2Tokenizer": self = .qwen2(addPrefixSpace: addPrefixSpace ?? false)
    case "GemmaTokenizer": self = .gemma
    case "GPT2Tokenizer": self = .gpt2(addPrefixSpace: addPrefixSpace ?? false)
    case let name? where Self.others.contains { name == $0 + "Tokenizer" }:
      throw place.error(
        "the tokenizer class \"\(name)\" is not supported: Transformers does not read its tokenizer.json as it is",
        hint:
          "supported: LlamaTokenizer, GemmaTokenizer, Qwen2Tokenizer, GPT2Tokenizer, PreTrainedTokenizerFast (tokenizer.json as it is)"
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
    }
  }

  /// Whether the padding section of tokenizer.json names the padding token where the settings do not.
  fileprivate var takesPadToken: Bool {
    switch self {
    case .asWritten, .llama: true
    case .qwen2, .gpt2, .gemma: false
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
    case .asWritten, .llama, .gpt2: []
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
    }
  }

  var decoders: [TokenizerDecoder] {
    let pieces: [TokenizerDecoder] = [.replace(TokenizerPattern.metaspace, with: [0x20]), .byteFallback, .fuse]
    return switch self {
    case .gemma, .llama(addPrefixSpace: false, legacy: _): pieces
    case .llama: pieces + [.strip(content: [0x20], start: 1, stop: 0)]
    case .asWritten, .qwen2, .gpt2: [.byteLevel]
    }
  }

  var isSentencePiece: Bool {
    switch self {
    case .llama, .gemma: true
    case .asWritten, .qwen2, .gpt2: false
    }
  }
}

import GoraCore
import GoraFormats

/// What a tokenizer.json says, in the order of the work. `truncation` and `padding` are the caller's business
/// (transformers sets both anew at every call) and are not read.
struct TokenizerParts: Sendable {
  var addedTokens: [AddedToken]
  var normalizers: [TokenizerNormalizer]
  var preTokenizers: [TokenizerPreTokenizer]
  var model: TokenizerModel
  var templates: [TokenizerTemplate]
  /// nil where the file names none.
  var decoders: [TokenizerDecoder]?

  init(_ root: JSONField, kind: TokenizerKind = .asWritten) throws(GoraError) {
    addedTokens = []
    var isByteLevel = kind != .asWritten && !kind.isSentencePiece && !kind.isUnigram
    if kind == .asWritten {
      normalizers = try root.optional("normalizer").map { field throws(GoraError) in try readNormalizers(field) } ?? []
      preTokenizers = []
      if let field = try root.optional("pre_tokenizer") {
        try readPreTokenizers(field, into: &preTokenizers, isByteLevel: &isByteLevel)
      }
      decoders = try root.optional("decoder").map { field throws(GoraError) in try readDecoders(field) }
      for field in try root.optional("added_tokens")?.elements ?? [] { addedTokens.append(try readAddedToken(field)) }
    } else {
      normalizers = kind.normalizers
      if kind.isUnigram, let charsmap = try readFirstCharsmap(root) { normalizers.append(.precompiled(charsmap)) }
      preTokenizers = kind.preTokenizers
      decoders = kind.decoders
    }
    model = try readModel(root.required("model"), isByteLevel: isByteLevel, kind: kind)
    // Where no merge joins a word to the space behind it, cutting there changes no id and makes words worth remembering.
    if case .bpe(let model) = model, !isByteLevel, model.endOfWord.isEmpty, !model.ignoresMerges, !model.merges.crossesMetaspace,
      model.vocabulary.id(of: TokenizerPattern.metaspace) != nil
    {
      preTokenizers.append(.split(TokenizerSplit(pattern: .metaspaceWord, behavior: .isolated)))
    }
    templates = try root.optional("post_processor").map { field throws(GoraError) in try readTemplates(field) } ?? []
  }
}

/// A token as `added_tokens` and Transformers' `AddedToken` spell it; the older keys are false where they are absent.
func readAddedToken(_ field: JSONField) throws(GoraError) -> AddedToken {
  let special = try field.flag("special")
  return AddedToken(
    content: try field.required("content").bytes, singleWord: try field.flag("single_word"),
    stripsLeft: try field.flag("lstrip"), stripsRight: try field.flag("rstrip"),
    normalized: try field.optional("normalized")?.bool ?? !special, special: special)
}

/// Ids beyond this are refused: tables are as long as the largest id.
private let largestId = 1 << 21

extension JSONField {
  /// A flag that is false where absent.
  fileprivate func flag(_ key: String) throws(GoraError) -> Bool { try optional(key)?.bool ?? false }

  fileprivate var bytes: [UInt8] {
    get throws(GoraError) { Array(try string.utf8) }
  }

  fileprivate func unsupported(_ what: String, _ known: [String]) -> GoraError {
    error("\(what) is not supported", hint: "supported: \(known.joined(separator: ", "))")
  }
}

/// The elements of a `Sequence` under `key`, or the field itself.
private func sequence(_ field: JSONField, _ key: String) throws(GoraError) -> [JSONField] {
  guard try field.required("type").string == "Sequence" else { return [field] }
  var all: [JSONField] = []
  for element in try field.required(key).elements { all += try sequence(element, key) }
  return all
}

private func readLiteral(_ pattern: JSONField, of what: String) throws(GoraError) -> [UInt8] {
  guard let literal = try pattern.optional("String") else {
    let regex = try pattern.required("Regex").string
    throw pattern.unsupported("the regular expression \"\(regex)\" of \(what)", ["a String pattern"])
  }
  return try literal.bytes
}

// MARK: - Normalizer, pre-tokenizer

private func readNormalizers(_ field: JSONField) throws(GoraError) -> [TokenizerNormalizer] {
  var normalizers: [TokenizerNormalizer] = []
  for step in try sequence(field, "normalizers") {
    switch try step.required("type").string {
    case "NFC": normalizers.append(.nfc)
    case "Lowercase": normalizers.append(.lowercase)
    case "Precompiled": normalizers.append(.precompiled(try readCharsmap(step)))
    case "Prepend": normalizers.append(.prepend(try step.required("prepend").bytes))
    case "Replace":
      let (pattern, content) = (try step.required("pattern"), try step.required("content").bytes)
      if let regex = try pattern.optional("Regex") {
        normalizers.append(.replaceMatches(try readExpression(regex, of: "the normalizer Replace"), with: content))
      } else {
        normalizers.append(.replace(try pattern.required("String").bytes, with: content))
      }
    case let type:
      throw step.unsupported(
        "the normalizer \"\(type)\"", ["NFC", "Lowercase", "Precompiled", "Prepend", "Replace", "Sequence"])
    }
  }
  return normalizers
}

/// An expression that finds more than nothing.
private func readExpression(_ field: JSONField, of what: String) throws(GoraError) -> TokenizerPattern {
  let regex = try field.string
  if let known = TokenizerPattern.known.first(where: { $0.regex == regex }) { return known.pattern }
  guard let expression = RegularExpression(regex, dialect: .oniguruma), !expression.matchesNothing else {
    throw field.unsupported(
      "the regular expression \"\(regex)\" of \(what)",
      ["characters, classes, \\p{…}, groups, (?i:…), quantifiers, one character looked at ahead"])
  }
  return .expression(expression)
}

private func readCharsmap(_ field: JSONField) throws(GoraError) -> PrecompiledCharsmap {
  let text = try field.required("precompiled_charsmap")
  guard let bytes = Base64.decoded(try text.string), let charsmap = PrecompiledCharsmap(bytes) else {
    throw text.error("\"precompiled_charsmap\" is damaged")
  }
  return charsmap
}

/// The table that T5's tokenizer class takes, whatever stands beside it.
private func readFirstCharsmap(_ root: JSONField) throws(GoraError) -> PrecompiledCharsmap? {
  guard let field = try root.optional("normalizer") else { return nil }
  for step in try sequence(field, "normalizers") where try step.required("type").string == "Precompiled" {
    return try readCharsmap(step)
  }
  return nil
}

private func readPreTokenizers(
  _ field: JSONField, into steps: inout [TokenizerPreTokenizer], isByteLevel: inout Bool
) throws(GoraError) {
  for step in try sequence(field, "pretokenizers") {
    let type = try step.required("type").string
    if isByteLevel { throw step.error("the pre-tokenizer \"\(type)\" follows ByteLevel, which must be the last") }
    switch type {
    case "ByteLevel":
      if try step.optional("add_prefix_space")?.bool ?? true { steps.append(.prefixSpace) }
      if try step.optional("use_regex")?.bool ?? true {
        steps.append(.split(TokenizerSplit(pattern: .gpt2, behavior: .isolated)))
      }
      isByteLevel = true
    case "Split": steps.append(.split(try readSplit(step)))
    case "WhitespaceSplit": steps.append(.split(TokenizerSplit(pattern: .whitespace, behavior: .removed)))
    case "Digits":
      let individual = try step.flag("individual_digits")
      steps.append(.split(TokenizerSplit(pattern: .number, behavior: individual ? .isolated : .contiguous)))
    case "Metaspace": steps.append(try readMetaspace(step))
    default:
      throw step.unsupported(
        "the pre-tokenizer \"\(type)\"", ["ByteLevel", "Split", "WhitespaceSplit", "Digits", "Metaspace", "Sequence"])
    }
  }
}

private func readSplit(_ field: JSONField) throws(GoraError) -> TokenizerSplit {
  let name = try field.required("behavior").string
  guard let behavior = TokenizerSplitBehavior(rawValue: name) else {
    throw field.unsupported("the split behavior \"\(name)\"", TokenizerSplitBehavior.allCases.map(\.rawValue))
  }
  let source = try field.required("pattern")
  let pattern: TokenizerPattern
  if let regex = try source.optional("Regex") {
    pattern = try readExpression(regex, of: "the pre-tokenizer Split")
  } else {
    pattern = .literal(try source.required("String").bytes)
  }
  return TokenizerSplit(pattern: pattern, behavior: behavior, inverted: try field.flag("invert"))
}

/// The scheme in both spellings: `prepend_scheme`, and `add_prefix_space` of older files.
private func metaspaceScheme(_ field: JSONField) throws(GoraError) -> TokenizerPreTokenizer.PrependScheme {
  if let name = try field.optional("prepend_scheme")?.string {
    guard let scheme = TokenizerPreTokenizer.PrependScheme(rawValue: name) else {
      throw field.unsupported(
        "the prepend_scheme \"\(name)\"", TokenizerPreTokenizer.PrependScheme.allCases.map(\.rawValue))
    }
    return scheme
  }
  return try field.optional("add_prefix_space")?.bool ?? true ? .always : .never
}

private func readMetaspace(_ field: JSONField) throws(GoraError) -> TokenizerPreTokenizer {
  .metaspace(
    replacement: try field.required("replacement").bytes, scheme: try metaspaceScheme(field),
    splits: try field.optional("split")?.bool ?? true)
}

// MARK: - Model

private func readModel(_ field: JSONField, isByteLevel: Bool, kind: TokenizerKind) throws(GoraError) -> TokenizerModel {
  let models = kind == .asWritten ? ["BPE", "Unigram"] : [kind.isUnigram ? "Unigram" : "BPE"]
  var type = try field.optional("type")?.string
  // Files of old versions name no type.
  if type == nil { type = try field.optional("merges") != nil ? "BPE" : try field.optional("unk_id") != nil ? "Unigram" : nil }
  guard let type else { throw field.unsupported("a model without type, merges and unk_id", models) }
  guard models.contains(type) else {
    throw field.unsupported("the model \"\(type)\"\(kind == .asWritten ? "" : " of this tokenizer class")", models)
  }
  return type == "BPE"
    ? .bpe(try readBPE(field, isByteLevel: isByteLevel, kind: kind))
    : .unigram(try readUnigram(field, isByteLevel: isByteLevel, kind: kind))
}

private func readUnigram(_ field: JSONField, isByteLevel: Bool, kind: TokenizerKind) throws(GoraError) -> TokenizerUnigram {
  if isByteLevel { throw field.unsupported("the pre-tokenizer ByteLevel before a Unigram model", ["BPE"]) }
  let pieces = try field.required("vocab").elements
  guard (1...largestId).contains(pieces.count) else {
    throw try field.required("vocab").error("\"vocab\" has \(pieces.count) pieces; expected 1 to \(largestId)")
  }
  var vocabulary = TokenizerVocabulary(capacity: pieces.count)
  var scores: [Double] = []
  scores.reserveCapacity(pieces.count)
  for (id, piece) in pieces.enumerated() {
    let pair = try piece.elements
    guard pair.count == 2 else { throw piece.error("\(piece.name) must be a piece and its score") }
    let score = try pair[1].double
    guard score.isFinite else { throw pair[1].error("the score of \(piece.name) is not finite") }
    guard vocabulary.insert(try pair[0].string, id: Int32(id)) else {
      throw piece.error("\(piece.name): the piece \"\(try pair[0].string)\" stands twice")
    }
    scores.append(score)
  }
  let unknown: Int
  if kind == .asWritten {
    unknown = try field.required("unk_id").int(in: 0...pieces.count - 1)
  } else {
    unknown = TokenizerKind.unigramUnknown
    guard unknown < pieces.count else {
      throw field.error("\"vocab\" has no piece \(unknown), the unknown one of this tokenizer class")
    }
  }
  let fallsBack = kind == .asWritten ? try field.flag("byte_fallback") : false
  return TokenizerUnigram(
    vocabulary, scores: scores, unknown: Int32(unknown), byteTokens: fallsBack ? byteTokens(of: vocabulary) : [])
}

private func readBPE(_ field: JSONField, isByteLevel: Bool, kind: TokenizerKind) throws(GoraError) -> TokenizerBPE {
  let vocabulary = try readVocabulary(field.required("vocab"))
  let merges = try readMerges(field.required("merges"), vocabulary)
  func id(ofUnknown text: String, _ field: JSONField) throws(GoraError) -> Int32 {
    guard let id = vocabulary.id(of: text) else {
      throw field.error("the unknown token \"\(text)\" is not in the vocabulary")
    }
    return id
  }
  guard kind == .asWritten else {
    return TokenizerBPE(
      vocabulary: vocabulary, merges: merges,
      unknown: try kind.unknown.map { text throws(GoraError) in try id(ofUnknown: text, field) },
      fusesUnknown: kind.isSentencePiece,
      byteTokens: kind.isSentencePiece ? byteTokens(of: vocabulary) : [], isByteLevel: isByteLevel,
      endOfWord: kind.endOfWord)
  }
  if let dropout = try field.optional("dropout"), try dropout.double > 0 {
    throw dropout.unsupported("dropout", ["a model without dropout"])
  }
  if let prefix = try field.optional("continuing_subword_prefix"), try !prefix.string.isEmpty {
    throw prefix.unsupported("the continuing_subword_prefix \"\(try prefix.string)\"", ["null or \"\""])
  }
  let unknown = try field.optional("unk_token").map { token throws(GoraError) in try id(ofUnknown: token.string, token) }
  let fallsBack = try field.flag("byte_fallback")
  let endOfWord = try field.optional("end_of_word_suffix")?.bytes ?? []
  if fallsBack, !endOfWord.isEmpty {
    throw field.unsupported("byte_fallback beside an end_of_word_suffix", ["one of them"])
  }
  return TokenizerBPE(
    vocabulary: vocabulary, merges: merges, unknown: unknown, fusesUnknown: try field.flag("fuse_unk"),
    ignoresMerges: try field.flag("ignore_merges"),
    byteTokens: fallsBack ? byteTokens(of: vocabulary) : [], isByteLevel: isByteLevel, endOfWord: endOfWord)
}

/// Ids of `<0x00>`…`<0xFF>`, -1 where absent.
private func byteTokens(of vocabulary: TokenizerVocabulary) -> [Int32] {
  (0..<256).map { byte in
    let hex = String(byte, radix: 16, uppercase: true)
    return vocabulary.id(of: "<0x" + (hex.count == 1 ? "0" : "") + hex + ">") ?? -1
  }
}

private func readVocabulary(_ field: JSONField) throws(GoraError) -> TokenizerVocabulary {
  guard case .object(let members) = field.value.content else { throw field.error("\"vocab\" must be an object") }
  var vocabulary = TokenizerVocabulary(capacity: members.count)
  for (i, member) in members.enumerated() {
    guard case .integer(let id) = member.value.content, (0...largestId).contains(id) else {
      throw try field.members[i].field.error("the id of \"\(member.key)\" must be an integer from 0 to \(largestId)")
    }
    guard vocabulary.insert(member.key, id: Int32(id)) else {
      throw try field.members[i].field.error("id \(id) is given to two tokens, the second is \"\(member.key)\"")
    }
  }
  return vocabulary
}

/// Both spellings: `"a b"` and `["a", "b"]`.
private func readMerges(_ field: JSONField, _ vocabulary: TokenizerVocabulary) throws(GoraError) -> TokenizerMerges {
  guard case .array(let values) = field.value.content else { throw field.error("\"merges\" must be an array") }
  var merges = TokenizerMerges(capacity: values.count)
  var joined: [UInt8] = []
  for (rank, value) in values.enumerated() {
    joined.removeAll(keepingCapacity: true)
    let middle: Int?
    switch value.content {
    case .string(let text):
      joined.append(contentsOf: text.utf8)
      middle = joined.firstIndex(of: 0x20)
      if let middle { joined.remove(at: middle) }
    case .array(let pair) where pair.count == 2:
      guard case .string(let left) = pair[0].content, case .string(let right) = pair[1].content else { fallthrough }
      joined.append(contentsOf: left.utf8)
      middle = joined.count
      joined.append(contentsOf: right.utf8)
    default: middle = nil
    }
    if let middle, joined[middle...].starts(with: TokenizerPattern.metaspace),
      !joined[..<middle].suffix(3).elementsEqual(TokenizerPattern.metaspace)
    {
      merges.crossesMetaspace = true
    }
    let ids = joined.withUnsafeBytes { joined -> (Int32, Int32, Int32)? in
      guard let middle, let left = vocabulary.id(of: UnsafeRawBufferPointer(rebasing: joined[..<middle])),
        let right = vocabulary.id(of: UnsafeRawBufferPointer(rebasing: joined[middle...])),
        let merged = vocabulary.id(of: joined)
      else { return nil }
      return (left, right, merged)
    }
    guard let (left, right, merged) = ids else {
      throw try field.elements[rank].error(
        "merges[\(rank)] must be two tokens of the vocabulary that make a third; it is \(value.compact())")
    }
    merges.insert(left, right, rank: rank, id: merged)
  }
  return merges
}

// MARK: - Post-processor, decoder

private func readTemplates(_ field: JSONField) throws(GoraError) -> [TokenizerTemplate] {
  var templates: [TokenizerTemplate] = []
  for step in try sequence(field, "processors") {
    switch try step.required("type").string {
    // Moves offsets only.
    case "ByteLevel": break
    case "TemplateProcessing": templates.append(try readTemplate(step))
    case "BertProcessing", "RobertaProcessing":
      templates.append(TokenizerTemplate(before: [try readNamedId(step, "cls")], after: [try readNamedId(step, "sep")]))
    case let type:
      throw step.unsupported(
        "the post-processor \"\(type)\"",
        ["TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence"])
    }
  }
  return templates
}

/// The id of `["<s>", 0]`.
private func readNamedId(_ field: JSONField, _ key: String) throws(GoraError) -> Int32 {
  let pair = try field.required(key)
  guard try pair.elements.count == 2 else { throw pair.error("\(pair.name) must be a token and its id") }
  return Int32(try pair.elements[1].int(in: 0...largestId))
}

private func readTemplate(_ field: JSONField) throws(GoraError) -> TokenizerTemplate {
  var parts: [[Int32]] = [[]]
  for item in try field.required("single").elements {
    if let sequence = try item.optional("Sequence") {
      let id = try sequence.required("id").string
      guard id == "A", parts.count == 1 else { throw sequence.unsupported("this template", ["sequence A once"]) }
      parts.append([])
    } else {
      let name = try item.required("SpecialToken").required("id").string
      for id in try field.required("special_tokens").required(name).required("ids").elements {
        parts[parts.count - 1].append(Int32(try id.int(in: 0...largestId)))
      }
    }
  }
  guard parts.count == 2 else { throw field.unsupported("this template", ["sequence A once"]) }
  return TokenizerTemplate(before: parts[0], after: parts[1])
}

private func readDecoders(_ field: JSONField) throws(GoraError) -> [TokenizerDecoder] {
  var decoders: [TokenizerDecoder] = []
  for step in try sequence(field, "decoders") {
    switch try step.required("type").string {
    case "ByteLevel": decoders.append(.byteLevel)
    case "ByteFallback": decoders.append(.byteFallback)
    case "Fuse": decoders.append(.fuse)
    case "Replace":
      let pattern = try readLiteral(step.required("pattern"), of: "the decoder Replace")
      decoders.append(.replace(pattern, with: try step.required("content").bytes))
    case "Strip":
      decoders.append(
        .strip(
          content: try step.required("content").bytes, start: try step.required("start").int(in: 0...1024),
          stop: try step.required("stop").int(in: 0...1024)))
    case "Metaspace":
      decoders.append(
        .metaspace(replacement: try step.required("replacement").bytes, dropsFirst: try metaspaceScheme(step) != .never))
    case let type:
      throw step.unsupported(
        "the decoder \"\(type)\"", ["ByteLevel", "ByteFallback", "Fuse", "Replace", "Strip", "Metaspace", "Sequence"])
    }
  }
  return decoders
}

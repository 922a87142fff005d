import GoraCore
import GoraFormats
import Synchronization

/// A tokenizer read from a HuggingFace tokenizer.json: encodes and decodes as the `tokenizers` library (0.23) does.
///
/// BPE models, byte-level (GPT-2, Llama 3, Qwen 2), with an end of words (CLIP) and SentencePiece-style with byte fallback
/// (Llama 2, Mistral); Unigram models (T5).
package final class Tokenizer: Sendable {
  /// FNV-1a 64 of the file's bytes, in hexadecimal.
  package let fingerprint: String

  private let parts: TokenizerParts
  private let plainTokens: AddedTokenFinder
  private let normalizedTokens: AddedTokenFinder
  private let added: AddedVocabulary
  /// Added tokens as HF spells them by id: normalised where they are looked for so.
  private let spellings: TokenizerVocabulary
  private let special: Set<Int32>
  private let named: [(name: String, token: AddedToken)]
  private let scratch = Mutex(TokenizerScratch())

  /// Reads a tokenizer.json by itself.
  /// - Throws: `.noInput` for a file that cannot be read, `.data` for what is malformed or not supported, by name.
  package convenience init(contentsOf path: String) throws(GoraError) {
    try self.init(bytes: try readWholeFile(path, limit: FileLimit.companion), path: path)
  }

  /// Reads the tokenizer of a checkpoint as Transformers' AutoTokenizer does: tokenizer.json with what
  /// tokenizer_config.json, special_tokens_map.json and added_tokens.json add to it; nil where it has no tokenizer.json.
  package convenience init?(of files: CheckpointFiles) throws(GoraError) {
    guard let bytes = try files.text("tokenizer.json", limit: FileLimit.companion) else { return nil }
    try self.init(bytes: bytes, path: files.place("tokenizer.json"), files: files)
  }

  /// Reads the text of a tokenizer.json; `path` is for errors, `files` are those beside it.
  package init(bytes: [UInt8], path: String, files: CheckpointFiles? = nil) throws(GoraError) {
    fingerprint = fnv1a(bytes)
    let root = try JSONDocument(path: path, text: bytes, isMade: files?.gguf != nil).root
    let settings = try files.map { files throws(GoraError) in try TokenizerFolder(files, tokenizer: root, text: bytes) }
    var parts = try TokenizerParts(root, kind: settings?.kind ?? .asWritten)
    var added = AddedVocabulary()
    added.add(parts.addedTokens, to: parts.model.vocabulary)
    added.add(settings?.tokens ?? [], to: parts.model.vocabulary)

    if let settings, let surroundings = settings.kind.surroundings {
      func id(_ name: String) throws(GoraError) -> Int32 {
        guard let token = settings.named.first(where: { $0.name == name }), let id = added.id(of: token.token.content) else {
          throw root.error("the checkpoint names no \(name), which this tokenizer class puts around a text")
        }
        return id
      }
      parts.templates = [
        TokenizerTemplate(
          before: try surroundings.before.map { name throws(GoraError) in try id(name) },
          after: try surroundings.after.map { name throws(GoraError) in try id(name) })
      ]
    }

    var spellings = TokenizerVocabulary(capacity: added.size - parts.model.vocabulary.count)
    var finders: [AddedTokenFinder] = []
    for normalized in [false, true] {
      var entries: [AddedTokenFinder.Entry] = []
      for (content, id, token) in added.sought(normalized: normalized) {
        var spelling = AlignedText(content, tracksSources: false)
        if normalized { for normalizer in parts.normalizers { normalizer.apply(to: &spelling) } }
        guard !spelling.bytes.isEmpty else {
          throw root.error("the added token \"\(String(decoding: content, as: UTF8.self))\" is nothing once it is normalised")
        }
        _ = spellings.insert(String(decoding: spelling.bytes, as: UTF8.self), id: id)
        if settings?.splitsSpecialTokens == true, added.isSpecial(content) { continue }
        entries.append(AddedTokenFinder.Entry(bytes: spelling.bytes, id: id, token: token))
      }
      finders.append(AddedTokenFinder(entries))
    }
    self.parts = parts
    self.added = added
    self.spellings = spellings
    named = settings?.named ?? []
    special = Set(added.specialIds)
    plainTokens = finders[0]
    normalizedTokens = finders[1]
    for id in beginTokens + endTokens where token(id) == nil {
      throw root.error("the post-processor puts id \(id) around a text, which is no token of the vocabulary")
    }
  }

  /// The ids of a text. Added tokens in it (`<s>`) are taken for themselves; `addSpecialTokens` applies the template.
  package func encode(_ text: String, addSpecialTokens: Bool = false) -> [Int32] {
    let ids = tokenize(text, withOffsets: false).ids
    return addSpecialTokens ? beginTokens + ids + endTokens : ids
  }

  /// The ids of a text, none put around them, with the bytes of the text that each stands for.
  ///
  /// As HF's offsets before its post-processor, in bytes: whole characters, so that tokens of one character's bytes have the
  /// same range. A character that normalisation made of several stands for all of them.
  package func tokenized(_ text: String) -> TokenizedText { tokenize(text, withOffsets: true) }

  private func tokenize(_ text: String, withOffsets: Bool) -> TokenizedText {
    // A second thread does not wait: it works without the words remembered.
    let done = scratch.withLockIfAvailable { tokenize(text, withOffsets: withOffsets, &$0) }
    if let done { return done }
    var own = TokenizerScratch()
    return tokenize(text, withOffsets: withOffsets, &own)
  }

  private func tokenize(_ text: String, withOffsets: Bool, _ scratch: inout TokenizerScratch) -> TokenizedText {
    let text = AlignedText(Array(text.utf8), tracksSources: withOffsets)
    var tokens = WordTokens()
    var offsets: [Range<Int>] = []
    func append(_ token: Int32, _ range: Range<Int>, of text: AlignedText) {
      tokens.append(token, end: range.count)
      if withOffsets { offsets.append(text.source(of: range)) }
    }
    plainTokens.split(text.bytes) { range, token in
      if let token { return append(token, range, of: text) }
      var part = text[range]
      for normalizer in parts.normalizers { normalizer.apply(to: &part) }
      normalizedTokens.split(part.bytes) { piece, token in
        if let token { return append(token, piece, of: part) }
        var pieces = TextPieces(part[piece])
        for step in parts.preTokenizers {
          step.apply(to: &pieces, atStart: range.lowerBound == 0 && piece.lowerBound == 0)
        }
        pieces.text.bytes.withUnsafeBytes { bytes in
          for word in pieces.ranges {
            let first = tokens.ids.count
            scratch.tokenize(UnsafeRawBufferPointer(rebasing: bytes[word]), with: parts.model, into: &tokens)
            guard withOffsets else { continue }
            var start = word.lowerBound
            for end in tokens.ends[first...] {
              let end = max(start, word.lowerBound + Int(end))
              offsets.append(pieces.text.source(of: start..<end))
              start = end
            }
          }
        }
      }
    }
    return TokenizedText(ids: tokens.ids, offsets: offsets)
  }

  /// What the post-processor puts in front of a single text; a template with only a suffix puts nothing there.
  package var beginTokens: [Int32] { parts.templates.reversed().flatMap(\.before) }

  /// What the post-processor puts behind a single text.
  package var endTokens: [Int32] { parts.templates.flatMap(\.after) }

  /// The text of some ids; ids that are no token are left out.
  package func decode(_ ids: [Int32], skipSpecialTokens: Bool = true) -> String {
    var tokens = TokenizerPieces()
    for id in ids where !(skipSpecialTokens && special.contains(id)) {
      guard let token = bytes(of: id) else { continue }
      // Without a decoder HF joins the tokens with spaces.
      if parts.decoders == nil, !tokens.ranges.isEmpty { tokens.append(" ".utf8) }
      tokens.append(token)
    }
    for decoder in parts.decoders ?? [] { tokens = decoder.apply(to: tokens) }
    return String(decoding: tokens.bytes, as: UTF8.self)
  }

  /// The id of a token of the vocabulary or an added token.
  package func id(of token: String) -> Int32? {
    added.id(of: Array(token.utf8)) ?? parts.model.vocabulary.id(of: token)
  }

  /// The token of an id, in the vocabulary's own spelling (`Ġthe`, `▁the`).
  package func token(_ id: Int32) -> String? {
    bytes(of: id).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The bytes that a token stands for inside a text: of a token that has a part of a character only, no text by themselves. None for ids
  /// that are no token.
  package func textBytes(of id: Int32) -> [UInt8] {
    if let added = added.content(of: id) { return added }
    guard let token = bytes(of: id) else { return [] }
    return (parts.decoders ?? []).reduce(Array(token)) { $1.bytes(of: $0) }
  }

  private func bytes(of id: Int32) -> ArraySlice<UInt8>? { spellings.token(id) ?? parts.model.vocabulary.token(id) }

  /// Largest id + 1.
  package var vocabularySize: Int { max(added.size, parts.model.vocabulary.size) }

  /// The special tokens that the checkpoint's files name (`bos_token`, `eos_token`, …) with their texts, as chat templates see
  /// them; none for a tokenizer.json by itself.
  package var specialTokens: [(name: String, text: String)] {
    named.map { ($0.name, String(decoding: $0.token.content, as: UTF8.self)) }
  }

  /// The id of a named special token; nil where the checkpoint names none.
  package func specialId(_ name: String) -> Int32? {
    named.first { $0.name == name }.flatMap { added.id(of: $0.token.content) }
  }

  /// Whether the id is an added token marked special (begin, end, …), which `decode` leaves out.
  package func isSpecial(_ id: Int32) -> Bool { special.contains(id) }

  package func addedToken(_ id: Int32) -> [UInt8]? { added.content(of: id) }
}

func fnv1a(_ bytes: [UInt8]) -> String {
  var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
  let hex = String(hash, radix: 16)
  return String(repeating: "0", count: 16 - hex.count) + hex
}

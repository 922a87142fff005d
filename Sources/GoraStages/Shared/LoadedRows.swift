import Glibc
import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// The data options that gora-grad, gora-train and gora-eval share.
package struct DataOptions: Sendable {
  package var paths: [String]
  /// A name of `Template.names` or a file; nil for the defaults.
  package var template: String?
  package var maxLength: Int
  package var skipsBadRows: Bool
  /// What of each row is learnt.
  package var learning: LearntPart
  /// The files are GLUE's, of this task, put in these words; nil for JSON.
  package var glue: (task: GLUETask, wording: GLUETask.Wording)?
  /// The classes of images: a known set or a file of names; nil for those of the labels.
  package var classes: String?
  /// The texts about a class: a known set or a file of them; nil for one.
  package var templates: String?
  /// What templates that ask for it take for the present, as `ChatTemplate.present` has it.
  var date: Int

  /// All files that are read for rows, a template's included.
  var inputs: [String] { paths + [template, classes, templates].compactMap { $0 } }

  /// Tokens kept of a row where nothing else is said.
  package static let standardLength = 512

  package init(
    paths: [String], template: String? = nil, maxLength: Int = standardLength, skipsBadRows: Bool = false,
    learning: LearntPart = .answers
  ) {
    self.learning = learning
    self.paths = paths
    self.template = template
    self.maxLength = maxLength
    self.skipsBadRows = skipsBadRows
    date = Self.present
  }

  /// `SOURCE_DATE_EPOCH`, or the clock.
  private static var present: Int { givenDate.flatMap { Int($0) } ?? ChatTemplate.present }
  fileprivate static var givenDate: String? { getenv("SOURCE_DATE_EPOCH").map { String(cString: $0) } }
}

/// A checkpoint's tokenizer with what wraps and ends its texts.
package struct LoadedText {
  package let tokenizer: Tokenizer?
  package let encoder: RowEncoder
  /// What the checkpoint's chat templates take for the present; nil where they do not ask.
  let date: Int?
  /// Where generation ends whatever the rows are: as Transformers' `generate`, at generation_config.json's end tokens, without them at
  /// config.json's.
  package let stopTokens: [Int32]
  /// Settings of generation_config.json that would change what `generate` answers, and are not applied.
  let unapplied: [String]
  /// Of the model: embeddings may be larger than the tokenizer (padding), and smaller where no text uses its last tokens.
  private let vocabularySize: Int
  /// Whether prompts go to an encoder and answers to a decoder.
  let hasEncoder: Bool

  /// - Parameter files: tokenizer.json among them, and perhaps tokenizer_config.json.
  package init(files: CheckpointFiles, config: any ModelConfig, options: DataOptions) throws(GoraError) {
    let tokenizer = try Tokenizer(of: files)
    self.tokenizer = tokenizer
    guard let end = tokenizer?.specialId("eos_token") ?? config.eosTokens.first else {
      throw GoraError(
        .data, at: .file(files.path), "no end token: config.json has no eos_token_id, tokenizer_config.json no eos_token")
    }
    let generation = try files.document("generation_config.json")?.root
    stopTokens = try Self.generationEnds(generation) ?? config.eosTokens
    unapplied = try Self.unapplied(generation)
    vocabularySize = config.vocabularySize
    var chosen: Template?
    let templates = try ChatTemplates(of: files, specialTokens: tokenizer?.specialTokens ?? [], date: options.date)
    let tellsDate = templates?.tellsDate == true && [nil, "tokenizer"].contains(options.template)
    if tellsDate, let text = DataOptions.givenDate, Int(text) == nil {
      throw GoraError(.usage, "SOURCE_DATE_EPOCH is \"\(text)\"; expected seconds since 1970")
    }
    date = tellsDate ? options.date : nil
    let own = templates.map(Template.tokenizer)
    switch options.template {
    case nil: break
    case "tokenizer":
      guard let own else {
        throw GoraError(.data, at: .file(files.path), "the checkpoint has no chat template", hint: "choose another --template")
      }
      chosen = own
    case let name?:
      if let named = Template(named: name) {
        chosen = named
      } else if exists(name) {
        chosen = .file(try TemplateFile(path: name, text: readTextFile(name)))
      } else {
        throw GoraError(
          .usage, "--template \"\(name)\" is neither a name nor a file", hint: "names: \(Template.names.joined(separator: ", "))")
      }
    }
    encoder = RowEncoder(
      encoder: tokenizer ?? NoTokenizer(), bos: tokenizer?.beginTokens.first, eos: end,
      template: chosen, chatTemplate: own, learning: options.learning, maxLength: options.maxLength,
      decoderStart: config.decoderStart.map { DecoderStart(id: $0.id, pad: $0.pad) })
    hasEncoder = config.decoderStart != nil
    if hasEncoder, options.learning != .answers {
      throw GoraError(
        .usage, "--learn \(options.learning.rawValue) is for decoders, and a \(config.modelType) model has an encoder")
    }
  }

  /// `eos_token_id` of generation_config.json, a number or several; nil where it says none.
  private static func generationEnds(_ generation: JSONField?) throws(GoraError) -> [Int32]? {
    guard let field = try generation?.optional("eos_token_id") else { return nil }
    var ends: [Int32] = []
    let fields = if case .array = field.value.content { try field.elements } else { [field] }
    for field in fields { ends.append(Int32(try field.int(in: 0...Int(Int32.max)))) }
    return ends
  }

  /// Settings of generation_config.json, each with its value, that move the likeliest answers; what samples is the user's to say.
  private static func unapplied(_ generation: JSONField?) throws(GoraError) -> [String] {
    guard let generation else { return [] }
    let neutral: [String: Double] = [
      "repetition_penalty": 1, "encoder_repetition_penalty": 1, "guidance_scale": 1, "num_beams": 1, "no_repeat_ngram_size": 0,
      "encoder_no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": 0,
    ]
    let others = [
      "bad_words_ids", "begin_suppress_tokens", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
      "sequence_bias", "stop_strings", "suppress_tokens",
    ]
    return try generation.members.filter { key, field in
      switch field.value.content {
      case .null, .array([]), .object([]): false
      default: neutral[key].map { field.value.number != $0 } ?? others.contains(key)
      }
    }.map { "\($0.key) \($0.field.value.compact())" }
  }

  /// The rows of `options.paths`; texts need a tokenizer.
  package func read(_ options: DataOptions, vocabularySize: Int, files: CheckpointFiles, events: EventHandler) throws(GoraError)
    -> DataRows
  {
    let data: DataRows
    if let glue = options.glue {
      data = try GLUEFile.read(
        options.paths, task: glue.task, wording: glue.wording, skipBadRows: options.skipsBadRows, limit: Self.readLimit)
      warn(ofBadRows: data.badRows, first: data.firstBadRow, events)
    } else {
      data = try read(options, events: events) { [hasEncoder] row throws(GoraError) in
        try DataRow.rows(row, vocabularySize: vocabularySize, hasEncoder: hasEncoder)
      }
    }
    if tokenizer == nil, data.kinds != [.tokens] {
      throw GoraError(
        .noInput, at: .file(files.place("tokenizer.json")), "missing, and the data is text",
        hint: "put the checkpoint's tokenizer.json there, or give rows of input_ids and labels")
    }
    for kind in data.kinds where !hasEncoder {
      if case .tokenizer(let own) = encoder.template(for: kind) { try own.check() }
    }
    let explanation = encoder.explanation(of: data.kinds)
    events(data.kinds.contains(where: \.isWrapped) ? .information(explanation) : .note(explanation))
    return data
  }

  /// Rows of another kind, which `rows` makes of each object.
  func read<Row>(
    _ options: DataOptions, events: EventHandler, rows: (JSONField) throws(GoraError) -> [Row]
  ) throws(GoraError) -> ReadRows<Row> {
    if let path = options.paths.first(where: { $0.split(separator: "/").last?.split(separator: ".").contains("tsv") == true }) {
      throw GoraError(
        .usage, "--data \(path) is a table; of tables, GLUE's are read",
        hint: "--glue says of which task it is: \(GLUETask.names.joined(separator: ", "))")
    }
    let data = try DataFile.read(options.paths, skipBadRows: options.skipsBadRows, limit: Self.readLimit, rows: rows)
    warn(ofBadRows: data.badRows, first: data.firstBadRow, events)
    return data
  }

  /// Rows are kept in memory: no more than there is.
  private static var readLimit: Int { min(InputText.standardLimit, ProcessMemory.available) }

  private func warn(ofBadRows count: Int, first: GoraError?, _ events: EventHandler) {
    if let first { events(.warning("\(count) bad rows skipped, the first: \(first)")) }
  }

  /// Encoded rows, with a word on those that were cut or dropped.
  package func encode(_ data: DataRows, options: DataOptions, events: EventHandler) throws(GoraError) -> [EncodedRow] {
    let encoded = try encoder.encode(data, skipBadRows: options.skipsBadRows)
    warn(ofBadRows: encoded.badRows, first: encoded.firstBadRow, events)
    if encoded.unanswered > 0 {
      events(.warning("\(encoded.unanswered) chats end in a turn without an answer; it is left out"))
    }
    if encoded.cut > 0 { events(.warning("\(encoded.cut) of \(data.rows.count) rows cut to \(options.maxLength) tokens")) }
    if encoded.dropped > 0 {
      events(.warning("\(encoded.dropped) rows dropped: nothing to learn is left within \(options.maxLength) tokens"))
    }
    for row in encoded.rows { try requireKnown(row) }
    guard !encoded.rows.isEmpty else {
      throw GoraError(
        .data, at: .file(options.paths.joined(separator: ", ")), "no row has anything to learn", hint: "raise --max-length")
    }
    return encoded.rows
  }

  /// A row as `encode` gives it to the model, dropped ones too.
  package func shown(_ row: DataRow, place: Location) throws(GoraError) -> ShownRow {
    var encoded: EncodedRow
    do throws(GoraError) { encoded = try encoder.encodeAsItIs(row) } catch { throw error.within(place) }
    encoded.place = place
    try requireKnown(encoded)
    return ShownRow(encoded, place: place, kind: row.kind, tokenizer: tokenizer)
  }

  /// A row's prompt, which an answer goes on from.
  package func shownPrompt(_ row: DataRow, place: Location) throws(GoraError) -> ShownRow {
    let ids: [Int32]
    do throws(GoraError) { ids = try encoder.encodePrompt(row) } catch { throw error.within(place) }
    var prompt = EncodedRow(ids: ids, labels: Array(repeating: DataRow.notLearnt, count: ids.count))
    do throws(GoraError) { prompt.source = try encoder.encodeSource(row) } catch { throw error.within(place) }
    return ShownRow(prompt, place: place, kind: row.kind, isPrompt: true, tokenizer: tokenizer)
  }

  /// Tokens that end an answer, whichever rows these are.
  package func endTokens(for rows: [DataRow]) throws(GoraError) -> [Int32] {
    let ends = try rows.first.map { row throws(GoraError) in try encoder.stopTokens(for: row) } ?? []
    return Array(Set(ends + stopTokens)).sorted()
  }

  /// - Throws: status 65 with the row's place where the embedding lacks a token of it.
  private func requireKnown(_ row: EncodedRow) throws(GoraError) {
    guard let id = (row.source + row.ids).first(where: { $0 >= vocabularySize }) else { return }
    throw GoraError(
      .data, at: row.place,
      "the row has the token \"\(tokenizer?.token(id) ?? "")\", id \(id); the model's vocabulary ends at \(vocabularySize - 1)",
      hint: "the tokenizer has tokens that the embedding lacks; leave them out of the data")
  }
}

/// Stands where tokenised rows need none.
private struct NoTokenizer: TextEncoder {
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] { [] }
  func tokenized(_ text: String) -> TokenizedText { TokenizedText(ids: [], offsets: []) }
  func isSpecial(_ id: Int32) -> Bool { false }
  func addedToken(_ id: Int32) -> [UInt8]? { nil }
  var beginTokens: [Int32] { [] }
  var endTokens: [Int32] { [] }
}

/// SHA-256 of what is learnt: ids and labels of all rows in order, whatever files, templates and cuts they came from.
func fingerprint(of rows: [EncodedRow]) -> String {
  let digest = SHA256()
  for row in rows {
    if let image = row.image { digest.update(UnsafeRawBufferPointer(start: image.pixels, count: image.store.byteCount)) }
    if !row.source.isEmpty {
      digest.update(row.source.count)
      row.source.withUnsafeBytes { digest.update($0) }
    }
    digest.update(row.ids.count)
    row.ids.withUnsafeBytes { digest.update($0) }
    row.labels.withUnsafeBytes { digest.update($0) }
  }
  return digest.finish()
}

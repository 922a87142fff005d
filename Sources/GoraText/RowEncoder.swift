import GoraCore

/// A row as token ids with the labels to learn.
package struct EncodedRow: Sendable, Equatable {
  /// What a model of images sees, in place of tokens; the one label is its class.
  package var image: ImageInput?
  /// What the encoder of an encoder-decoder model reads; empty for a decoder.
  package var source: [Int32] = []
  package var ids: [Int32]
  /// One label per id, −100 where it is not learnt; not shifted: label i is learnt from the ids before i.
  package var labels: [Int32]
  /// Tokens beyond the maximal length, which were cut off.
  package var cutTokens = 0
  /// Where the row came from, for messages.
  package var place: Location?

  package init(ids: [Int32] = [], labels: [Int32] = [], cutTokens: Int = 0) {
    self.ids = ids
    self.labels = labels
    self.cutTokens = cutTokens
  }

  package init(image: ImageInput, label: Int32, place: Location?) {
    (self.image, ids, labels, self.place) = (image, [], [label], place)
  }

  /// All tokens that run through the model: beside an encoder the last is a label alone.
  package var tokens: Int { image?.store.tokens ?? (source.isEmpty ? ids.count : source.count + ids.count - 1) }
  /// Positions that it takes.
  package var length: Int { image == nil ? max(source.count, ids.count) : tokens }

  /// What is learnt at each token; nil for nothing. The first token is never predicted, so its label teaches nothing.
  package var lessons: [Int32?] {
    labels.enumerated().map { $0 == 0 || $1 == DataRow.notLearnt ? nil : $1 }
  }

  fileprivate mutating func append(_ tokens: [Int32], learnt: Bool) {
    ids += tokens
    labels += learnt ? tokens : [Int32](repeating: DataRow.notLearnt, count: tokens.count)
  }
}

/// Where the first of these rows came from, for messages.
package func places(of rows: [EncodedRow]) -> String {
  rows.prefix(8).map { $0.place?.description ?? "a row of no file" }.joined(separator: ", ") + (rows.count > 8 ? ", …" : "")
}

/// Encoded rows, and what became of the others.
package struct EncodedRows: Sendable {
  package var rows: [EncodedRow] = []
  /// Rows that lost tokens to the maximal length; they are among `rows`.
  package var cut = 0
  /// Rows of which nothing was left to learn.
  package var dropped = 0
  /// Chats that go on after their last answer; what follows it is left out.
  package var unanswered = 0
  /// Rows that a template cannot write, where they are passed over, and why the first could not be.
  package var badRows = 0
  package var firstBadRow: GoraError?
}

/// Turns rows into token ids: wraps them in a template, adds begin and end tokens, and marks what is learnt.
package struct RowEncoder: Sendable {
  let encoder: any TextEncoder
  private let bos: Int32?
  let eos: Int32
  let template: Template?
  private let chatTemplate: Template?
  private let learning: LearntPart
  let maxLength: Int
  /// How the decoder's input begins in an encoder-decoder model; nil for a decoder alone.
  let decoderStart: DecoderStart?

  /// - Parameters:
  ///   - bos: nil where the tokenizer puts no begin token before a text.
  ///   - template: nil for the default of each kind of row.
  ///   - chatTemplate: the checkpoint's own, the default for chats where it is known.
  ///   - maxLength: tokens kept of a row.
  ///   - decoderStart: of an encoder-decoder model.
  package init(
    encoder: any TextEncoder, bos: Int32?, eos: Int32, template: Template?, chatTemplate: Template? = nil,
    learning: LearntPart = .answers, maxLength: Int, decoderStart: DecoderStart? = nil
  ) {
    precondition(maxLength > 0)
    self.encoder = encoder
    self.bos = bos
    self.eos = eos
    self.template = template
    self.chatTemplate = chatTemplate
    self.learning = learning
    self.maxLength = maxLength
    self.decoderStart = decoderStart
  }

  /// Tokens at which the answer to `row` ends, for generation: the end token, and the end of turn of a chat template.
  package func stopTokens(for row: DataRow) throws(GoraError) -> [Int32] {
    if decoderStart != nil { return [eos] }
    let template = template(for: row.kind)
    if case .tokenizer = template {
      guard let last = try encode(row)?.labels.last(where: { $0 != DataRow.notLearnt }), last != eos, encoder.isSpecial(last)
      else { return [eos] }
      return [eos, last]
    }
    guard let text = template.endOfTurn else { return [eos] }
    let ids = encoder.encode(text, addSpecialTokens: false)
    return ids.count == 1 && ids[0] != eos ? [eos, ids[0]] : [eos]
  }

  /// Begin token, prompt, answer, end token; nil where nothing is left to learn once the row is cut.
  ///
  /// - Throws: `GoraError` (exit 65) where the checkpoint's chat template refuses the row.
  package func encode(_ row: DataRow) throws(GoraError) -> EncodedRow? {
    let result = try encodeAsItIs(row)
    return result.lessons.contains { $0 != nil } ? result : nil
  }

  /// The same of a row of which nothing is left to learn too.
  ///
  /// - Throws: `GoraError` (exit 65) where the checkpoint's chat template refuses the row.
  package func encodeAsItIs(_ row: DataRow) throws(GoraError) -> EncodedRow {
    if let decoderStart { return try encoded(row, decoderStart) }
    var result: EncodedRow
    switch row {
    case .tokens(let ids, let labels): result = EncodedRow(ids: ids, labels: labels)
    case .text(let text):
      let ids = encoder.encode(text, addSpecialTokens: false)
      result = begun(before: ids)
      result.append(ids, learnt: true)
      if ids.count <= 1 || !endsItself(text, ids) { result.append([eos], learnt: true) }
    case .instruction, .chat:
      let template = template(for: row.kind)
      if case .tokenizer(let own) = template {
        let chat = conversation(row)
        let rendered = try own.template(for: chat).rendered(chat)
        let text = Array(rendered.text.utf8)
        result = tokenised(rendered.text, learnt: rendered.learnt.flatMap { learning.ranges(in: text[$0]) })
      } else {
        result = encoded(try segments(row, template))
      }
      if learning == .all { result.labels = result.ids }
    }
    result.cutTokens = max(0, result.ids.count - maxLength)
    result.ids.removeLast(result.cutTokens)
    result.labels.removeLast(result.cutTokens)
    return result
  }

  /// All rows in order, with the counts of those cut, dropped and passed over.
  ///
  /// - Parameter skipBadRows: count rows that the template cannot write, and go on.
  /// - Throws: `GoraError` (exit 65) with the row's place where a template cannot write it.
  package func encode(_ data: DataRows, skipBadRows: Bool = false) throws(GoraError) -> EncodedRows {
    var result = EncodedRows()
    result.rows.reserveCapacity(data.rows.count)
    for (row, place) in zip(data.rows, data.places) {
      let encoded: EncodedRow?
      do throws(GoraError) { encoded = try encode(row) } catch {
        let error = error.within(place)
        guard skipBadRows else { throw error }
        result.badRows += 1
        if result.firstBadRow == nil { result.firstBadRow = error }
        continue
      }
      if case .chat(let chat) = row, chat.endsUnanswered { result.unanswered += 1 }
      if var encoded {
        if encoded.cutTokens > 0 { result.cut += 1 }
        encoded.place = place
        result.rows.append(encoded)
      } else {
        result.dropped += 1
      }
    }
    return result
  }

  /// The prompts of rows, for generation.
  ///
  /// - Throws: `GoraError` (exit 65) with the row's place where a template cannot write it.
  package func encodePrompts(_ data: DataRows) throws(GoraError) -> [[Int32]] {
    var prompts: [[Int32]] = []
    for (row, place) in zip(data.rows, data.places) {
      do throws(GoraError) { prompts.append(try encodePrompt(row)) } catch { throw error.within(place) }
    }
    return prompts
  }

  /// What precedes the (last) answer, for generation; the answer itself is `row.expectedAnswer`. Never cut.
  ///
  /// A tokenised row gives the ids before its first label, a plain text the begin token alone. In an encoder-decoder model it is the
  /// decoder's begin token, whatever the row (`encodeSource` has the rest).
  /// - Parameter opening: what the answer of an instruction or a chat begins with already.
  package func encodePrompt(_ row: DataRow, opening: String = "") throws(GoraError) -> [Int32] {
    if let decoderStart { return [decoderStart.id] }
    switch row {
    case .tokens(let ids, let labels):
      return Array(ids[..<(labels.firstIndex { $0 != DataRow.notLearnt } ?? ids.count)])
    case .text: return bos.map { [$0] } ?? []
    case .instruction, .chat:
      let template = template(for: row.kind)
      if case .tokenizer(let own) = template {
        let chat = conversation(row)
        return encoder.tokenized(try own.template(for: chat).prompt(chat) + opening).ids
      }
      return encoded(try segments(row, template).dropLast() + [TemplateSegment(text: opening)]).ids
    }
  }

  /// A context with what may follow it, as lm-evaluation-harness splits them: blanks that end the context belong to what follows, the two are
  /// tokenised together, and the context is as long as it is by itself.
  ///
  /// - Returns: the ids of both with the begin token, and how many are the context's; nil where nothing is left to follow.
  package func encode(context: String, continuation: String) -> (ids: [Int32], context: Int)? {
    let scalars = context.unicodeScalars
    let end = scalars.lastIndex { !$0.isPythonSpace }.map { scalars.index(after: $0) } ?? scalars.startIndex
    let before = encoder.encode(String(scalars[..<end]), addSpecialTokens: false)
    let whole = encoder.encode(context + continuation, addSpecialTokens: false)
    guard whole.count > before.count else { return nil }
    // Something must come before what is measured.
    let begin = before.isEmpty ? [bos ?? eos] : begun(before: before).ids
    return (begin + before + whole[before.count...], begin.count + before.count)
  }

  /// For the start-up line: which template rows of these kinds get, and why.
  package func explanation(of kinds: [RowKind]) -> String {
    if decoderStart != nil, template == nil { return "prompts as they stand for the encoder, answers for the decoder" }
    return Template.explanation(chosen: template, kinds: kinds, chat: chatTemplate)
  }

  /// What wraps rows of a kind.
  package func template(for kind: RowKind) -> Template { template ?? .standard(for: kind, chat: chatTemplate) }

  private func segments(_ row: DataRow, _ template: Template) throws(GoraError) -> [TemplateSegment] {
    if case .instruction(let task) = row { return try template.segments(task) }
    return try template.segments(conversation(row))
  }

  /// A task as a chat, a chat up to its last answer.
  private func conversation(_ row: DataRow) -> Conversation {
    switch row {
    case .instruction(let task): task.conversation
    case .chat(let chat): chat.answered
    case .tokens, .text: []
    }
  }

  /// A text as one sequence. A token is learnt that ends in what is learnt.
  /// - Parameter learnt: byte ranges, in order.
  func tokenised(_ text: String, learnt: [Range<Int>]) -> EncodedRow {
    let tokens = encoder.tokenized(text)
    var result = EncodedRow(ids: tokens.ids, labels: Array(repeating: DataRow.notLearnt, count: tokens.ids.count))
    var learnt = learnt[...]
    for (i, place) in tokens.offsets.enumerated() where !place.isEmpty {
      while let first = learnt.first, first.upperBound < place.upperBound { learnt.removeFirst() }
      if let first = learnt.first, place.upperBound > first.lowerBound { result.labels[i] = result.ids[i] }
    }
    return result
  }

  /// Each stretch up to an end token is tokenised as one text; the end token that an answer brings along stays the only one.
  private func encoded(_ segments: some Sequence<TemplateSegment>) -> EncodedRow {
    var result = EncodedRow()
    var text = ""
    var learnt: [Range<Int>] = []
    func flush() {
      let stretch = tokenised(text, learnt: learnt)
      if result.ids.isEmpty { result = begun(before: stretch.ids) }
      result.ids += stretch.ids
      result.labels += stretch.labels
      (text, learnt) = ("", [])
    }
    for segment in segments {
      let start = text.utf8.count
      text += segment.text
      if segment.isLearnt {
        learnt += learning.ranges(in: Array(segment.text.utf8)[...]).map { start + $0.lowerBound..<start + $0.upperBound }
      }
      if segment.isEnded {
        flush()
        if !endsItself(segment.text, result.ids) { result.append([eos], learnt: segment.isLearnt && learning != .code) }
      }
    }
    if !text.isEmpty || result.ids.isEmpty { flush() }
    return result
  }

  /// Whether a text spells the end token out as its last word. An unknown token that has the end token's id does not count.
  /// - Parameter ids: they end in the text's.
  func endsItself(_ text: String, _ ids: [Int32]) -> Bool {
    guard ids.last == eos, let end = encoder.addedToken(eos), !end.isEmpty else { return false }
    // White space behind it may have become a part of the token.
    return text.utf8.reversed().drop { $0 == 0x20 || 9...13 ~= $0 }.starts(with: end.reversed())
  }

  /// The begin token, unless the ids that follow bring it themselves.
  private func begun(before ids: [Int32]) -> EncodedRow {
    var result = EncodedRow()
    if let bos, ids.first != bos { result.append([bos], learnt: false) }
    return result
  }
}

extension GoraError {
  /// The same said of something within `place`, such as of a row by a template.
  package func within(_ place: Location) -> GoraError {
    var error = self
    error.problem = description
    error.location = place
    return error
  }
}

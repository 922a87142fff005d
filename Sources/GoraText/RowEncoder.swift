import GoraCore

/// A row as token ids with the labels to learn.
package struct EncodedRow: Sendable, Equatable {
  package var ids: [Int32]
  /// One label per id, −100 where it is not learnt; not shifted: label i is learnt from the ids before i.
  package var labels: [Int32]
  /// Whether tokens beyond the maximal length were cut off.
  package var wasCut = false

  package init(ids: [Int32] = [], labels: [Int32] = [], wasCut: Bool = false) {
    self.ids = ids
    self.labels = labels
    self.wasCut = wasCut
  }

  fileprivate mutating func append(_ tokens: [Int32], learnt: Bool) {
    ids += tokens
    labels += learnt ? tokens : [Int32](repeating: DataRow.notLearnt, count: tokens.count)
  }
}

/// Encoded rows, and what became of the others.
package struct EncodedRows: Sendable {
  package var rows: [EncodedRow] = []
  /// Rows that lost tokens to the maximal length; they are among `rows`.
  package var cut = 0
  /// Rows of which nothing was left to learn.
  package var dropped = 0
}

/// Turns rows into token ids: wraps them in a template, adds begin and end tokens, and marks what is learnt.
package struct RowEncoder: Sendable {
  private let encoder: any TextEncoder
  private let bos: Int32?
  private let eos: Int32
  private let template: Template?
  private let chatTemplate: Template?
  private let maxLength: Int

  /// - Parameters:
  ///   - bos: nil where the tokenizer puts no begin token before a text.
  ///   - template: nil for the default of each kind of row.
  ///   - chatTemplate: the checkpoint's own, the default for chats where it is known.
  ///   - maxLength: tokens kept of a row.
  package init(
    encoder: any TextEncoder, bos: Int32?, eos: Int32, template: Template?, chatTemplate: Template? = nil, maxLength: Int
  ) {
    precondition(maxLength > 0)
    self.encoder = encoder
    self.bos = bos
    self.eos = eos
    self.template = template
    self.chatTemplate = chatTemplate
    self.maxLength = maxLength
  }

  /// Tokens at which the answer to `row` ends, for generation: the end token, and the end of turn of a chat template.
  package func stopTokens(for row: DataRow) -> [Int32] {
    guard let text = template(for: row).endOfTurn else { return [eos] }
    let ids = encoder.encode(text, addSpecialTokens: false)
    return ids.count == 1 && ids[0] != eos ? [eos, ids[0]] : [eos]
  }

  /// Begin token, prompt, answer, end token; nil where nothing is left to learn once the row is cut.
  package func encode(_ row: DataRow) -> EncodedRow? {
    var result: EncodedRow
    switch row {
    case .tokens(let ids, let labels): result = EncodedRow(ids: ids, labels: labels)
    case .text(let text):
      result = begun(encoder.encode(text, addSpecialTokens: false), with: true, learnt: true)
      result.append([eos], learnt: true)
    case .instruction, .chat: result = encoded(segments(row), template: template(for: row))
    }
    if result.ids.count > maxLength {
      result.ids.removeLast(result.ids.count - maxLength)
      result.labels.removeLast(result.labels.count - maxLength)
      result.wasCut = true
    }
    // The first token is never predicted, so its label teaches nothing.
    return result.labels.dropFirst().contains { $0 != DataRow.notLearnt } ? result : nil
  }

  /// All rows in order, with the counts of those cut and dropped.
  package func encode(_ rows: [DataRow]) -> EncodedRows {
    var result = EncodedRows()
    result.rows.reserveCapacity(rows.count)
    for row in rows {
      if let encoded = encode(row) {
        if encoded.wasCut { result.cut += 1 }
        result.rows.append(encoded)
      } else {
        result.dropped += 1
      }
    }
    return result
  }

  /// What precedes the (last) answer, for generation; the answer itself is `row.expectedAnswer`. Never cut.
  ///
  /// A tokenised row gives the ids before its first label, a plain text the begin token alone.
  package func encodePrompt(_ row: DataRow) -> [Int32] {
    switch row {
    case .tokens(let ids, let labels):
      return Array(ids[..<(labels.firstIndex { $0 != DataRow.notLearnt } ?? ids.count)])
    case .text: return bos.map { [$0] } ?? []
    case .instruction, .chat: return encoded(segments(row).dropLast(), template: template(for: row)).ids
    }
  }

  private func template(for row: DataRow) -> Template {
    template ?? .standard(for: row.kind, chat: chatTemplate)
  }

  private func segments(_ row: DataRow) -> [TemplateSegment] {
    switch row {
    case .instruction(let task): template(for: row).segments(task)
    case .chat(let turns): template(for: row).segments(turns)
    case .tokens, .text: []
    }
  }

  // Segments are tokenised one by one, so that a prompt has the same ids in training and in generation.
  private func encoded(_ segments: [TemplateSegment], template: Template) -> EncodedRow {
    var result = EncodedRow()
    for (i, segment) in segments.enumerated() {
      let ids = encoder.encode(segment.text, addSpecialTokens: false)
      if i == 0 {
        result = begun(ids, with: template.startsWithBOS, learnt: segment.isLearnt)
      } else {
        result.append(ids, learnt: segment.isLearnt)
      }
      if segment.isEnded { result.append([eos], learnt: true) }
    }
    return result
  }

  /// The ids behind the begin token, unless they bring it themselves.
  private func begun(_ ids: [Int32], with wanted: Bool, learnt: Bool) -> EncodedRow {
    var result = EncodedRow()
    if wanted, let bos, ids.first != bos { result.append([bos], learnt: false) }
    result.append(ids, learnt: learnt)
    return result
  }
}

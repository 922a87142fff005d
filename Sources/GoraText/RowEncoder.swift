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
  package func stopTokens(for row: DataRow) throws(GoraError) -> [Int32] {
    let template = template(for: row)
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
    var result: EncodedRow
    switch row {
    case .tokens(let ids, let labels): result = EncodedRow(ids: ids, labels: labels)
    case .text(let text):
      result = begun(encoder.encode(text, addSpecialTokens: false), learnt: true)
      result.append([eos], learnt: true)
    case .instruction, .chat:
      let template = template(for: row)
      if case .tokenizer(let own) = template {
        result = encoded(try own.rendered(turns(row)))
      } else {
        result = encoded(segments(row, template))
      }
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
  ///
  /// - Throws: `GoraError` (exit 65) with the row's number where the checkpoint's chat template refuses it.
  package func encode(_ rows: [DataRow]) throws(GoraError) -> EncodedRows {
    var result = EncodedRows()
    result.rows.reserveCapacity(rows.count)
    for (i, row) in rows.enumerated() {
      let encoded: EncodedRow?
      do throws(GoraError) { encoded = try encode(row) } catch {
        var error = error
        error.problem = "row \(i + 1): \(error.problem)"
        throw error
      }
      if let encoded {
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
  package func encodePrompt(_ row: DataRow) throws(GoraError) -> [Int32] {
    switch row {
    case .tokens(let ids, let labels):
      return Array(ids[..<(labels.firstIndex { $0 != DataRow.notLearnt } ?? ids.count)])
    case .text: return bos.map { [$0] } ?? []
    case .instruction, .chat:
      let template = template(for: row)
      if case .tokenizer(let own) = template { return encoder.tokenized(try own.prompt(turns(row).dropLast())).ids }
      return encoded(segments(row, template).dropLast()).ids
    }
  }

  private func template(for row: DataRow) -> Template {
    template ?? .standard(for: row.kind, chat: chatTemplate)
  }

  private func segments(_ row: DataRow, _ template: Template) -> [TemplateSegment] {
    if case .instruction(let task) = row { return template.segments(task) }
    return template.segments(turns(row))
  }

  /// A task as a chat, a chat up to its last answer.
  private func turns(_ row: DataRow) -> ArraySlice<ChatTurn> {
    switch row {
    case .instruction(let task): task.turns[...]
    case .chat(let turns): turns[...(turns.lastIndex { $0.role == .assistant } ?? turns.endIndex - 1)]
    case .tokens, .text: []
    }
  }

  /// A rendered chat brings its begin and end tokens. A token is learnt that ends in what is learnt.
  private func encoded(_ chat: ChatTemplate.Rendered) -> EncodedRow {
    let tokens = encoder.tokenized(chat.text)
    var result = EncodedRow(ids: tokens.ids, labels: Array(repeating: DataRow.notLearnt, count: tokens.ids.count))
    var learnt = chat.learnt[...]
    for (i, place) in tokens.offsets.enumerated() where !place.isEmpty {
      while let first = learnt.first, first.upperBound < place.upperBound { learnt.removeFirst() }
      if let first = learnt.first, place.upperBound > first.lowerBound { result.labels[i] = result.ids[i] }
    }
    return result
  }

  // Segments are tokenised one by one, so that a prompt has the same ids in training and in generation.
  private func encoded(_ segments: [TemplateSegment]) -> EncodedRow {
    var result = EncodedRow()
    for (i, segment) in segments.enumerated() {
      let ids = encoder.encode(segment.text, addSpecialTokens: false)
      if i == 0 {
        result = begun(ids, learnt: segment.isLearnt)
      } else {
        result.append(ids, learnt: segment.isLearnt)
      }
      if segment.isEnded { result.append([eos], learnt: true) }
    }
    return result
  }

  /// The ids behind the begin token, unless they bring it themselves.
  private func begun(_ ids: [Int32], learnt: Bool) -> EncodedRow {
    var result = EncodedRow()
    if let bos, ids.first != bos { result.append([bos], learnt: false) }
    result.append(ids, learnt: learnt)
    return result
  }
}

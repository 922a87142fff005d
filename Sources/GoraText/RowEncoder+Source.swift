import GoraCore

/// Rows of an encoder-decoder model: the prompt for the encoder, begin token and answer for the decoder.
extension RowEncoder {
  /// The source is what the tokenizer makes of the prompt, its own end token behind it; ids are begin token, answer, end token.
  ///
  /// Of a tokenised row input_ids are the source and labels the answer, both without the pads behind them; a label that is not learnt
  /// is a pad in the decoder's input, as in Transformers.
  /// - Throws: status 65 for rows that have no prompt and answer apart.
  func encoded(_ row: DataRow, _ start: DecoderStart) throws(GoraError) -> EncodedRow {
    var result = EncodedRow(ids: [start.id], labels: [DataRow.notLearnt])
    let whole = try source(of: row, start)
    result.source = whole
    if whole.count > maxLength {
      // As Transformers' tokenizers cut: what they put behind a text stays.
      let end = row.kind == .tokens ? [] : encoder.endTokens.suffix(maxLength)
      result.source = whole.prefix(maxLength - end.count) + end
    }
    switch row {
    case .tokens(_, let labels):
      let kept = labels.prefix((labels.lastIndex { $0 != DataRow.notLearnt && $0 != start.pad } ?? -1) + 1)
      result.ids += kept.map { $0 == DataRow.notLearnt ? start.pad : $0 }
      result.labels += kept
    case .instruction(let task):
      let text = try pieces(of: task).answer
      var answer = encoder.tokenized(text).ids
      if !endsItself(text, answer) { answer.append(eos) }
      result.ids += answer
      result.labels += answer
    case .chat, .text: break  // `source` has refused it
    }
    let cut = max(0, result.ids.count - 1 - maxLength)
    result.ids.removeLast(cut)
    result.labels.removeLast(cut)
    result.cutTokens = cut + whole.count - result.source.count
    return result
  }

  /// What the encoder reads of a row, for generation; never cut. Empty for a decoder alone.
  package func encodeSource(_ row: DataRow) throws(GoraError) -> [Int32] {
    guard let decoderStart else { return [] }
    return try source(of: row, decoderStart)
  }

  /// The sources of rows, none at all for a decoder alone.
  ///
  /// - Throws: `GoraError` (exit 65) with the row's place where it has none.
  package func encodeSources(_ data: DataRows) throws(GoraError) -> [[Int32]] {
    guard decoderStart != nil else { return [] }
    var sources: [[Int32]] = []
    for (row, place) in zip(data.rows, data.places) {
      do throws(GoraError) { sources.append(try encodeSource(row)) } catch { throw error.within(place) }
    }
    return sources
  }

  private func source(of row: DataRow, _ start: DecoderStart) throws(GoraError) -> [Int32] {
    let ids: [Int32]
    switch row {
    case .tokens(let tokens, _): ids = Array(tokens.prefix((tokens.lastIndex { $0 != start.pad } ?? -1) + 1))
    case .instruction(let task): ids = encoder.encode(try pieces(of: task).prompt, addSpecialTokens: true)
    case .chat:
      throw GoraError(
        .data, "a chat is not one prompt and one answer, as an encoder-decoder model takes them",
        hint: "write its rows as prompt and completion")
    case .text:
      throw GoraError(
        .data, "a text is not a prompt and an answer, as an encoder-decoder model takes them",
        hint: "write its rows as prompt and completion")
    }
    guard !ids.isEmpty else { throw GoraError(.data, "the row has nothing for the encoder to read") }
    return ids
  }

  /// Prompt and answer as the template has them, as they stand without one.
  private func pieces(of task: Instruction) throws(GoraError) -> (prompt: String, answer: String) {
    guard let template else {
      guard task.history.isEmpty else {
        throw GoraError(
          .data, "the row has earlier exchanges, which without a template have no place in a prompt",
          hint: "choose a --template, such as plain or alpaca")
      }
      return (task.system.isEmpty ? task.request : task.system + "\n" + task.request, task.response)
    }
    let segments = try template.segments(task)
    guard let answer = segments.last, template.endOfTurn == nil else {
      throw GoraError(
        .data, "template \(template.name) writes chats, which an encoder-decoder model does not read",
        hint: "leave --template out, or choose plain, alpaca, metamath or a file")
    }
    return (segments.dropLast().map(\.text).joined(), answer.text)
  }
}

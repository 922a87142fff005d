import GoraCore
import GoraModels
import GoraText
import GoraTraining

/// Which of some labels a model holds for the likeliest by the first token of each, at the place where the answer begins, whatever else
/// it would rather say (LoRA-GA's metric for GLUE, made right for labels of any number and length).
struct FirstTokens {
  /// Up to the token of each label, row by row: label k of row i is at i·K + k.
  private let rows: [EncodedRow]
  private let labels: Int

  /// - Parameters:
  ///   - place: of each row, for errors.
  /// - Throws: status 65 with the row's place where its template cannot write it.
  static func make(_ data: DataRows, labels: [String], encoder: RowEncoder) throws(GoraError) -> Result<FirstTokens, Problem> {
    var rows: [EncodedRow] = []
    rows.reserveCapacity(data.rows.count * labels.count)
    for (row, place) in zip(data.rows, data.places) {
      var first: EncodedRow?
      var tokens: [Int32: String] = [:]
      for label in labels {
        var encoded: EncodedRow
        do throws(GoraError) { encoded = try encoder.encodeAsItIs(row.answering(label)) } catch { throw error.within(place) }
        guard let at = encoded.lessons.firstIndex(where: { $0 != nil }), let token = encoded.lessons[at] else {
          return .failure(Problem("the label \"\(label)\" has no token"))
        }
        if let other = tokens.updateValue(label, forKey: token) {
          return .failure(Problem("the labels \"\(other)\" and \"\(label)\" begin with one token"))
        }
        encoded.ids = Array(encoded.ids[..<at]) + [token]
        encoded.labels = Array(repeating: DataRow.notLearnt, count: at) + [token]
        encoded.place = place
        if let first, first.source != encoded.source || !first.ids.dropLast().elementsEqual(encoded.ids.dropLast()) {
          return .failure(Problem("the prompt's last token depends on the label \"\(label)\""))
        }
        first = first ?? encoded
        rows.append(encoded)
      }
    }
    return .success(FirstTokens(rows: rows, labels: labels.count))
  }

  /// Why there is no such comparison.
  struct Problem: Error {
    let text: String
    init(_ text: String) { self.text = text }
  }

  private func pieces(_ loaded: LoadedModel) -> [PackedBatch] { microBatches(rows, maxTokens: loaded.defaultMicroBatchTokens) }

  /// Bytes that the comparison takes besides the model.
  func byteCount(_ loaded: LoadedModel) -> Int {
    let pieces = pieces(loaded)
    return loaded.model.lossBytes(tokens: pieces.map(\.tokens).max() ?? 0, labelled: pieces.map(\.targets.count).max() ?? 0)
  }

  /// The likeliest label of each row, the first of equals.
  /// - Throws: status 1 where a likelihood is not finite.
  func predictions(_ loaded: LoadedModel, _ events: EventHandler) throws(GoraError) -> [Int] {
    let pieces = pieces(loaded)
    let shares = WorkShares(costs: pieces.map(\.tokens))
    var done = 0
    let count = SharedCount(pieces: shares.counts)
    func told(_ rows: Int) {
      done += rows
      events(.progress(stage: "labels", done: done / labels, total: self.rows.count / labels, unit: "rows"))
    }
    var found = [[Double]](repeating: [], count: pieces.count)
    for index in shares.own {
      var own = [Double](repeating: .nan, count: pieces[index].targets.count)
      _ = loaded.model.loss(pieces[index]) { own[$0] = $1 }
      found[index] = own
      count.add(own.count, told: told)
    }
    count.finish(told: told)
    let losses = Array(shares.gathered(found).joined())
    if let bad = losses.firstIndex(where: { !$0.isFinite }) {
      throw GoraError(.negative, "row \(bad / labels + 1): a label's likelihood is not finite")
    }
    return stride(from: 0, to: losses.count, by: labels).map { start in
      (0..<labels).min { losses[start + $0] < losses[start + $1] } ?? 0
    }
  }
}

extension DataRow {
  /// The row with another answer, which begins with the blanks that its own begins with.
  fileprivate func answering(_ label: String) -> DataRow {
    func changed(_ answer: String) -> String { answer.prefix { $0.isWhitespace } + label }
    switch self {
    case .instruction(var task):
      task.response = changed(task.response)
      return .instruction(task)
    case .chat(var chat):
      if let last = chat.turns.lastIndex(where: \.isAnswer), let content = chat.turns[last].content {
        chat.turns[last] = ChatTurn(.assistant, changed(content))
      }
      return .chat(chat)
    case .tokens, .text: return self
    }
  }
}

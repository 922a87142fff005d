import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Runs a task by chats: answers turn by turn, what a judge is asked about them, and what it says.
struct TurnsDriver {
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (text, c) = (inputs.text, inputs.configuration)
    try inputs.requireDecoder()
    let data = try inputs.rows(&summary, events) { row throws(GoraError) in try TurnsQuestion(row) }
    let judge = try Judge(c.answering.judging, questions: data)
    events(.information(text.encoder.explanation(of: [.chat])))
    let generation = try AnswerGeneration(
      inputs, ends: try text.endTokens(for: data.rows.map { $0.chat(answers: []) }), stops: c.answering.stops)
    func prompts(_ rows: [Int], _ answers: [[String]]) throws(GoraError) -> [[Int32]] {
      var prompts: [[Int32]] = []
      for row in rows {
        do throws(GoraError) { prompts.append(try text.encoder.encodePrompt(data.rows[row].chat(answers: answers[row]))) } catch {
          throw error.within(data.places[row])
        }
      }
      return prompts
    }
    var answers = [[String]](repeating: [], count: data.rows.count)
    let total = data.rows.reduce(0) { $0 + $1.turns.count }
    // A later turn's prompt holds the answers before it: counted as if they were as long as they may be.
    var longest = try prompts(Array(data.rows.indices), answers)
    for (row, question) in data.rows.enumerated() where question.turns.count > 1 {
      longest[row] += Array(repeating: longest[row][0], count: c.answering.maxNewTokens + longest[row].count)
    }
    try generation.require(longest, &summary, events)
    if c.dryRun { return }
    try generation.requireSame(longest)
    for turn in 0..<2 {
      let rows = data.rows.indices.filter { turn < data.rows[$0].turns.count }
      let texts = try generation.answers(
        to: prompts(rows, answers), rows: rows.map { 2 * $0 + turn }, temperatures: rows.map { temperature(of: data.rows[$0]) },
        total: total, events)
      for (row, text) in zip(rows, texts) { answers[row].append(text.pythonStripped) }
    }
    for (question, answers) in zip(data.rows, answers) {
      try inputs.write(
        sample: .object([
          "question_id": JSON(question.id), "category": JSON(question.category), "model_id": JSON(modelName),
          "choices": [.object(["index": 0, "turns": JSON(answers.map { JSON($0) })])],
        ]))
    }
    generation.conclude(&summary)
    let requests = try judge.requests(answers)
    try inputs.requests?.write(requests)
    let scores = try scores(of: judge, asking: requests, events)
    summary.outcome = TaskOutcome(
      values: scores.values, members: scores.members + [.init("new_tokens", JSON(generation.tokens))],
      line: "\(total) answers, \(generation.rate)\(scores.line.isEmpty ? "" : "; \(scores.line)")", table: scores.table)
  }

  /// What the judge says. Before it is asked the answers are put in place, so that a judge that fails does not cost them.
  private func scores(of judge: Judge, asking requests: [UInt8], _ events: EventHandler) throws(GoraError) -> TaskOutcome {
    let asks = inputs.configuration.answering.judging.command != nil
    if asks { try AtomicFile.commit([inputs.samples, inputs.requests].compactMap { $0 }) }
    do throws(GoraError) { return try judge.scores(asking: requests, events) } catch {
      var error = error
      if asks, error.hint == nil, let requests = inputs.requests?.path {
        error.hint = "\(requests) has what the judge was asked; its replies can be given with --judge-replies"
      }
      throw error
    }
  }

  private func temperature(of question: TurnsQuestion) -> Double {
    inputs.configuration.answering.temperature ?? question.temperature
  }

  /// The adapter's folder, or the model's.
  private var modelName: String { inputs.configuration.adapter ?? inputs.configuration.model }
}

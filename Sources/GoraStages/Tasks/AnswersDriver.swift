import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Runs a task by what the model answers.
struct AnswersDriver {
  let task: any AnswersTask
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (text, c) = (inputs.text, inputs.configuration)
    let data = try inputs.rows(&summary, events)
    let generation = try AnswerGeneration(inputs, ends: try text.endTokens(for: data.rows), stops: c.answering.stops)
    var golds: [JSON] = []
    for (index, row) in data.rows.enumerated() {
      guard let gold = task.gold(of: row) else {
        throw GoraError(
          .data, at: data.places[index], "the row has no answer to compare with",
          hint: "--task \(type(of: task).name) needs \(type(of: task).needs)")
      }
      golds.append(gold)
    }
    let prompts = try text.encoder.encodePrompts(data)
    let sources = try text.encoder.encodeSources(data)
    if let empty = prompts.firstIndex(where: \.isEmpty) {
      throw GoraError(.data, at: data.places[empty], "the row has an empty prompt")
    }
    try generation.require(prompts, sources: sources, &summary, events)
    if c.dryRun { return }
    try generation.requireSame(prompts, sources: sources)
    let answers = try generation.answers(to: prompts, sources: sources, total: prompts.count, events)
    var verdicts: [Verdict] = []
    for (row, answer) in answers.enumerated() {
      let verdict = task.judge(answer, to: data.rows[row])
      verdicts.append(verdict)
      try inputs.write(
        sample: .object([
          "row": JSON(row + 1), "answer": JSON(answer), "prediction": verdict.prediction ?? nil, "gold": golds[row],
          "correct": JSON(verdict.isCorrect),
        ]))
    }
    generation.conclude(&summary)
    summary.outcome = outcome(verdicts, generation)
  }

  private func outcome(_ verdicts: [Verdict], _ generation: AnswerGeneration) -> TaskOutcome {
    let correct = verdicts.count { $0.isCorrect }
    let accuracy = Double(correct) / Double(max(1, verdicts.count))
    let interval = wilsonInterval(successes: correct, of: verdicts.count)
    return TaskOutcome(
      values: [("accuracy", accuracy)],
      members: [
        .init("accuracy", JSON(accuracy)), .init("correct", JSON(correct)),
        .init("interval", json(interval)),
      ] + task.members(verdicts) + [.init("new_tokens", JSON(generation.tokens))],
      line:
        "accuracy \(NumberText.fixed(accuracy * 100, 2)) % (\(correct) of \(verdicts.count); 95 %: \(percentages(interval))), \(generation.rate)"
    )
  }
}

/// `12.3 to 45.6`, in per cent.
func percentages(_ interval: ClosedRange<Double>) -> String {
  "\(NumberText.fixed(interval.lowerBound * 100, 1)) to \(NumberText.fixed(interval.upperBound * 100, 1))"
}

func json(_ interval: ClosedRange<Double>) -> JSON { JSON([JSON(interval.lowerBound), JSON(interval.upperBound)]) }

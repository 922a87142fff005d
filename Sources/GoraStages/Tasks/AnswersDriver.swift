import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Runs a task by what the model answers.
struct AnswersDriver {
  let task: any AnswersTask
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (loaded, text, data, c) = (inputs.loaded, inputs.text, inputs.data, inputs.configuration)
    if !ProcessGroup.isAlone {
      throw GoraError(
        .usage,
        "--task \(type(of: task).name) runs as one process, not as \(ProcessGroup.size): answers that are generated together bear on each other",
        hint: "leave the launcher out")
    }
    guard let model = loaded.model as? any GenerativeModel else {
      throw GoraError(.usage, "a \(loaded.config.modelType) model does not answer, as --task \(type(of: task).name) asks")
    }
    guard let tokenizer = text.tokenizer else {
      throw GoraError(.noInput, at: .file(loaded.files.place("tokenizer.json")), "missing; answers cannot be read without it")
    }
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
    if let empty = prompts.firstIndex(where: \.isEmpty) {
      throw GoraError(.data, at: data.places[empty], "the row has an empty prompt")
    }
    let longest = (prompts.map(\.count).max() ?? 0) + c.answering.maxNewTokens
    loaded.warn(ofLength: longest, events: events)
    // Prompts of one length advance in step; long ones first, so that the last batch is not a lone long one.
    let order = prompts.indices.sorted { (-prompts[$0].count, $0) < (-prompts[$1].count, $1) }
    let generator = Generator(
      model: model, sampling: c.answering.sampling, batchSize: c.answering.batchSize,
      maxNewTokens: c.answering.maxNewTokens,
      endTokens: try text.endTokens(for: data.rows))
    let bytes = generator.byteCounts(prompts)
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: bytes.activations, cache: bytes.cache, distinctTokens: loaded.config.vocabularySize, releasesWeights: false),
      memory: c.context.memory)
    events(.note(estimate.description))
    try estimate.require(
      c.context.memory,
      options: MemoryOptions(cutsRows: false, answers: true, quantization: c.quantization, canQuantize: c.quantization == nil),
      isTried: c.dryRun, events: events)
    summary.estimate = estimate
    if c.dryRun { return }
    var answers = [String](repeating: "", count: prompts.count)
    var (done, tokens) = (0, 0)
    let clock = Stopwatch()
    var rates = StepRates()
    var round = (tokens: 0, start: 0.0)
    events(.progress(stage: "answers", done: 0, total: prompts.count, unit: "rows"))
    try generator.generate(
      order.map { prompts[$0] }, rows: order,
      stops: { _, new in
        guard !c.answering.stops.isEmpty else { return false }
        let tail = tokenizer.decode(Array(new.suffix(32)))
        return c.answering.stops.contains { tail.contains($0) }
      },
      finished: { index, new in
        let row = order[index]
        var answer = tokenizer.decode(new)
        for stop in c.answering.stops {
          if let range = answer.firstRange(of: stop) { answer = String(answer[..<range.lowerBound]) }
        }
        answers[row] = answer
        done += 1
        tokens += new.count
        if done % c.answering.batchSize == 0 {
          let now = clock.seconds
          rates.append(tokens: tokens - round.tokens, seconds: now - round.start)
          round = (tokens, now)
        }
        events(
          .progress(
            stage: "answers", done: done, total: prompts.count, unit: "rows",
            rate: StageRate(Double(tokens) / max(clock.seconds, 1e-9), "tokens/s")))
      })
    var verdicts: [Verdict] = []
    for (row, answer) in answers.enumerated() {
      let verdict = task.judge(answer, to: data.rows[row])
      verdicts.append(verdict)
      if let samples = inputs.samples {
        let line = JSON.object([
          "row": JSON(row + 1), "answer": JSON(answer), "prediction": verdict.prediction ?? nil, "gold": golds[row],
          "correct": JSON(verdict.isCorrect),
        ])
        try samples.write(Array((line.compact() + "\n").utf8))
      }
    }
    summary.seconds = clock.seconds
    summary.steadyTokensPerSecond = rates.steady
    summary.outcome = outcome(verdicts, tokens: tokens, seconds: summary.seconds)
  }

  private func outcome(_ verdicts: [Verdict], tokens: Int, seconds: Double) -> TaskOutcome {
    let correct = verdicts.count { $0.isCorrect }
    let accuracy = Double(correct) / Double(max(1, verdicts.count))
    let interval = wilsonInterval(successes: correct, of: verdicts.count)
    let range = "\(NumberText.fixed(interval.lowerBound * 100, 1)) to \(NumberText.fixed(interval.upperBound * 100, 1))"
    return TaskOutcome(
      values: [("accuracy", accuracy)],
      members: [
        .init("accuracy", JSON(accuracy)), .init("correct", JSON(correct)),
        .init("interval", JSON([JSON(interval.lowerBound), JSON(interval.upperBound)])),
      ] + task.members(verdicts) + [.init("new_tokens", JSON(tokens))],
      line: "accuracy \(NumberText.fixed(accuracy * 100, 2)) % (\(correct) of \(verdicts.count); 95 %: \(range)), "
        + "\(NumberText.count(Int(Double(tokens) / max(seconds, 1e-9)))) tokens/s")
  }
}

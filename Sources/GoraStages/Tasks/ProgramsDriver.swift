import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Runs a task by programs: asks for them, runs them, counts those that pass.
struct ProgramsDriver {
  let task: any ProgramsTask
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (text, c) = (inputs.text, inputs.configuration)
    try inputs.requireDecoder()
    let (answering, style) = (c.answering, c.answering.programs.style)
    let data = try inputs.rows(&summary, events) { row throws(GoraError) in try ProgramProblem(row) }
    if style.isWrapped { events(.information(text.encoder.explanation(of: [.chat]))) }
    let runner = ProgramRunner(answering.programs)
    let generation = try AnswerGeneration(
      inputs, ends: try text.endTokens(for: data.rows.map(style.row)), stops: style.stops + answering.stops)
    var prompts: [[Int32]] = []
    for (problem, place) in zip(data.rows, data.places) {
      do throws(GoraError) {
        prompts.append(try text.encoder.encodePrompt(style.row(problem), opening: style.opening(problem)))
      } catch { throw error.within(place) }
    }
    let attempts = answering.attempts
    prompts = prompts.flatMap { Array(repeating: $0, count: attempts) }
    try generation.require(prompts, &summary, events)
    if c.dryRun { return }
    // Before the answers, which take long.
    try runner.check()
    try generation.requireSame(prompts)
    let answers = try generation.answers(to: prompts, keepsBlanks: true, total: prompts.count, events)
    let completions = answers.map(style.completion)
    // Each process runs the programs that it has asked for.
    let own = generation.shares.own
    var done = 0
    let count = SharedCount(pieces: generation.shares.counts)
    func told(_ _: Int) {
      done += 1
      events(.progress(stage: "programs", done: done, total: prompts.count, unit: "programs"))
    }
    var found = [[UInt8]](repeating: [], count: prompts.count)
    try runner.run(own.map { data.rows[$0 / attempts].program(completions[$0]) }, atOnce: c.context.threads) { index, verdict in
      found[own[index]] = verdict.bytes
      count.add(told: told)
    }
    count.finish(told: told)
    let verdicts = generation.shares.gathered(found).map { ProgramVerdict(bytes: $0) }
    for (index, verdict) in verdicts.enumerated() {
      try inputs.write(
        sample: .object([
          "task_id": JSON(data.rows[index / attempts].name), "completion": JSON(completions[index]),
          "result": JSON(verdict.description), "passed": JSON(verdict == .passed),
        ]))
    }
    generation.conclude(&summary)
    summary.outcome = outcome(verdicts, runner, generation)
  }

  private func outcome(_ verdicts: [ProgramVerdict], _ runner: ProgramRunner, _ generation: AnswerGeneration) -> TaskOutcome {
    let (attempts, programs) = (inputs.configuration.answering.attempts, inputs.configuration.answering.programs)
    let correct = stride(from: 0, to: verdicts.count, by: attempts).map { first in
      verdicts[first..<first + attempts].count { $0 == .passed }
    }
    var values: [(metric: String, value: Double)] = []
    var members: [JSON.Member] = [
      .init("attempts", JSON(attempts)), .init("style", JSON(programs.style.rawValue)), .init("sandbox", JSON(runner.name)),
      .init("passed", JSON(correct.reduce(0, +))), .init("timed_out", JSON(verdicts.count { $0 == .timedOut })),
    ]
    var words: [String] = []
    for k in type(of: task).ks where k <= attempts {
      let value = correct.reduce(0) { $0 + passAtK(correct: $1, of: attempts, k: k) } / Double(correct.count)
      let interval = wilsonInterval(mean: value, of: correct.count)
      values.append(("pass@\(k)", value))
      members += [.init("pass@\(k)", JSON(value)), .init("pass@\(k)_interval", json(interval))]
      words.append("pass@\(k) \(NumberText.fixed(value * 100, 2)) % (95 %: \(percentages(interval)))")
    }
    return TaskOutcome(
      values: values, members: members + [.init("new_tokens", JSON(generation.tokens))],
      line: "\(words.joined(separator: ", ")) of \(correct.count) problems, \(generation.rate)")
  }
}

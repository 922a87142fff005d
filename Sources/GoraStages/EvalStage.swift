import Glibc
import GoraCore
import GoraFormats
import GoraModels
import GoraText
import GoraTraining

/// model (+ adapter) + data → result.json: loss, or accuracy on word problems by generation.
package struct EvalStage {
  package enum Task: String, Sendable, CaseIterable {
    case loss, gsm8k

    /// What it measures, as `--require` names it.
    package var metrics: [String] {
      switch self {
      case .loss: ["loss", "perplexity"]
      case .gsm8k: ["accuracy"]
      }
    }
  }

  package struct Configuration: Sendable {
    package var model: String
    package var adapter: String?
    package var task: Task
    package var data: DataOptions
    package var output: OutputTarget
    package var samples: String?
    package var limit: Int?
    package var answering = Answering()
    package var precision = PrecisionChoice.auto
    package var quantization: Quantization?
    package var dryRun = false
    package var context: RunContext

    package init(
      model: String, task: Task, data: DataOptions, output: OutputTarget = .standardOutput, context: RunContext
    ) {
      self.model = model
      self.task = task
      self.data = data
      self.output = output
      self.context = context
    }
  }

  /// How answers are generated and read, and what is done where nothing is said.
  package struct Answering: Sendable {
    package var maxNewTokens = 256
    package var batchSize = 16
    package var sampling = Sampling()
    package var extractor = AnswerExtractor.gora
    /// Texts that end an answer.
    package var stops: [String] = []

    package init() {}
  }

  package struct Summary: Sendable {
    package var task: Task
    package var rows: Int
    package var tokens: Int
    package var seconds: Double
    /// New tokens a second of the answers after the first `--batch-size`; nil where there are no more.
    package var steadyTokensPerSecond: Double?
    package var loss: Double?
    package var correct: Int?
    /// Wilson's 95 % interval of the accuracy.
    package var interval: ClosedRange<Double>?
    package var extractor: AnswerExtractor?
    /// Answers in which a number was found.
    package var extracted: Int?
    package var provenance: Provenance?
    package var adapter: String?
    package var estimate: RunEstimate?
    /// The result, where it goes to standard output.
    package var output: String?

    package var perplexity: Double? { loss.map { exp($0) } }
    package var accuracy: Double? { correct.map { Double($0) / Double(max(1, rows)) } }

    /// What `--require` may ask for.
    package func value(of metric: String) -> Double? {
      switch metric {
      case "loss": loss
      case "perplexity": perplexity
      case "accuracy": accuracy
      default: nil
      }
    }

    /// The result; with `timed` also how fast it came, which is not the same in two runs.
    package func json(timed: Bool) -> JSON {
      var members: [JSON.Member] = [
        .init("format", "gora-result"), .init("format_version", 1), .init("task", JSON(task.rawValue)), .init("rows", JSON(rows)),
      ]
      if let loss, let perplexity {
        members += [.init("loss", JSON(loss)), .init("tokens", JSON(tokens))]
        if perplexity.isFinite { members.append(.init("perplexity", JSON(perplexity))) }
      }
      if let correct, let accuracy, let interval, let extractor, let extracted {
        members += [
          .init("accuracy", JSON(accuracy)), .init("correct", JSON(correct)),
          .init("interval", JSON([JSON(interval.lowerBound), JSON(interval.upperBound)])),
          .init("extractor", JSON(extractor.rawValue)), .init("extracted", JSON(extracted)), .init("new_tokens", JSON(tokens)),
        ]
      }
      if timed {
        members.append(.init("seconds", JSON(seconds)))
        if let estimate { members.append(.init("estimate", estimate.json)) }
        if let steadyTokensPerSecond { members.append(.init("steady_tokens_per_second", JSON(steadyTokensPerSecond))) }
      }
      members.append(.init("provenance", JSON(provenance?.records ?? [])))
      return JSON(.object(members))
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> Summary {
    let c = configuration
    try checkOutputs(
      c.output.paths + (c.samples.map { [$0] } ?? []),
      against: [c.model] + (c.adapter.map { [$0] } ?? []) + c.data.inputs)
    let output = c.dryRun ? nil : try c.output.open()
    var samples: AtomicFile?
    if let path = c.samples, c.task == .gsm8k, !c.dryRun { samples = try AtomicFile(path: path) }
    let loaded = try LoadedModel(path: c.model, precision: c.precision, quantization: c.quantization)
    loaded.announce(threads: c.context.threads, events: events)
    var earlier: Provenance?
    if let folder = c.adapter {
      let adapter = try Adapter(readingFolder: folder).folded
      try adapter.requireBase(loaded.identity, folder: folder)
      try loaded.model.attach(adapter, from: folder)
      adapter.noteBase(of: loaded.quantization?.rawValue, events)
      earlier = adapter.provenance
    }
    let text = try LoadedText(folder: c.model, config: loaded.config, options: c.data)
    var data = try text.read(c.data, vocabularySize: loaded.config.vocabularySize, folder: c.model, events: events)
    if let limit = c.limit { data.rows = Array(data.rows.prefix(limit)) }
    var summary = Summary(task: c.task, rows: data.rows.count, tokens: 0, seconds: 0, adapter: c.adapter)
    // result.json says which run made it, not which files: their hashes are in the adapter's and the gradients' records.
    if !c.dryRun {
      summary.provenance = try c.context.provenance(after: earlier, inputs: [c.model] + c.data.paths, dtype: loaded.dtype)
    }
    switch c.task {
    case .loss: try measureLoss(loaded, text, data, &summary, events)
    case .gsm8k: try answer(loaded, text, data, samples, &summary, events)
    }
    summary.output = try output?.deliver(summary.json(timed: false).pretty(), with: samples.map { [$0] } ?? [])
    if !c.dryRun { events(.note("memory at most \(RunEstimate.mebibytes(ProcessMemory.peak)) resident")) }
    return summary
  }

  private func measureLoss(
    _ loaded: LoadedModel, _ text: LoadedText, _ data: DataRows, _ summary: inout Summary, _ events: EventHandler
  ) throws(GoraError) {
    let rows = try text.encode(data, options: configuration.data, events: events)
    loaded.warn(ofLength: rows.map(\.ids.count).max() ?? 0, events: events)
    summary.rows = rows.count
    let pieces = microBatches(rows, maxTokens: loaded.defaultMicroBatchTokens)
    let tokens = pieces.map(\.tokens)
    let labelled = pieces.map(\.targets.count)
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: loaded.model.lossBytes(tokens: tokens.max() ?? 0, labelled: labelled.max() ?? 0),
        distinctTokens: pieces.reduce(into: Set<Int32>()) { $0.formUnion($1.ids) }.count, releasesWeights: true,
        tokens: (tokens.reduce(0, +), labelled.reduce(0, +))))
    events(.note(estimate.description))
    summary.estimate = estimate
    if configuration.dryRun { return }
    let clock = Stopwatch()
    let result = meanLoss(loaded.model, pieces) { done in
      events(.progress(stage: "loss", done: done, total: rows.count, unit: "rows"))
    }
    summary.seconds = clock.seconds
    guard result.loss.isFinite else { throw GoraError(.negative, "the loss is \(result.loss)") }
    summary.loss = result.loss
    summary.tokens = result.tokens
  }

  private func answer(
    _ loaded: LoadedModel, _ text: LoadedText, _ data: DataRows, _ samples: AtomicFile?, _ summary: inout Summary,
    _ events: EventHandler
  ) throws(GoraError) {
    let c = configuration
    guard let tokenizer = text.tokenizer else {
      throw GoraError(.noInput, at: .file("\(c.model)/tokenizer.json"), "missing; answers cannot be read without it")
    }
    var golds: [Double] = []
    for (index, row) in data.rows.enumerated() {
      guard let reference = row.expectedAnswer, let gold = c.answering.extractor.gold(reference) else {
        throw GoraError(
          .data, at: data.places[index], "the row has no answer to compare with",
          hint: "--task gsm8k needs answers that end in \"#### number\"")
      }
      golds.append(gold)
    }
    let prompts = try text.encoder.encodePrompts(data)
    if let empty = prompts.firstIndex(where: \.isEmpty) {
      throw GoraError(.data, at: data.places[empty], "the row has an empty prompt")
    }
    let longest = (prompts.map(\.count).max() ?? 0) + c.answering.maxNewTokens
    loaded.warn(ofLength: longest, events: events)
    let ends = try data.rows.first.map { row throws(GoraError) in try text.encoder.stopTokens(for: row) } ?? []
    // Prompts of one length advance in step; long ones first, so that the last batch is not a lone long one.
    let order = prompts.indices.sorted { (-prompts[$0].count, $0) < (-prompts[$1].count, $1) }
    let generator = Generator(
      model: loaded.model, sampling: c.answering.sampling, batchSize: c.answering.batchSize,
      maxNewTokens: c.answering.maxNewTokens,
      endTokens: Array(Set(ends + text.stopTokens)).sorted())
    let bytes = generator.byteCounts(prompts)
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: bytes.activations, cache: bytes.cache, distinctTokens: loaded.config.vocabularySize, releasesWeights: false))
    events(.note(estimate.description))
    summary.estimate = estimate
    if c.dryRun { return }
    var answers = [String](repeating: "", count: prompts.count)
    var (done, tokens, correct, extracted) = (0, 0, 0, 0)
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
    for (row, answer) in answers.enumerated() {
      let prediction = c.answering.extractor.prediction(answer)
      let right = c.answering.extractor.isCorrect(answer, reference: data.rows[row].expectedAnswer ?? "")
      if prediction != nil { extracted += 1 }
      if right { correct += 1 }
      if let samples {
        let line = JSON.object([
          "row": JSON(row + 1), "answer": JSON(answer), "prediction": prediction.map { JSON($0.value) } ?? nil,
          "gold": JSON(golds[row]), "correct": JSON(right),
        ])
        try samples.write(Array((line.compact() + "\n").utf8))
      }
    }
    summary.seconds = clock.seconds
    summary.tokens = tokens
    summary.steadyTokensPerSecond = rates.steady
    summary.correct = correct
    summary.extracted = extracted
    summary.extractor = c.answering.extractor
    summary.interval = wilsonInterval(successes: correct, of: prompts.count)
  }
}

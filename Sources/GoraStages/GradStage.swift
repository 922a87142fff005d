import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText
import GoraTraining

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// model + data → grad.h5: the mean gradient of the frozen target weights over N micro-batches.
package struct GradStage {
  package struct Configuration: Sendable {
    package var model: String
    package var data: DataOptions
    package var output: String
    package var steps: Int
    package var batchSize: Int
    package var targets: TargetSelection
    package var precision: PrecisionChoice
    package var storesBFloat16: Bool
    package var compression: Compression
    package var shuffles: Bool
    package var microBatchTokens: Int?
    package var recomputes: Bool
    package var dryRun: Bool
    package var context: RunContext

    package init(
      model: String, data: DataOptions, output: String, steps: Int, batchSize: Int, targets: TargetSelection,
      precision: PrecisionChoice, storesBFloat16: Bool, compression: Compression, shuffles: Bool, microBatchTokens: Int?,
      recomputes: Bool, dryRun: Bool, context: RunContext
    ) {
      self.model = model
      self.data = data
      self.output = output
      self.steps = steps
      self.batchSize = batchSize
      self.targets = targets
      self.precision = precision
      self.storesBFloat16 = storesBFloat16
      self.compression = compression
      self.shuffles = shuffles
      self.microBatchTokens = microBatchTokens
      self.recomputes = recomputes
      self.dryRun = dryRun
      self.context = context
    }
  }

  package struct Summary: Sendable {
    package var modules: Int
    package var steps: Int
    package var rows: Int
    package var tokens: Int
    package var loss: Double
    package var tokensPerSecond: Double
    /// Of the steps after the first; nil where there was one only.
    package var steadyTokensPerSecond: Double?
    package var estimate: RunEstimate
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> Summary {
    let c = configuration
    try refuseOverwrite(of: c.data.paths, output: c.output)
    let loaded = try LoadedModel(path: c.model, precision: c.precision)
    events(.note(loaded.opening(threads: c.context.threads)))
    let text = try LoadedText(folder: c.model, config: loaded.config, options: c.data)
    let data = try text.read(c.data, vocabularySize: loaded.config.vocabularySize, folder: c.model, events: events)
    let rows = try text.encode(data, options: c.data, events: events)
    let targets = loaded.linears(try c.targets.selected(of: loaded.model.linears.map(\.name)))

    let order = BatchOrder(
      rows: rows.count, batchSize: c.batchSize, shuffles: c.shuffles, seed: c.context.seed, stream: "gora-grad")
    let whole = rows.count / c.batchSize
    guard whole > 0 else {
      throw GoraError(.usage, "--batch-size \(c.batchSize), but the data has \(rows.count) rows", hint: "lower --batch-size")
    }
    let steps = min(c.steps, whole)
    if steps < c.steps {
      events(
        .warning("the data fills \(whole) micro-batches of \(c.batchSize) rows, fewer than --steps \(c.steps): using \(steps)"))
    }
    let limit = c.microBatchTokens ?? loaded.defaultMicroBatchTokens
    let sequence = order.epoch(0)
    let batchTokens = (0..<steps).map { step in
      sequence[step * c.batchSize..<(step + 1) * c.batchSize].reduce(0) { $0 + rows[$1].ids.count }
    }
    let longestRow = rows.map(\.ids.count).max() ?? 0
    let estimate = RunEstimate(
      loaded, tokens: min(batchTokens.max() ?? 0, max(limit, longestRow)), allTokens: batchTokens.reduce(0, +),
      gradients: targets.reduce(0) { $0 + $1.weight.count }, trained: 0, recomputes: c.recomputes)
    events(.note(estimate.description))
    var summary = Summary(
      modules: targets.count, steps: steps, rows: steps * c.batchSize, tokens: 0, loss: 0, tokensPerSecond: 0,
      estimate: estimate)
    if c.dryRun { return summary }

    var attributes = [
      ("creator", c.context.tool), ("creator_version", c.context.version), ("model", loaded.folder?.identity ?? ""),
      ("data", fingerprint(of: rows)),
      ("tokenizer", text.tokenizer?.fingerprint ?? "none"),
      ("batch_size", String(c.batchSize)), ("dtype", loaded.precision.rawValue),
    ]
    if let provenance = try c.context.provenance(
      after: nil, inputs: [c.model] + c.data.paths, dtype: loaded.precision.rawValue)
    {
      attributes.append(("provenance", provenance.text))
    }
    // Opened before the work: a folder that cannot be written shows now.
    let writer = try GradientFileWriter(
      path: c.output, compression: c.compression, storesBFloat16: c.storesBFloat16, attributes: attributes)

    loaded.model.recomputesActivations = c.recomputes
    let estimator = GradientEstimator(model: loaded.model, targets: targets, steps: steps, microBatchTokens: limit)
    var record = GradientSteps(
      loss: [], tokens: [], rows: [], importance: targets.map { ($0.weight.name, []) })
    let clock = Stopwatch()
    var rates = StepRates()
    events(.progress(stage: "gradients", done: 0, total: steps, unit: "batches"))
    for step in 0..<steps {
      let batch = sequence[step * c.batchSize..<(step + 1) * c.batchSize].map { rows[$0] }
      let stepClock = Stopwatch()
      let result = try estimator.add(batch)
      rates.append(tokens: result.tokens, seconds: stepClock.seconds)
      record.loss.append(result.loss)
      record.tokens.append(result.tokens)
      record.rows.append(result.rows)
      for (i, value) in result.importance.enumerated() { record.importance[i].values.append(value) }
      summary.tokens += result.tokens
      summary.tokensPerSecond = Double(summary.tokens) / max(clock.seconds, 1e-9)
      events(
        .progress(
          stage: "gradients", done: step + 1, total: steps, unit: "batches",
          rate: StageRate(summary.tokensPerSecond, "tokens/s"), loss: result.loss))
    }
    summary.steadyTokensPerSecond = rates.steady
    summary.loss = record.loss.reduce(0, +) / Double(steps)
    for linear in targets {
      guard let sum = linear.weight.gradient else { continue }
      try writer.write(
        name: linear.weight.name, rows: linear.outputSize, columns: linear.inputSize, values: sum.pointer,
        samples: summary.rows, tokens: summary.tokens)
    }
    try writer.write(steps: record)
    try writer.finish()
    return summary
  }
}

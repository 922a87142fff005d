import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText
import GoraTraining

/// model + data → grad.h5: the mean gradient of the target weights over N micro-batches, at the weights of the checkpoint or, with an
/// exploration, along N steps away from them; and the principal components of the targets' inputs.
package struct GradStage {
  /// Where gradient sums lie.
  package enum Spill: Sendable, Equatable {
    /// In memory where they fit, else in a scratch file beside the output.
    case auto
    case never
    /// In a scratch file in this folder.
    case folder(String)
  }

  /// What is gathered, as `--collect` spells it.
  package enum Evidence: String, Sendable, CaseIterable {
    /// The mean of each target's gradients.
    case gradients
    /// The principal components of each target's inputs over labelled tokens.
    case inputs
    /// Where the exploration led each target.
    case displacements
  }

  package struct Configuration: Sendable {
    package var model: String
    package var data: DataOptions
    package var output: String
    package var targets: TargetSelection
    package var recipe = Recipe()
    package var storesBFloat16 = false
    package var spill = Spill.auto
    package var dryRun = false
    package var context: RunContext

    package init(model: String, data: DataOptions, output: String, targets: TargetSelection, context: RunContext) {
      self.model = model
      self.data = data
      self.output = output
      self.targets = targets
      self.context = context
    }
  }

  /// How gradients are taken and stored, and what is done where nothing is said.
  package struct Recipe: Sendable {
    package var steps = 64
    package var batchSize = 1
    package var shuffles = true
    package var microBatchTokens: Int?
    package var collects: Set<Evidence> = [.gradients]
    /// How many components of the inputs.
    package var inputComponents = 16
    /// Whether the mean of the micro-batches' squared gradients is kept too.
    package var keepsSquares = false
    package var precision = PrecisionChoice.auto
    package var recompute = RecomputeChoice.auto
    package var compression = Compression.zstd(3)
    /// Stops when importances have settled; nil takes all steps.
    package var stability: Convergence.Rule?
    package var exploration: Exploration?
    /// Records importances of windows of so many steps.
    package var trackEvery: Int?

    package init() {}

    /// The walk that a `HeadStart` begins from (docs/starts.md, sections 4 and 6); its warm-up is a quarter of its steps.
    package static var headStart: Recipe {
      var recipe = Recipe()
      recipe.steps = 16
      recipe.batchSize = 8
      recipe.collects = [.gradients, .displacements]
      recipe.exploration = Exploration(rule: .adalomo, rate: nil)
      return recipe
    }
  }

  package struct Summary: Sendable {
    package var modules: Int
    package var steps: Int
    /// Whether the run ended before its last step because importances had settled.
    package var isStable: Bool
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
    try checkOutputs([c.output], against: [c.model] + c.data.inputs)
    let loaded = try LoadedModel(path: c.model, precision: c.recipe.precision, memory: c.context.memory, events: events)
    loaded.announce(threads: c.context.threads, events: events)
    let source = try RowSource(loaded, options: c.data, events: events)
    let rows = try source.rows(c.data, events: events)
    loaded.warn(ofLength: rows.map(\.length).max() ?? 0, events: events)
    let targets = loaded.linears(try c.targets.selected(of: loaded.model.linears.map(\.name)))

    let order = BatchOrder(
      rows: rows.count, batchSize: c.recipe.batchSize, shuffles: c.recipe.shuffles, seed: c.context.seed, stream: "gora-grad")
    let whole = rows.count / c.recipe.batchSize
    guard whole > 0 else {
      throw GoraError(
        .usage, "--batch-size \(c.recipe.batchSize), but the data has \(rows.count) rows", hint: "lower --batch-size")
    }
    let steps = min(c.recipe.steps, whole)
    if steps < c.recipe.steps {
      events(
        .warning(
          "the data fills \(whole) micro-batches of \(c.recipe.batchSize) rows, fewer than --steps \(c.recipe.steps): using \(steps)"
        ))
    }
    let limit = c.recipe.microBatchTokens ?? loaded.defaultMicroBatchTokens
    let sequence = order.epoch(0)
    func batch(_ step: Int) -> [EncodedRow] {
      sequence[step * c.recipe.batchSize..<(step + 1) * c.recipe.batchSize].map { rows[$0] }
    }

    if c.recipe.collects.contains(.inputs) {
      let labelled = (0..<steps).reduce(0) {
        $0 + batch($1).reduce(0) { $0 + ($1.image?.store.tokens ?? $1.labels.count { $0 != -100 }) }
      }
      try InputCollector.require(labelled: labelled, components: c.recipe.inputComponents, targets: targets)
    }
    var settings = GradientEstimator.Settings(
      microBatchTokens: limit, exploration: c.recipe.exploration, trackEvery: c.recipe.trackEvery.map { min($0, steps) },
      keepsSquares: c.recipe.keepsSquares)
    settings.mayStop = c.recipe.stability != nil
    let learning = c.recipe.collects.contains(.gradients) ? targets : []
    let demand = demand(
      of: (0..<steps).map(batch), targets: targets, in: loaded, settings: &settings)
    let memory = c.context.memory
    var estimate =
      learning.isEmpty
      ? RunEstimate(loaded, forward(demand, in: loaded), memory: memory) : RunEstimate(loaded, demand, memory: memory)
    let choice: Bool? =
      switch c.spill {
      case .auto: nil
      case .never: false
      case .folder: true
      }
    estimate.settle(spills: choice, recompute: c.recipe.recompute)
    events(.note(estimate.description))
    let options = MemoryOptions(
      recompute: learning.isEmpty ? nil : c.recipe.recompute, forbidsSpilling: c.spill == .never,
      longestRow: rows.map(\.tokens).max())
    try estimate.require(memory, options: options, isTried: c.dryRun, events: events)
    var summary = Summary(
      modules: targets.count, steps: steps, isStable: false, rows: steps * c.recipe.batchSize, tokens: 0, loss: 0,
      tokensPerSecond: 0,
      estimate: estimate)
    if c.dryRun { return summary }
    try ProcessGroup.requireSame(run(loaded, targets: targets, rows: rows, limit: limit, steps: steps))
    if let exploration = c.recipe.exploration?.settled(for: loaded.model), let rate = exploration.rate {
      events(.note("exploring by \(exploration.rule.rawValue) at \(NumberText.significant(rate))"))
    }

    // Opened before the work: a folder that cannot be written shows now, and so does a disk that is full.
    let writer =
      ProcessGroup.isFirst
      ? try GradientFileWriter(
        path: c.output, compression: c.recipe.compression, storesBFloat16: c.storesBFloat16,
        attributes: try attributes(loaded, source, rows: rows)) : nil
    let scratch = estimate.spills ? try ScratchFile(folder: scratchFolder) : nil
    loaded.model.recomputesActivations = estimate.recomputes
    let collector =
      c.recipe.collects.contains(.inputs)
      ? InputCollector(model: loaded.model, targets: targets, components: c.recipe.inputComponents, seed: c.context.seed) : nil
    let estimator = try GradientEstimator(
      model: loaded.model, targets: learning, settings: settings, inputs: collector, scratch: scratch)
    var record = GradientSteps(importance: learning.map { ($0.weight.name, []) })
    var track = GradientTrack(importance: learning.map { ($0.weight.name, []) })
    var convergence = Convergence(c.recipe.stability)
    let clock = Stopwatch()
    var rates = StepRates()
    events(.progress(stage: "gradients", done: 0, total: steps, unit: "batches"))
    var begun = 0
    var roundClock = Stopwatch()
    try estimator.run {
      defer { begun += 1 }
      return begun < steps ? batch(begun) : nil
    } ended: { results throws(GoraError) in
      rates.append(tokens: results.reduce(0) { $0 + $1.tokens }, seconds: roundClock.seconds)
      roundClock = Stopwatch()
      for result in results {
        let change = convergence.add(result.importance)
        record.append(result, change)
        let done = record.loss.count
        if let tracked = result.tracked { track.append(tracked, step: done) }
        summary.tokens += result.tokens
        summary.tokensPerSecond = Double(summary.tokens) / max(clock.seconds, 1e-9)
        events(
          .progress(
            stage: "gradients", done: done, total: steps, unit: "batches",
            rate: StageRate(summary.tokensPerSecond, "tokens/s"), loss: result.loss))
        let changes =
          learning.isEmpty
          ? ""
          : ", importances changed by \(NumberText.significant(100 * change.mean)) % on average, "
            + "\(NumberText.significant(100 * change.maximum)) % at most"
        events(.note("step \(done): loss \(NumberText.fixed(result.loss, 4))\(changes)"))
      }
      if convergence.isReached { summary.isStable = record.loss.count < steps }
      return convergence.isReached
    }
    summary.steps = estimator.done
    summary.rows = record.rows.reduce(0, +)
    summary.steadyTokensPerSecond = rates.steady
    summary.loss = record.loss.reduce(0, +) / Double(summary.steps)
    let gathered = FloatBuffer()
    for (kind, sums) in [(GradientKind.mean, estimator.sums), (.squares, estimator.squares)] {
      for (index, part) in sums.enumerated() {
        let linear = learning[index]
        if let sum = estimator.collected(part, of: index, into: gathered) {
          try writer?.write(
            name: linear.weight.name, kind: kind, rows: linear.outputSize, columns: linear.inputSize, values: sum.pointer,
            scale: 1 / Float(summary.steps), samples: summary.rows, tokens: summary.tokens)
        }
        part.letGo()
      }
    }
    if let writer, c.recipe.collects.contains(.displacements) {
      for (index, linear) in learning.enumerated() {
        let moved = estimator.displacement(of: index)
        try writer.write(
          name: linear.weight.name, kind: .displacement, rows: linear.outputSize, columns: linear.inputSize,
          values: moved.pointer, samples: summary.rows, tokens: summary.tokens)
        moved.letGo()
      }
    }
    if let collector { try write(collector, to: writer, events: events) }
    if let writer {
      try writer.write(steps: record)
      if !track.steps.isEmpty { try writer.write(track: track) }
      try writer.finish()
    }
    if let traffic = ProcessGroup.traffic { events(.note(traffic)) }
    events(.note("memory at most \(RunEstimate.mebibytes(ProcessMemory.peak)) resident"))
    return summary
  }

  /// What has to be the same for all processes, a line each.
  private func run(_ loaded: LoadedModel, targets: [Linear], rows: [EncodedRow], limit: Int, steps: Int) -> String {
    let c = configuration
    let exploration = c.recipe.exploration?.settled(for: loaded.model)
    let settings: [(String, String)] = [
      ("version", c.context.version), ("threads", String(c.context.threads)), ("products", Matmul.backendDescription),
      ("model", loaded.identity?.text ?? ""), ("dtype", loaded.dtype), ("data", fingerprint(of: rows)),
      ("targets", targets.map(\.name).joined(separator: " ")), ("steps", String(steps)),
      ("batch-size", String(c.recipe.batchSize)),
      ("shuffle", String(c.recipe.shuffles)), ("seed", String(c.context.seed)), ("micro-batch-tokens", String(limit)),
      ("collect", collected), ("input-components", String(c.recipe.inputComponents)),
      ("explore", exploration.map { "\($0.rule.rawValue) \($0.rate ?? 0) \($0.warmup)" } ?? "none"),
      ("squares", String(c.recipe.keepsSquares)), ("track", String(c.recipe.trackEvery ?? 0)),
      ("stability", c.recipe.stability.map { "\($0)" } ?? "none"),
    ]
    return settings.map { "\($0)=\($1)" }.joined(separator: "\n")
  }

  /// Takes in the inputs that still wait, and writes all components.
  /// - Parameter writer: the first process's.
  private func write(
    _ collector: InputCollector, to writer: GradientFileWriter?, events: EventHandler
  ) throws(GoraError) {
    try collector.finish()
    var (moved, all) = (0, 0)
    for index in collector.groups.indices {
      guard let found = collector.findings(index), let writer else { continue }
      moved += found.similarity.count { $0 < InputCollector.settledSimilarity }
      all += found.similarity.count
      try writer.write(
        inputs: InputComponents(
          modules: found.linears.map(\.name), inputSize: found.inputSize, ratios: found.ratios, similarity: found.similarity,
          tokens: found.samples, group: String(index)),
        components: found.components)
    }
    events(
      .note(
        "inputs: \(moved) of \(all) components turned in the last micro-batch (cosine below "
          + "\(NumberText.significant(InputCollector.settledSimilarity)))"))
  }

  /// The part of a demand that a run without gradients has.
  private func forward(_ demand: RunEstimate.Demand, in loaded: LoadedModel) -> RunEstimate.ForwardDemand {
    RunEstimate.ForwardDemand(
      activations: loaded.model.lossBytes(tokens: demand.tokens, labelled: demand.labelled), inputs: demand.inputs,
      distinctTokens: demand.distinctTokens, releasesWeights: true, tokens: (demand.allTokens, demand.allLabelled))
  }

  /// What the run will hold, and with it how the estimator may run.
  private func demand(
    of batches: [[EncodedRow]], targets: [Linear], in loaded: LoadedModel, settings: inout GradientEstimator.Settings
  ) -> RunEstimate.Demand {
    var demand = RunEstimate.Demand(
      tokens: 0, labelled: 0, allTokens: 0, distinctTokens: 0,
      lowestLayer: loaded.model.blocks.firstIndex { block in
        block.contains { linear in targets.contains { $0 === linear } }
      }
        ?? 0,
      learnt: targets.reduce(0) { $0 + $1.weight.count }, gradients: 0)
    var ids = Set<Int32>()
    var learnt = 0
    settings.runsWhole = true
    for batch in batches {
      let pieces = microBatches(batch, maxTokens: settings.microBatchTokens)
      if pieces.count > 1 { settings.runsWhole = false }
      for piece in pieces {
        demand.tokens = max(demand.tokens, piece.tokens)
        demand.labelled = max(demand.labelled, piece.targets.count)
        demand.allTokens += piece.tokens
        demand.allLabelled += piece.targets.count
        learnt = max(learnt, piece.labelled.count, piece.source?.ids.count ?? 0)
        ids.formUnion(piece.allIds)
      }
    }
    demand.distinctTokens = ids.count
    if configuration.recipe.collects.contains(.inputs) {
      demand.inputs = InputCollector.bytes(
        model: loaded.model, targets: targets, components: configuration.recipe.inputComponents, labelled: learnt)
    }
    // Sums; windows; squares; sums over a micro-batch's pieces: each process its rows. Copies of the weights: each process all. Beside them what
    // is shared.
    let largestLayer =
      loaded.model.blocks.map { block in
        block.reduce(0) { sum, linear in sum + (targets.contains { $0 === linear } ? linear.weight.count : 0) }
      }.max() ?? 0
    let explores = settings.exploration != nil
    let shared = 1 + [settings.needsWindows, settings.keepsSquares, settings.needsStepSums].count { $0 }
    func floats(_ weights: Int) -> Int { shared * weights / ProcessGroup.size + (explores ? weights : 0) }
    demand.gradientsAtOnce = floats(largestLayer)
    demand.stepGradients = GradientEstimator.sharedFloats(
      weight: targets.map(\.weight.count).max() ?? 0, layer: largestLayer, explores: explores)
    demand.gradients = floats(demand.learnt)
    // A chunk as it is, scaled, shuffled and compressed, with the tables of the compressor.
    let largest = targets.map(\.weight.count).max() ?? 0
    demand.output = 8 * min(1 << 20, 4 * largest) + (ProcessGroup.isAlone ? 0 : 4 * largest)
    return demand
  }

  /// The folder of `--spill`, or the output's.
  private var scratchFolder: String {
    if case .folder(let folder) = configuration.spill { return folder }
    let path = configuration.output
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// As `--collect` spells it.
  private var collected: String {
    Evidence.allCases.filter(configuration.recipe.collects.contains).map(\.rawValue).joined(separator: ",")
  }

  private func attributes(
    _ loaded: LoadedModel, _ source: RowSource, rows: [EncodedRow]
  ) throws(GoraError) -> [(String, String)] {
    let c = configuration
    var attributes = [
      ("creator", c.context.tool), ("creator_version", c.context.version), ("model", loaded.identity?.text ?? ""),
      ("data", fingerprint(of: rows)),
      ("tokenizer", source.fingerprint ?? "none"),
      ("batch_size", String(c.recipe.batchSize)), ("dtype", loaded.precision.rawValue),
    ]
    if let rule = c.recipe.stability {
      attributes.append(
        ("until_stable", "tolerance \(rule.tolerance), patience \(rule.patience), min_steps \(rule.minimumSteps)"))
    }
    if let exploration = c.recipe.exploration?.settled(for: loaded.model) {
      attributes.append(("explore", exploration.rule.rawValue))
      attributes.append(("explore_lr", String(exploration.rate ?? 0)))
      if exploration.warmup > 0 { attributes.append(("explore_warmup", String(exploration.warmup))) }
    }
    if c.recipe.collects != [.gradients] {
      attributes.append(("collect", collected))
    }
    if let every = c.recipe.trackEvery { attributes.append(("track", String(every))) }
    if let provenance = try c.context.provenance(
      after: nil, inputs: [c.model] + c.data.paths, dtype: loaded.dtype)
    {
      attributes.append(("provenance", provenance.text))
    }
    return attributes
  }
}

extension GradientSteps {
  fileprivate mutating func append(_ step: GradientEstimator.Step, _ change: Convergence.Change) {
    loss.append(step.loss)
    tokens.append(step.tokens)
    rows.append(step.rows)
    changeMax.append(change.maximum)
    changeMean.append(change.mean)
    for (i, value) in step.importance.enumerated() { importance[i].values.append(value) }
  }
}

extension GradientTrack {
  fileprivate mutating func append(_ values: [Double], step: Int) {
    steps.append(step)
    for (i, value) in values.enumerated() { importance[i].values.append(value) }
  }
}

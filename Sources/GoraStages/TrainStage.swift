import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText
import GoraTraining

/// init/ + model + data → tuned/: trains an adapter, or with `Method.full` the weights themselves.
package struct TrainStage {
  package enum Method: Sendable, Equatable {
    /// The adapter of this folder.
    case adapter(String)
    /// The target weights of the checkpoint (the paper's "Full").
    case full(TargetSelection)
    /// All weights of a new model of this config.json.
    case fromConfig(String)
  }

  package struct Configuration: Sendable {
    package var method: Method
    /// The checkpoint; for `fromConfig` the folder that holds tokenizer.json.
    package var model: String
    package var data: DataOptions
    package var output: String
    package var recipe = Recipe()
    /// Steps between checkpoints; nil: about once a minute.
    package var saveEvery: Int?
    package var resumes = false
    package var maxMinutes: Double?
    package var validation: String?
    package var validateEvery: Int?
    /// Whether the values of the least validation loss are written, and not the last ones.
    package var keepsBest = false
    /// Validations in a row without a smaller loss after which the run ends.
    package var patience: Int?
    package var log: String?
    package var dryRun = false
    /// `base_model_name_or_path` of the adapter; nil: where the base lies.
    package var baseModel: String?
    package var context: RunContext

    package init(method: Method, model: String, data: DataOptions, output: String, context: RunContext) {
      self.method = method
      self.model = model
      self.data = data
      self.output = output
      self.context = context
    }
  }

  /// How the weights learn, and what is done where nothing is said.
  package struct Recipe: Sendable {
    package var epochs = 1
    /// Steps in all, in place of passes.
    package var maxSteps: Int?
    package var batchSize = 64
    package var microBatchTokens: Int?
    package var lr = 5e-5
    /// Whether `lr` and `lrRatio` are found by trials before the first step, and which share of the run's steps these may cost.
    package var findsRate = false
    package var findsRatio = false
    package var searchShare = 0.15
    /// What changes a step of an adapter; nil: that of the adapter's start, else the first rule that trains its kind.
    package var rule: (any StepRule.Type)?
    /// AdaLoRA's schedule, where it is not the adapter's own.
    package var ranks = RankOptions()
    /// Rate of B over that of A; nil: the rule's own.
    package var lrRatio: Double?
    /// Share of inputs that an adapter's product leaves out in training; nil: what the adapter says.
    package var loraDropout: Double?
    package var weightDecay = 5e-4
    package var warmupRatio = 0.03
    package var schedule = Schedule.Shape.cosine
    package var lrFloor = 0.1
    package var maxGradientNorm = 0.0
    package var shuffles = true
    package var precision = PrecisionChoice.auto
    /// How the frozen base is held beside an adapter.
    package var quantization: Quantization?
    package var recompute = RecomputeChoice.auto

    package init() {}
  }

  /// What is said of AdaLoRA's schedule; nil: what the adapter says.
  package struct RankOptions: Sendable {
    package var target: Int?
    package var initialSteps: Int?
    package var finalSteps: Int?
    package var interval: Int?
    package var orthogonalWeight: Double?

    package init() {}

    fileprivate var given: String? {
      let names = [
        ("--target-rank", target != nil), ("--tinit", initialSteps != nil), ("--tfinal", finalSteps != nil),
        ("--delta-t", interval != nil), ("--orth-weight", orthogonalWeight != nil),
      ]
      return names.first { $0.1 }?.0
    }
  }

  package struct Summary: Sendable {
    /// Of the whole run.
    package var steps: Int
    /// Those taken: fewer where it ended early.
    package var stepsTaken = 0
    package var rows: Int
    package var parameters: Int
    package var firstLoss: Double?
    package var lastLoss: Double?
    package var validationLoss: Double?
    /// The step whose values were written, where the best ones are kept.
    package var bestStep: Int?
    /// Whether the validation loss had stopped falling.
    package var stoppedEarly = false
    /// The rate of the run, and B's over A's, where they were found by trials.
    package var found: RateSearch.Choice?
    /// Work of those trials, in steps, and of runs that were given up.
    package var searchSteps = 0.0
    package var tokensPerSecond: Double
    /// Of the steps after the first; nil where there was one only.
    package var steadyTokensPerSecond: Double?
    package var rowsPerSecond: Double
    package var seconds: Double
    package var resumedFrom: Int
    /// Most bytes that were resident; nil before the end.
    package var peakBytes: Int?
    /// False where `--max-time` ended the run before its last step.
    package var isComplete: Bool
    package var estimate: RunEstimate
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: @escaping EventHandler) throws(GoraError) -> Summary {
    let c = configuration
    // Load.
    let fileNames = try fileNames()
    if fileNames.contains(ModelFolder.weightsName) { try ModelFolder.requireNoOther(in: c.output) }
    try checkOutputs(
      fileNames.map { "\(c.output)/\($0)" } + [TrainingCheckpoint.path(in: c.output)] + (c.log.map { [$0] } ?? []),
      against: inputs + c.data.inputs + (c.validation.map { [$0] } ?? []))
    let writes = ProcessGroup.isFirst && !c.dryRun
    if !c.resumes, writes { try TrainingCheckpoint.requireNoneUnfinished(in: c.output) }
    let output = writes ? try OutputFolder(path: c.output, files: fileNames, folders: [TrainingCheckpoint.folder]) : nil
    let loaded = try load(events)
    loaded.announce(threads: c.context.threads, events: events)
    // A run that goes on is of the day on which it began.
    var data = c.data
    if c.resumes, let date = try TrainingCheckpoint.date(in: c.output) { data.date = date }
    let source = try RowSource(loaded, options: data, events: events)
    let rows = try source.rows(data, events: events)
    loaded.warn(ofLength: rows.map(\.length).max() ?? 0, events: events)
    var validationRows: [EncodedRow] = []
    if let validation = c.validation {
      var options = data
      options.paths = [validation]
      validationRows = try source.rows(options, events: events)
    }
    let adapter = try prepare(loaded, events)

    // Set up.
    let batches = (rows.count + c.recipe.batchSize - 1) / c.recipe.batchSize
    let steps = c.recipe.maxSteps ?? c.recipe.epochs * batches
    let rule = rule(for: adapter)
    let adaLoRA = adapter?.layout as? AdaLoRAKind
    let rankSchedule = try adaLoRA.map { kind throws(GoraError) in try RankSchedule(kind, steps: steps) }
    let plan = learningPlan(loaded, rule, rankSchedule)
    let parameters = plan.parameters.reduce(0) { $0 + $1.count }
    let schedule = Schedule(
      shape: c.recipe.schedule, peak: c.recipe.lr, steps: steps, warmupRatio: c.recipe.warmupRatio, floor: c.recipe.lrFloor)
    let settings = Trainer.Settings(
      batchSize: c.recipe.batchSize, microBatchTokens: c.recipe.microBatchTokens ?? loaded.defaultMicroBatchTokens,
      schedule: schedule, maxGradientNorm: c.recipe.maxGradientNorm, shuffles: c.recipe.shuffles,
      seed: c.context.seed)
    let validationPieces = microBatches(validationRows, maxTokens: settings.microBatchTokens)
    let finder = try rateFinder(
      rows: rows, validation: validationRows, settings: settings, rule: rule, adapters: loaded.model.adapters)
    var estimate = RunEstimate(
      loaded,
      demand(
        of: rows, steps: steps, settings: settings, plan: plan, in: loaded, searched: Int(finder?.search.budget ?? 0),
        validation: validationPieces + (finder?.judged ?? []), events: events),
      memory: c.context.memory)
    estimate.settle(spills: false, recompute: c.recipe.recompute)
    loaded.model.recomputesActivations = estimate.recomputes
    events(
      .note(
        "\(NumberText.count(parameters)) trained parameters, \(rows.count) rows, \(steps) steps of \(c.recipe.batchSize) rows"))
    events(.note(estimate.description))
    if let finder { events(.information(finder.announcement)) }
    let options = MemoryOptions(
      recompute: c.recipe.recompute, longestRow: (rows + validationRows).map(\.tokens).max(),
      quantization: c.recipe.quantization, canQuantize: adapter != nil && c.recipe.quantization == nil)
    try estimate.require(c.context.memory, options: options, isTried: c.dryRun, events: events)
    let empty = Summary(
      steps: steps, rows: rows.count, parameters: parameters, tokensPerSecond: 0, rowsPerSecond: 0, seconds: 0, resumedFrom: 0,
      isComplete: true, estimate: estimate)
    if c.dryRun { return empty }

    let identity = identity(
      loaded, settings: settings, rule: rule, ranks: rankSchedule, rows: rows, validationRows: validationRows, adapter: adapter)
    let checkpoint = try TrainingCheckpoint(folder: c.output, identity: identity, date: source.date)
    let saved = c.resumes ? try checkpoint.progress() : nil
    // What was left out of the identity is decided by these, where it bears on no byte of one process's run.
    let rest = [
      ("version", c.context.version), ("validation-rows", fingerprint(of: validationRows)),
      ("validate-every", String(c.validateEvery ?? 0)), ("step", String(saved?.step ?? 0)),
      ("trials", saved?.trials ?? ""), ("losses", saved?.losses ?? ""),
    ]
    try ProcessGroup.requireSame((identity + rest).map { "\($0)=\($1)" }.joined(separator: "\n"))
    // Before the first step: an input that changes meanwhile does not change what was read, nor cost the run.
    let provenance = writes ? try provenance(loaded, adapter: adapter) : nil
    let log =
      try writes ? c.log.map { path throws(GoraError) in try MetricsLog(path: path, keepingSteps: saved?.step ?? 0) } : nil

    // Train.
    let run = TrainingRun(
      c, loaded, rows: rows, validation: validationPieces, plan: plan, settings: settings, finder: finder, checkpoint: checkpoint,
      saved: saved, log: log, writes: writes, summary: empty, events: events)
    if try run.findRate() { try run.train() }
    var summary = run.summary
    guard summary.isComplete else { return summary }

    // Save.
    if c.keepsBest, let best = run.record.best {
      run.record.restoreBest()
      (summary.bestStep, summary.validationLoss) = (best.step, best.loss)
    }
    if let output {
      let whole = run.search.map { search in provenance?.adding("lr_search", search) } ?? provenance
      try save(loaded, adapter: adapter, to: output, provenance: whole)
    }
    // The best values may have others.
    if let ranks = run.ranks, summary.bestStep == nil { events(.note("\(ranks)")) }
    let peak = ProcessMemory.peak
    summary.peakBytes = peak
    events(.note("memory at most \(RunEstimate.mebibytes(peak)) resident"))
    if let traffic = ProcessGroup.traffic { events(.note(traffic)) }
    return summary
  }

  // MARK: The methods' differences

  /// What is written when the last step is done.
  private func fileNames() throws(GoraError) -> [String] {
    if case .adapter = configuration.method { return Adapter.fileNames }
    return try ModelFolder.fileNames(withCompanionsIn: configuration.model)
  }

  /// What is read besides rows.
  private var inputs: [String] {
    switch configuration.method {
    case .adapter(let folder): [folder, configuration.model]
    case .full: [configuration.model]
    case .fromConfig(let path): [path, configuration.model]
    }
  }

  private func load(_ events: EventHandler) throws(GoraError) -> LoadedModel {
    let c = configuration
    var trainsAdapter = false
    if case .adapter = c.method { trainsAdapter = true }
    if !trainsAdapter, try CheckpointFiles(c.model).gguf != nil {
      throw GoraError(
        .usage, at: .file(c.model), "--method full writes a checkpoint folder, and this is a GGUF file",
        hint: "train an adapter beside it, or start from the folder that it was made from")
    }
    switch c.method {
    case .full where c.recipe.quantization != nil, .fromConfig where c.recipe.quantization != nil:
      throw GoraError(
        .usage, "--quantize holds weights that do not learn; --method full trains them",
        hint: "train an adapter, or leave --quantize out")
    case .adapter, .full:
      return try LoadedModel(
        path: c.model, precision: c.recipe.precision, quantization: c.recipe.quantization, memory: c.context.memory,
        events: events)
    case .fromConfig(let path):
      return try LoadedModel(
        config: path, tokenizer: c.model, seed: c.context.seed, memory: c.context.memory, events: events)
    }
  }

  /// Attaches the adapter, or makes weights trainable.
  private func prepare(_ loaded: LoadedModel, _ events: EventHandler) throws(GoraError) -> Adapter? {
    switch configuration.method {
    case .adapter(let folder):
      var adapter = try Adapter(readingFolder: folder).unfolded
      try adapter.requireBase(loaded.identity, folder: folder)
      adapter.dropout = configuration.recipe.loraDropout ?? adapter.dropout
      try adapter.requireTrainable(under: rule(for: adapter), folder: folder)
      let ranks = configuration.recipe.ranks
      if let kind = adapter.layout as? AdaLoRAKind {
        adapter.layout = kind.with(ranks)
      } else if let option = ranks.given {
        throw GoraError(
          .usage, "\(option) goes with an AdaLoRA adapter, \(folder) is \(adapter.kind.title)",
          hint: "gora-init --adapter adalora")
      }
      try loaded.model.quantize()
      try loaded.model.attach(adapter, from: folder)
      for low in loaded.model.adapters { low.dropoutRate = adapter.dropout }
      return adapter
    case .full(let targets):
      let linears = loaded.linears(try targets.selected(of: loaded.model.linears.map(\.name)))
      try makeTrainable(linears.map(\.weight), events)
      return nil
    case .fromConfig:
      try makeTrainable(loaded.model.learnable, events)
      return nil
    }
  }

  /// - Throws: status 71 where the memory for values and gradients is not there.
  private func makeTrainable(_ parameters: [Parameter], _ events: EventHandler) throws(GoraError) {
    let floats = parameters.reduce(0) { $0 + $1.count * ($1.values == nil ? 2 : 1) }
    try configuration.context.memory.require(
      4 * floats, for: "values and gradients of what learns", remedies: [], events: events)
    for parameter in parameters { parameter.makeTrainable() }
  }

  /// nil where the rate is given, and B's over A's.
  private func rateFinder(
    rows: [EncodedRow], validation: [EncodedRow], settings: Trainer.Settings, rule: any StepRule.Type,
    adapters: [LowRankAdapter]
  ) throws(GoraError) -> RateFinder? {
    let recipe = configuration.recipe
    guard recipe.findsRate || recipe.findsRatio else { return nil }
    var isAdapter = false
    if case .adapter = configuration.method { isAdapter = true }
    if recipe.findsRatio, !adapters.contains(where: { low in rule.learns(low).contains { $0 === low.a } }) {
      throw GoraError(
        .usage, "--lr-ratio auto: under --rule \(rule.name) A stays as it is, and has no rate", hint: "leave --lr-ratio out")
    }
    let search = RateSearch(
      lr: recipe.findsRate ? nil : recipe.lr,
      ratio: !isAdapter ? .none : recipe.findsRatio ? .wanted : .given(recipe.lrRatio ?? rule.standardRatio),
      steps: settings.schedule.steps, share: recipe.searchShare)
    return try RateFinder(rows: rows, validation: validation, settings: settings, search: search)
  }

  private func rule(for adapter: Adapter?) -> any StepRule.Type {
    configuration.recipe.rule ?? StepRules.standard(for: adapter?.kind ?? LoRAKind.self, start: adapter?.start?["method"]?.text)
  }

  private func learningPlan(_ loaded: LoadedModel, _ rule: any StepRule.Type, _ ranks: RankSchedule?) -> LearningPlan {
    let recipe = configuration.recipe
    var settings = AdamW.Settings(weightDecay: Float(recipe.weightDecay))
    switch configuration.method {
    case .adapter:
      let adapters = loaded.model.adapters
      return LearningPlan(
        parameters: adapters.flatMap { rule.learns($0) },
        stateFloats: rule.stateFloats(adapters) + rule.scratchFloats(adapters), adaptsRanks: ranks != nil
      ) { ratio in
        rule.optimizer(
          adapters, StepSettings(ratio: ratio ?? rule.standardRatio, weightDecay: recipe.weightDecay, ranks: ranks))
      }
    case .fromConfig: settings.decaysVectors = false
    case .full: break
    }
    let parameters = loaded.model.parameters.filter { $0.gradient != nil }
    return LearningPlan(parameters: parameters, stateFloats: 2 * parameters.reduce(0) { $0 + $1.count }) { _ in
      AdamW(parameters.map { ($0, 1) }, settings: settings)
    }
  }

  /// What the run will hold, from the largest of its micro-batches; a validation piece counts where it is larger.
  private func demand(
    of rows: [EncodedRow], steps: Int, settings: Trainer.Settings, plan: LearningPlan, in loaded: LoadedModel,
    searched: Int, validation: [PackedBatch], events: EventHandler
  ) -> RunEstimate.Demand {
    let all = rows.reduce(0) { $0 + $1.tokens }
    let batch = all * min(settings.batchSize, rows.count) / rows.count
    let largest = settings.order(rows: rows.count).largestMicroBatch(rows, steps: steps, maxTokens: settings.microBatchTokens)
    if largest.pieces < ProcessGroup.size {
      events(
        .warning(
          "a batch makes \(largest.pieces) micro-batches at most, for \(ProcessGroup.size) processes: the others have nothing to do; "
            + "lower --micro-batch-tokens from \(settings.microBatchTokens), or take a larger --batch-size"))
    }
    var ids = Set<Int32>()
    for row in rows { ids.formUnion(row.source + row.ids) }
    let parameters = plan.parameters.reduce(0) { $0 + $1.count }
    let learns = loaded.model.blocks.firstIndex { block in
      block.contains { $0.weight.gradient != nil || ($0.adapter?.rank ?? 0) > 0 }
    }
    return RunEstimate.Demand(
      tokens: largest.tokens, labelled: largest.labelled, allTokens: (steps + searched) * batch,
      forwardTokens: validation.map(\.tokens).max() ?? 0, forwardLabelled: validation.map(\.targets.count).max() ?? 0,
      distinctTokens: ids.count, lowestLayer: learns ?? 0, learnt: parameters,
      // Weights that were made trainable have their sums already.
      gradients: plan.parameters.reduce(0) { $0 + ($1.gradient == nil ? $1.count : 0) }
        + GradientSums.scratchFloats(of: plan.parameters, blocks: loaded.model.blocks, pieces: largest.pieces),
      optimiser: plan.stateFloats + (configuration.keepsBest ? parameters : 0)
        + (searched > 0 ? RateTrials.floats(parameters: parameters) : 0))
  }

  /// All that decides a run's bytes: a checkpoint of another run is refused by the first line that differs.
  private func identity(
    _ loaded: LoadedModel, settings: Trainer.Settings, rule: any StepRule.Type, ranks: RankSchedule?, rows: [EncodedRow],
    validationRows: [EncodedRow], adapter: Adapter?
  ) -> [(key: String, value: String)] {
    let c = configuration
    let method =
      switch c.method {
      case .adapter: "adapter"
      case .full(let targets): "full \(targets)"
      case .fromConfig: "from-config"
      }
    // The rest decides nothing where no validation is acted on.
    let validation =
      c.keepsBest || c.patience != nil
      ? "\(fingerprint(of: validationRows)) every \(c.validateEvery ?? 0) keep-best \(c.keepsBest) patience \(c.patience ?? 0)"
      : "none"
    let finding = "within \(c.recipe.searchShare) on \(validationRows.isEmpty ? "first rows" : fingerprint(of: validationRows))"
    return [
      ("threads", String(c.context.threads)), ("products", Matmul.backendDescription), ("method", method),
      ("model", loaded.identity?.text ?? "\(loaded.config)"),
      ("adapter", adapter?.fingerprint ?? "none"), ("dtype", loaded.dtype),
      ("data", fingerprint(of: rows)),
      ("batch-size", String(settings.batchSize)), ("micro-batch-tokens", String(settings.microBatchTokens)),
      ("steps", String(settings.schedule.steps)), ("schedule", settings.schedule.shape.rawValue),
      ("lr", c.recipe.findsRate ? "auto \(finding)" : String(c.recipe.lr)),
      ("rule", rule.name),
      ("lr-ratio", c.recipe.findsRatio ? "auto \(finding)" : String(c.recipe.lrRatio ?? rule.standardRatio)),
      ("lora-dropout", String(adapter?.dropout ?? 0)),
      ("validation", validation), ("warmup", String(settings.schedule.warmup)),
      ("lr-floor", String(c.recipe.lrFloor)),
      ("weight-decay", String(c.recipe.weightDecay)), ("max-grad-norm", String(c.recipe.maxGradientNorm)),
      ("shuffle", String(c.recipe.shuffles)), ("seed", String(c.context.seed)),
    ] + (ranks.map { [("ranks", $0.description)] } ?? [])
  }

  /// The record of the run, with its inputs' digests.
  private func provenance(_ loaded: LoadedModel, adapter: Adapter?) throws(GoraError) -> Provenance? {
    let c = configuration
    var inputs = c.data.paths
    if case .adapter(let folder) = c.method { inputs = [folder] + inputs }
    if case .fromConfig(let path) = c.method { inputs = [path] + inputs } else { inputs = [c.model] + inputs }
    // A resumed run leaves the record of the unbroken one.
    var context = c.context
    context.arguments.removeAll { $0 == "--resume" }
    return try context.provenance(after: adapter?.provenance, inputs: inputs, dtype: loaded.dtype)
  }

  private func save(
    _ loaded: LoadedModel, adapter: Adapter?, to output: OutputFolder, provenance: Provenance?
  ) throws(GoraError) {
    let c = configuration
    if var adapter {
      for i in adapter.modules.indices {
        guard let low = loaded.model.linears.first(where: { $0.name == adapter.modules[i].name })?.adapter else { continue }
        adapter.modules[i].replaceTrained(a: low.a.values?.array ?? [], b: low.b.values?.array ?? [])
        adapter.modules[i].vector = low.vector?.values?.array
      }
      adapter = adapter.folded
      adapter.model = loaded.identity?.text
      adapter.taskType = loaded.config.family.taskType
      adapter.baseQuantization = loaded.quantization?.rawValue
      try adapter.write(
        to: output, profile: .ranked, baseModel: AdapterBase.name(c.baseModel, earlier: adapter.baseModel, path: c.model),
        provenance: provenance)
    } else {
      var configPath: String?
      if case .fromConfig(let path) = c.method { configPath = path }
      try CheckpointWriter.write(
        loaded.model, to: output, base: loaded.folder, tokenizerFolder: c.model, configPath: configPath, provenance: provenance)
    }
  }
}

extension AdaLoRAKind {
  fileprivate func with(_ options: TrainStage.RankOptions) -> AdaLoRAKind {
    var config = self
    config.targetRank = options.target ?? targetRank
    config.initialSteps = options.initialSteps ?? initialSteps
    config.finalSteps = options.finalSteps ?? finalSteps
    config.interval = options.interval ?? interval
    config.orthogonalWeight = options.orthogonalWeight ?? orthogonalWeight
    return config
  }
}

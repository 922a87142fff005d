import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// model (+ adapter) + data → result.json: what a task measures.
package struct EvalStage {
  package struct Configuration: Sendable {
    package var model: String
    package var adapter: String?
    package var task: any EvalTask.Type
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
      model: String, task: any EvalTask.Type, data: DataOptions, output: OutputTarget = .standardOutput, context: RunContext
    ) {
      self.model = model
      self.task = task
      self.data = data
      self.output = output
      self.context = context
    }
  }

  package struct Summary: Sendable {
    package var task: any EvalTask.Type
    package var rows: Int
    package var seconds = 0.0
    /// New tokens a second of the answers after the first `--batch-size`; nil where there are no more.
    package var steadyTokensPerSecond: Double?
    /// nil for a dry run.
    package var outcome: TaskOutcome?
    package var provenance: Provenance?
    package var adapter: String?
    package var estimate: RunEstimate?
    /// The result, where it goes to standard output.
    package var output: String?

    /// What `--require` may ask for.
    package func value(of metric: String) -> Double? { outcome?.values.first { $0.metric == metric }?.value }

    /// The result; with `timed` also how fast it came, which is not the same in two runs.
    package func json(timed: Bool) -> JSON {
      var members: [JSON.Member] = [
        .init("format", "gora-result"), .init("format_version", 1), .init("task", JSON(task.name)), .init("rows", JSON(rows)),
      ]
      members += outcome?.members ?? []
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
      c.output.paths + [c.samples, c.answering.judging.requests].compactMap { $0 },
      against: [c.model] + (c.adapter.map { [$0] } ?? []) + c.data.inputs + c.answering.judging.inputs)
    let writes = ProcessGroup.isFirst && !c.dryRun
    let output = writes ? try c.output.open() : nil
    var others: [AtomicFile] = []
    func open(_ path: String?) throws(GoraError) -> AtomicFile? {
      guard let path, writes else { return nil }
      let file = try AtomicFile(path: path)
      others.append(file)
      return file
    }
    if c.answering.judging.replies != nil {
      var summary = try judged(events)
      summary.output = try output?.deliver(summary.json(timed: false).pretty())
      return summary
    }
    let (samples, requests) = (try open(c.samples), try open(c.answering.judging.requests))
    let loaded = try LoadedModel(
      path: c.model, precision: c.precision, quantization: c.quantization, memory: c.context.memory, events: events)
    loaded.announce(threads: c.context.threads, events: events)
    var earlier: Provenance?
    var fingerprint = "none"
    let adapter = try c.adapter.map { folder throws(GoraError) in
      let adapter = try Adapter(readingFolder: folder).folded
      try adapter.requireBase(loaded.identity, folder: folder)
      return adapter
    }
    try loaded.model.quantize()
    if let adapter, let folder = c.adapter {
      try loaded.model.attach(adapter, from: folder)
      adapter.noteBase(of: loaded.quantization?.rawValue, events)
      earlier = adapter.provenance
      fingerprint = adapter.fingerprint
    }
    if let model = loaded.model as? CLIPModel {
      var summary = try ImagesDriver(model: model, loaded: loaded, configuration: c, adapter: fingerprint).measured(
        after: earlier, events)
      summary.output = try output?.deliver(summary.json(timed: false).pretty())
      return summary
    }
    try ImagesTask.refuse(c, modelType: loaded.config.modelType)
    var data = c.data
    data.template = data.template ?? c.task.template
    // What is not learnt is not cut.
    if !c.task.options.contains(.maxLength) { data.maxLength = .max }
    let text = try LoadedText(files: loaded.files, config: loaded.config, options: data)
    var summary = Summary(task: c.task, rows: 0, adapter: c.adapter)
    // result.json says which run made it, not which files: their hashes are in the adapter's and the gradients' records.
    if writes {
      summary.provenance = try c.context.provenance(
        after: earlier, inputs: [c.model] + c.data.paths + c.answering.judging.inputs, dtype: loaded.dtype)
    }
    let inputs = EvalInputs(
      configuration: c, loaded: loaded, text: text, data: data, samples: samples, requests: requests, adapter: fingerprint)
    switch c.task.init(c.answering) {
    case let task as any RowsTask: try RowsDriver(task: task, inputs: inputs).measure(&summary, events)
    case let task as any AnswersTask: try AnswersDriver(task: task, inputs: inputs).measure(&summary, events)
    case let task as any ProgramsTask: try ProgramsDriver(task: task, inputs: inputs).measure(&summary, events)
    case is any LabelsTask: try LabelsDriver(inputs: inputs).measure(&summary, events)
    case is any ChoicesTask: try ChoicesDriver(inputs: inputs).measure(&summary, events)
    case is any TurnsTask: try TurnsDriver(inputs: inputs).measure(&summary, events)
    default: throw GoraError(.internal, "no driver runs task \(c.task.name)")
    }
    summary.output = try output?.deliver(summary.json(timed: false).pretty(), with: others.filter { !$0.isClosed })
    if let traffic = ProcessGroup.traffic { events(.note(traffic)) }
    if !c.dryRun { events(.note("memory at most \(RunEstimate.mebibytes(ProcessMemory.peak)) resident")) }
    return summary
  }
}

extension EvalStage {
  /// The scores of an earlier run's answers, by a judge's replies alone: the model is named, not opened.
  private func judged(_ events: EventHandler) throws(GoraError) -> Summary {
    let c = configuration
    var questions = try DataFile.read(c.data.paths, skipBadRows: c.data.skipsBadRows) { row throws(GoraError) in
      [try TurnsQuestion(row)]
    }
    if let limit = c.limit { questions.keepFirst(limit) }
    var summary = Summary(task: c.task, rows: questions.rows.count)
    if c.dryRun { return summary }
    summary.provenance = try c.context.provenance(after: nil, inputs: [c.model] + c.data.paths + c.answering.judging.inputs)
    summary.outcome = try Judge(c.answering.judging, questions: questions).scores(asking: [], events)
    return summary
  }
}

extension EvalStage.Configuration {
  /// Refuses to share out what the processes do not all have before them.
  /// - Parameters:
  ///   - adapter: its fingerprint, or "none".
  ///   - rows: what goes through the model.
  func requireSame(_ loaded: LoadedModel, adapter: String, _ rows: [EncodedRow]) throws(GoraError) {
    if ProcessGroup.isAlone { return }
    let a = answering
    try ProcessGroup.requireSame(
      [
        ("version", context.version), ("model", loaded.identity?.text ?? ""), ("dtype", loaded.dtype),
        ("threads", String(context.threads)), ("products", Matmul.backendDescription), ("adapter", adapter),
        ("task", task.name), ("data", fingerprint(of: rows)), ("batch-size", String(a.batchSize)),
        ("max-new-tokens", String(a.maxNewTokens)), ("temperature", String(a.temperature ?? 0)), ("top-p", String(a.topP)),
        ("seed", String(a.seed)), ("beams", String(a.beams)), ("attempts", String(a.attempts)), ("stop", "\(a.stops)"),
      ].map { "\($0)=\($1)" }.joined(separator: "\n"))
  }
}

/// What a driver works on.
struct EvalInputs {
  let configuration: EvalStage.Configuration
  let loaded: LoadedModel
  let text: LoadedText
  /// The configuration's, with the task's template.
  let data: DataOptions
  let samples: AtomicFile?
  let requests: AtomicFile?
  /// The adapter's fingerprint, or "none".
  let adapter: String

  /// The rows of the kinds that are trained on.
  func rows(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) -> DataRows {
    limited(
      try text.read(data, vocabularySize: loaded.config.vocabularySize, files: loaded.files, events: events), &summary)
  }

  /// The rows of a task of its own kind.
  func rows<Row>(
    _ summary: inout EvalStage.Summary, _ events: EventHandler, _ row: (JSONField) throws(GoraError) -> Row
  ) throws(GoraError) -> ReadRows<Row> {
    limited(try text.read(data, events: events) { field throws(GoraError) in [try row(field)] }, &summary)
  }

  private func limited<Row>(_ rows: ReadRows<Row>, _ summary: inout EvalStage.Summary) -> ReadRows<Row> {
    var rows = rows
    if let limit = configuration.limit { rows.keepFirst(limit) }
    summary.rows = rows.rows.count
    return rows
  }

  /// Refuses to share out what the processes do not all have before them.
  /// - Parameter rows: what goes through the model.
  func requireSame(_ rows: [EncodedRow]) throws(GoraError) {
    try configuration.requireSame(loaded, adapter: adapter, rows)
  }

  func write(sample: JSON) throws(GoraError) { try samples?.write(Array((sample.compact() + "\n").utf8)) }
}

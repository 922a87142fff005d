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
      c.output.paths + (c.samples.map { [$0] } ?? []),
      against: [c.model] + (c.adapter.map { [$0] } ?? []) + c.data.inputs)
    let output = c.dryRun ? nil : try c.output.open()
    var samples: AtomicFile?
    if let path = c.samples, c.task is any AnswersTask.Type, !c.dryRun { samples = try AtomicFile(path: path) }
    let loaded = try LoadedModel(
      path: c.model, precision: c.precision, quantization: c.quantization, memory: c.context.memory, events: events)
    loaded.announce(threads: c.context.threads, events: events)
    var earlier: Provenance?
    if let folder = c.adapter {
      let adapter = try Adapter(readingFolder: folder).folded
      try adapter.requireBase(loaded.identity, folder: folder)
      try loaded.model.attach(adapter, from: folder)
      adapter.noteBase(of: loaded.quantization?.rawValue, events)
      earlier = adapter.provenance
    }
    if let model = loaded.model as? CLIPModel {
      var summary = try ImagesDriver(model: model, loaded: loaded, configuration: c).measured(after: earlier, events)
      summary.output = try output?.deliver(summary.json(timed: false).pretty())
      return summary
    }
    try ImagesTask.refuse(c, modelType: loaded.config.modelType)
    let text = try LoadedText(files: loaded.files, config: loaded.config, options: c.data)
    var data = try text.read(c.data, vocabularySize: loaded.config.vocabularySize, files: loaded.files, events: events)
    if let limit = c.limit { data.rows = Array(data.rows.prefix(limit)) }
    var summary = Summary(task: c.task, rows: data.rows.count, adapter: c.adapter)
    // result.json says which run made it, not which files: their hashes are in the adapter's and the gradients' records.
    if !c.dryRun {
      summary.provenance = try c.context.provenance(after: earlier, inputs: [c.model] + c.data.paths, dtype: loaded.dtype)
    }
    let inputs = EvalInputs(configuration: c, loaded: loaded, text: text, data: data, samples: samples)
    switch c.task.init(c.answering) {
    case let task as any RowsTask: try RowsDriver(task: task, inputs: inputs).measure(&summary, events)
    case let task as any AnswersTask: try AnswersDriver(task: task, inputs: inputs).measure(&summary, events)
    default: throw GoraError(.internal, "no driver runs task \(c.task.name)")
    }
    summary.output = try output?.deliver(summary.json(timed: false).pretty(), with: samples.map { [$0] } ?? [])
    if !c.dryRun { events(.note("memory at most \(RunEstimate.mebibytes(ProcessMemory.peak)) resident")) }
    return summary
  }
}

/// What a driver works on.
struct EvalInputs {
  let configuration: EvalStage.Configuration
  let loaded: LoadedModel
  let text: LoadedText
  let data: DataRows
  let samples: AtomicFile?
}

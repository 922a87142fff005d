import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraModels
import GoraStages
import GoraText

@main
struct Eval: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-eval",
    abstract: "Measure a model, with or without an adapter.",
    discussion: """
      Examples:
        gora-eval --model Llama-3.2-1B --adapter tuned/ --task gsm8k \\
          --data test.jsonl -o result.json --samples samples.jsonl
        gora-eval --model Llama-3.2-1B --task loss --data held-out.jsonl

      Any PEFT LoRA folder is a valid --adapter.
      """,
    version: Version.line("gora-eval"))
  static let sharesWork = true

  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file.", valueName: "path"))
  var model: String
  @Option(help: ArgumentHelp("PEFT LoRA folder.", valueName: "dir"))
  var adapter: String?
  @Option(help: "What to measure: \(EvalTasks.names).")
  var task: TaskName
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Result file (JSON; - is standard output).", valueName: "file"))
  var output = "-"
  @Option(help: ArgumentHelp("Each answer, as JSON Lines.", valueName: "file"))
  var samples: String?
  @Option(
    name: .customLong("max-new-tokens"),
    help: ArgumentHelp("Longest answer.", valueName: "n", standard: Eval.answering.maxNewTokens), transform: count(to: 1_000_000))
  var maxNewTokens: Int?
  @Option(
    name: .customLong("batch-size"),
    help: ArgumentHelp("Answers generated together.", valueName: "n", standard: Eval.answering.batchSize), transform: count())
  var batchSize: Int?
  @Option(
    help: ArgumentHelp("Sampling temperature; 0 is greedy.", valueName: "x", standard: 0),
    transform: number(1e-3...1e3, orZero: true))
  var temperature: Double?
  @Option(
    name: .customLong("top-p"), help: ArgumentHelp("Nucleus of the sampling.", valueName: "x", standard: 1),
    transform: number(1e-6...1))
  var topP: Double?
  @Option(
    parsing: .singleValue, help: ArgumentHelp("Text that ends an answer (repeatable).", valueName: "text"), transform: text)
  var stop: [String] = []
  @Option(help: ArgumentHelp("Use the first rows only.", valueName: "n"), transform: count())
  var limit: Int?
  @Option(help: "How the number is found: gora (the default), metamath or loraga.")
  var extractor: AnswerExtractor?
  @Option(
    parsing: .singleValue, help: ArgumentHelp("Exit 1 unless it holds (accuracy>=0.5; repeatable).", valueName: "condition"),
    transform: Requirement.init(_:))
  var require: [Requirement] = []
  @Option(help: ArgumentHelp("Products in auto, f32 or bf16.", valueName: "type"))
  var dtype: PrecisionChoice = .auto
  @OptionGroup var base: BaseArguments
  @OptionGroup var memory: MemoryArguments
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    if var rows = data.shown(of: model) {
      rows.answers = task.type is any AnswersTask.Type
      return try show(rows, reporter)
    }
    try refuseIdleOptions()
    for requirement in require { try requirement.check(task.type) }
    let target = OutputTarget(option: output)
    var configuration = EvalStage.Configuration(
      model: model, task: task.type, data: data.options, output: target, context: try common.context(Self.tool))
    configuration.adapter = adapter
    configuration.samples = samples
    configuration.limit = limit
    configuration.answering = chosenAnswering
    configuration.precision = dtype
    configuration.quantization = base.quantize
    configuration.dryRun = common.dryRun
    configuration.context.memory.isIgnored = memory.ignoresMemory
    let summary = try EvalStage(configuration).run(events: reporter.report)
    if common.dryRun {
      reporter.summary("would measure \(task.type.name) on \(summary.rows) rows; \(summary.estimate.map { "\($0)" } ?? "")")
      if common.json {
        try reporter.output(
          JSON.object([
            "task": JSON(task.type.name), "rows": JSON(summary.rows), "estimate": summary.estimate.map { $0.json } ?? nil,
          ]).pretty())
      }
      return
    }
    if let text = summary.output {
      try reporter.output(text)
    } else if common.json {
      try reporter.output(summary.json(timed: true).pretty())
    }
    reporter.summary((summary.outcome?.line ?? "") + target.arrow)
    for requirement in require { try requirement.check(summary) }
  }

  private func refuseIdleOptions() throws(GoraError) {
    func isByRows(_ task: any EvalTask.Type) -> Bool { task is any RowsTask.Type }
    func isByAnswers(_ task: any EvalTask.Type) -> Bool { task is any AnswersTask.Type }
    if !isByAnswers(task.type) {
      try refuseIdle(
        [
          "--samples": samples != nil, "--max-new-tokens": maxNewTokens != nil, "--batch-size": batchSize != nil,
          "--temperature": temperature != nil, "--top-p": topP != nil, "--stop": !stop.isEmpty, "--extractor": extractor != nil,
        ], goWith: "--task \(EvalTasks.names(isByAnswers))")
    }
    if !isByRows(task.type) {
      try refuseIdle(["--max-length": data.rows.maxLength != nil], goWith: "--task \(EvalTasks.names(isByRows))")
    }
    if temperature ?? 0 == 0 { try refuseIdle(["--top-p": topP != nil], goWith: "--temperature above 0") }
  }

  private var chosenAnswering: Answering {
    var answering = Self.answering
    answering.maxNewTokens = maxNewTokens ?? answering.maxNewTokens
    answering.batchSize = batchSize ?? answering.batchSize
    answering.sampling = Sampling(temperature: temperature ?? 0, topP: topP ?? 1, seed: common.seed)
    answering.extractor = extractor ?? answering.extractor
    answering.stops = stop
    return answering
  }

  private static let answering = Answering()
}

/// A condition on a result, such as `accuracy>=0.5`.
struct Requirement: Sendable {
  private let text: String
  private let metric: String
  private let isMinimum: Bool
  private let bound: Double

  init(_ text: String) throws(GoraError) {
    self.text = text
    for (sign, isMinimum) in [(">=", true), ("<=", false)] {
      guard let range = text.firstRange(of: sign) else { continue }
      metric = text[..<range.lowerBound].filter { $0 != " " }
      guard EvalTasks.all.flatMap({ $0.metrics }).contains(metric),
        let bound = Double(text[range.upperBound...].filter { $0 != " " }), bound.isFinite
      else { break }
      self.bound = bound
      self.isMinimum = isMinimum
      return
    }
    throw GoraError(.usage, "--require \"\(text)\" is not a condition", hint: "such as accuracy>=0.5 or loss<=2.1")
  }

  /// - Throws: status 64 where the task does not measure it.
  func check(_ task: any EvalTask.Type) throws(GoraError) {
    guard task.metrics.contains(metric) else {
      throw GoraError(
        .usage, "--require \"\(text)\": task \(task.name) does not measure \(metric)",
        hint: "it measures \(task.metrics.joined(separator: " and "))")
    }
  }

  /// - Throws: exit 1 where it does not hold.
  func check(_ summary: EvalStage.Summary) throws(GoraError) {
    guard let value = summary.value(of: metric), isMinimum ? value >= bound : value <= bound else {
      let measured = summary.value(of: metric).map { NumberText.fixed($0, 4) } ?? "nothing"
      throw GoraError(.negative, "required \(text), measured \(measured)")
    }
  }
}

/// A task by its name.
struct TaskName: ExpressibleByArgument {
  let type: any EvalTask.Type

  init?(argument: String) {
    guard let type = EvalTasks.all.first(where: { $0.name == argument }) else { return nil }
    self.type = type
  }

  static var allValueStrings: [String] { EvalTasks.all.map { $0.name } }
}

extension AnswerExtractor: ExpressibleByArgument {}

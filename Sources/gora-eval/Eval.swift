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
        gora-eval --model Llama-3.2-1B --task humaneval --data HumanEval.jsonl \\
          --attempts 20 --temperature 0.2 --top-p 0.95
        gora-eval --model Llama-3.2-1B --task choose --data piqa.jsonl
        gora-eval --model clip-vit-base-patch16 --adapter tuned/ \\
          --task images --data dtd/test --classes dtd --templates dtd

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
    help: ArgumentHelp("Longest answer.", valueName: "n", standard: Eval.standards { $0.maxNewTokens }),
    transform: count(to: 1_000_000))
  var maxNewTokens: Int?
  @Option(
    name: .customLong("batch-size"),
    help: ArgumentHelp("Answers generated, or measured, together.", valueName: "n", standard: Eval.standards { $0.batchSize }),
    transform: count())
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
  @Option(
    help: ArgumentHelp("Beams of the search for the likeliest answer.", valueName: "n", standard: Eval.standards { $0.beams }),
    transform: count(to: 64))
  var beams: Int?
  @Option(
    help: ArgumentHelp("Programs for each problem.", valueName: "n", standard: Eval.standards { $0.attempts }),
    transform: count(to: 10_000))
  var attempts: Int?
  @Option(help: "How problems are put: raw (the default), instruct or loraga.")
  var style: ProgramStyle?
  @Option(
    name: .customLong("time-limit"),
    help: ArgumentHelp("Time of a program.", valueName: "seconds", standard: Eval.standards { $0.programs.timeLimit }),
    transform: number(0.1...3600))
  var timeLimit: Double?
  @Flag(name: .customLong("no-sandbox"), help: "Run programs as you, with limits alone.")
  var omitsSandbox = false
  @Option(
    name: .customLong("judge-prompts"), help: ArgumentHelp("What a judge is asked (judge_prompts.jsonl).", valueName: "file"))
  var judgePrompts: String?
  @Option(help: ArgumentHelp("Reference answers for the judge (JSON Lines).", valueName: "file"))
  var references: String?
  @Option(
    name: .customLong("judge-requests"), help: ArgumentHelp("Write requests to a judge, as JSON Lines.", valueName: "file"))
  var judgeRequests: String?
  @Option(
    name: .customLong("judge-replies"), help: ArgumentHelp("Score by a judge's replies; nothing is generated.", valueName: "file")
  )
  var judgeReplies: String?
  @Option(
    name: .customLong("judge-command"), help: ArgumentHelp("Score by a command that answers requests.", valueName: "command"),
    transform: text)
  var judgeCommand: String?
  @Option(
    name: .customLong("judge-model"),
    help: ArgumentHelp("Whom requests name.", valueName: "name", standard: Eval.standards { $0.judging.model }), transform: text)
  var judgeModel: String?
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
      let answers = task.type is any AnswersTask.Type || task.type is any LabelsTask.Type
      guard task.type is any RowsTask.Type || answers else {
        throw GoraError(.usage, "--show-rows shows no rows of --task \(task.type.name)")
      }
      rows.answers = answers
      rows.data.template = rows.data.template ?? task.type.template
      rows.count = min(rows.count, limit ?? rows.count)
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
    for line in summary.outcome?.table?.split(separator: "\n") ?? [] { reporter.summary(String(line)) }
    reporter.summary((summary.outcome?.line ?? "") + target.arrow)
    if ProcessGroup.isFirst { for requirement in require { try requirement.check(summary) } }
  }

  private func refuseIdleOptions() throws(GoraError) {
    let given: [(option: TaskOption, isGiven: Bool)] = [
      (.samples, samples != nil), (.maxNewTokens, maxNewTokens != nil), (.batchSize, batchSize != nil),
      (.temperature, temperature != nil), (.topP, topP != nil), (.stop, !stop.isEmpty), (.extractor, extractor != nil),
      (.maxLength, data.rows.maxLength != nil), (.learn, data.rows.learn != nil), (.template, data.rows.template != nil),
      (.glue, data.rows.glue != nil), (.classes, data.rows.classes != nil), (.templates, data.rows.templates != nil),
      (.beams, beams != nil),
      (.attempts, attempts != nil), (.style, style != nil), (.timeLimit, timeLimit != nil), (.noSandbox, omitsSandbox),
      (.judgePrompts, judgePrompts != nil), (.references, references != nil), (.judgeRequests, judgeRequests != nil),
      (.judgeReplies, judgeReplies != nil), (.judgeCommand, judgeCommand != nil), (.judgeModel, judgeModel != nil),
    ]
    for (option, isGiven) in given where !task.type.options.contains(option) {
      try refuseIdle(
        [option.rawValue: isGiven], goWith: "--task \(EvalTasks.names { $0.options.contains(option) })")
    }
    let answering = chosenAnswering
    if answering.beams > 1 {
      try refuseIdle(["--temperature": temperature ?? 0 > 0, "--top-p": topP != nil], goWith: "--beams 1")
    }
    if task.type is any TurnsTask.Type {
      if temperature == 0 { try refuseIdle(["--top-p": topP != nil], goWith: "--temperature above 0") }
    } else if temperature ?? 0 == 0 {
      try refuseIdle(
        ["--top-p": topP != nil, "--attempts": answering.attempts > 1], goWith: "--temperature above 0")
    }
    if !answering.programs.style.isWrapped, task.type is any ProgramsTask.Type {
      try refuseIdle(["--template": data.rows.template != nil], goWith: "--style instruct")
    }
    if judgePrompts == nil {
      try refuseIdle(
        [
          "--references": references != nil, "--judge-requests": judgeRequests != nil, "--judge-command": judgeCommand != nil,
        ], goWith: "--judge-prompts")
    }
    if judgeRequests == nil, judgeCommand == nil {
      try refuseIdle(
        ["--judge-prompts": judgePrompts != nil, "--judge-model": judgeModel != nil],
        goWith: "--judge-requests or --judge-command")
    }
    if judgeReplies != nil {
      try refuseIdle(
        [
          "--adapter": adapter != nil, "--judge-prompts": judgePrompts != nil, "--samples": samples != nil,
          "--max-new-tokens": maxNewTokens != nil, "--batch-size": batchSize != nil, "--temperature": temperature != nil,
          "--top-p": topP != nil, "--stop": !stop.isEmpty, "--template": data.rows.template != nil,
        ], goWith: "answers that are generated, not with --judge-replies")
    }
  }

  private var chosenAnswering: Answering {
    var answering = task.type.answering
    answering.maxNewTokens = maxNewTokens ?? answering.maxNewTokens
    answering.batchSize = batchSize ?? answering.batchSize
    answering.temperature = temperature
    answering.topP = topP ?? answering.topP
    answering.seed = common.seed
    answering.beams = beams ?? answering.beams
    answering.extractor = extractor ?? answering.extractor
    answering.stops = stop
    answering.attempts = attempts ?? answering.attempts
    answering.programs.style = style ?? answering.programs.style
    answering.programs.timeLimit = timeLimit ?? answering.programs.timeLimit
    answering.programs.isSandboxed = !omitsSandbox
    answering.judging = Judging(
      prompts: judgePrompts, references: references, requests: judgeRequests, replies: judgeReplies, command: judgeCommand,
      model: judgeModel ?? answering.judging.model)
    return answering
  }

  /// A default, and those of tasks that have another: `256; humaneval 512`.
  private static func standards<Value: Equatable & CustomStringConvertible>(_ value: (Answering) -> Value) -> String {
    let standard = value(Answering())
    let others = EvalTasks.all.compactMap { task in
      value(task.answering) == standard ? nil : "\(task.name) \(value(task.answering))"
    }
    return (["\(standard)"] + (others.isEmpty ? [] : [others.joined(separator: ", ")])).joined(separator: "; ")
  }
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
extension ProgramStyle: ExpressibleByArgument {}

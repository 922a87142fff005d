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

  @Option(help: ArgumentHelp("Checkpoint folder.", valueName: "dir"))
  var model: String
  @Option(help: ArgumentHelp("PEFT LoRA folder.", valueName: "dir"))
  var adapter: String?
  @Option(help: "What to measure: loss or gsm8k.")
  var task: EvalStage.Task
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Result file (JSON; - is standard output).", valueName: "file"))
  var output = "-"
  @Option(help: ArgumentHelp("Each answer, as JSON Lines.", valueName: "file"))
  var samples: String?
  @Option(name: .customLong("max-new-tokens"), help: ArgumentHelp("Longest answer.", valueName: "n"))
  var maxNewTokens = 256
  @Option(name: .customLong("batch-size"), help: ArgumentHelp("Answers generated together.", valueName: "n"))
  var batchSize = 16
  @Option(help: ArgumentHelp("Sampling temperature; 0 is greedy.", valueName: "x"))
  var temperature = 0.0
  @Option(name: .customLong("top-p"), help: ArgumentHelp("Nucleus of the sampling.", valueName: "x"))
  var topP = 1.0
  @Option(parsing: .singleValue, help: ArgumentHelp("Text that ends an answer (repeatable).", valueName: "text"))
  var stop: [String] = []
  @Option(help: ArgumentHelp("Use the first rows only.", valueName: "n"))
  var limit: Int?
  @Option(help: "How the number is found: gora, metamath or loraga.")
  var extractor: AnswerExtractor = .gora
  @Option(
    parsing: .singleValue, help: ArgumentHelp("Exit 1 unless it holds (accuracy>=0.5; repeatable).", valueName: "condition"))
  var require: [String] = []
  @Option(help: ArgumentHelp("Products in auto, f32 or bf16.", valueName: "type"))
  var dtype: PrecisionChoice = .auto
  @OptionGroup var base: BaseArguments
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    var requirements: [Requirement] = []
    for text in require { requirements.append(try Requirement(text)) }
    for (value, name) in [(maxNewTokens, "--max-new-tokens"), (batchSize, "--batch-size"), (limit, "--limit")] {
      try requirePositive(value, name)
    }
    guard temperature >= 0, temperature.isFinite else {
      throw GoraError(.usage, "--temperature is \(temperature); expected at least 0")
    }
    guard topP > 0, topP <= 1 else { throw GoraError(.usage, "--top-p is \(topP); expected above 0, at most 1") }
    let target = OutputTarget(option: output)
    var configuration = EvalStage.Configuration(
      model: model, task: task, data: try data.options(), output: target, context: try common.context(Self.tool))
    configuration.adapter = adapter
    configuration.samples = samples
    configuration.maxNewTokens = maxNewTokens
    configuration.batchSize = batchSize
    configuration.sampling = Sampling(temperature: temperature, topP: topP, seed: common.seed)
    configuration.limit = limit
    configuration.extractor = extractor
    configuration.stops = stop
    configuration.precision = dtype
    configuration.quantization = base.quantize
    configuration.dryRun = common.dryRun
    let summary = try EvalStage(configuration).run(events: reporter.report)
    if common.dryRun {
      reporter.summary("would measure \(task.rawValue) on \(summary.rows) rows; \(summary.estimate.map { "\($0)" } ?? "")")
      return
    }
    if let text = summary.output {
      try reporter.output(text)
    } else if common.json {
      try reporter.output(summary.json(timed: true).pretty())
    }
    reporter.summary(line(summary) + target.arrow)
    for requirement in requirements { try requirement.check(summary) }
  }

  private func line(_ summary: EvalStage.Summary) -> String {
    if let accuracy = summary.accuracy, let correct = summary.correct, let interval = summary.interval {
      let range = "\(NumberText.fixed(interval.lowerBound * 100, 1)) to \(NumberText.fixed(interval.upperBound * 100, 1))"
      return "accuracy \(NumberText.fixed(accuracy * 100, 2)) % (\(correct) of \(summary.rows); 95 %: \(range)), "
        + "\(NumberText.count(Int(Double(summary.tokens) / max(summary.seconds, 1e-9)))) tokens/s"
    }
    return "loss \(NumberText.fixed(summary.loss ?? 0, 4)), perplexity \(NumberText.fixed(summary.perplexity ?? 0, 3)) "
      + "(\(summary.rows) rows, \(NumberText.count(summary.tokens)) learnt tokens)"
  }
}

/// A condition on a result, such as `accuracy>=0.5`.
struct Requirement {
  private let text: String
  private let metric: String
  private let isMinimum: Bool
  private let bound: Double

  init(_ text: String) throws(GoraError) {
    self.text = text
    for (sign, isMinimum) in [(">=", true), ("<=", false)] {
      guard let range = text.firstRange(of: sign) else { continue }
      metric = text[..<range.lowerBound].filter { $0 != " " }
      guard ["accuracy", "loss", "perplexity"].contains(metric),
        let bound = Double(text[range.upperBound...].filter { $0 != " " })
      else { break }
      self.bound = bound
      self.isMinimum = isMinimum
      return
    }
    throw GoraError(.usage, "--require \"\(text)\" is not a condition", hint: "such as accuracy>=0.5 or loss<=2.1")
  }

  /// - Throws: exit 1 where it does not hold, 64 where the task does not measure it.
  func check(_ summary: EvalStage.Summary) throws(GoraError) {
    guard let value = summary.value(of: metric) else {
      throw GoraError(.usage, "--require \"\(text)\": task \(summary.task.rawValue) does not measure \(metric)")
    }
    guard isMinimum ? value >= bound : value <= bound else {
      throw GoraError(.negative, "required \(text), measured \(NumberText.fixed(value, 4))")
    }
  }
}

extension EvalStage.Task: ExpressibleByArgument {}
extension AnswerExtractor: ExpressibleByArgument {}

import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraMethods
import GoraStages
import GoraTraining

@main
struct Train: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-train",
    abstract: "Train an adapter beside frozen weights, or the weights themselves.",
    usage: "gora-train [<init>] --model <dir> --data <file> -o <dir> [<options>]",
    discussion: """
      Examples:
        gora-train init/ --model Llama-3.2-1B --data train.jsonl -o tuned/ \\
          --max-steps 200 --lr 1e-4 --log metrics.jsonl --resume
        gora-train --method full --from-config config.json --model tokenizer/ \\
          --data text.jsonl -o new-model/

      Killed at any moment and run again with --resume, it ends in the same bytes.
      """,
    version: Version.line("gora-train"))

  @Argument(help: ArgumentHelp("Adapter folder to start from, of gora or PEFT.", valueName: "init"))
  var initial: String?
  @Option(help: ArgumentHelp("Checkpoint folder; with --from-config the tokenizer's.", valueName: "dir"))
  var model: String
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Folder to write.", valueName: "dir"))
  var output: String
  @Option(help: "What learns.")
  var method: Method = .adapter
  @Option(
    name: .customLong("from-config"),
    help: ArgumentHelp("With --method full: a new model of this config.json.", valueName: "file"))
  var fromConfig: String?
  @Option(help: ArgumentHelp("With full.", valueName: "list"))
  var targets = "q_proj,k_proj,v_proj,o_proj"
  @Option(help: ArgumentHelp("Passes over the data.", valueName: "n"))
  var epochs = 1
  @Option(name: .customLong("max-steps"), help: ArgumentHelp("Steps in all, instead of --epochs.", valueName: "n"))
  var maxSteps: Int?
  @Option(name: .customLong("batch-size"), help: ArgumentHelp("Rows a step.", valueName: "n"))
  var batchSize = 64
  @Option(
    name: .customLong("micro-batch-tokens"), help: ArgumentHelp("Tokens that run together (default: by model).", valueName: "n"))
  var microBatchTokens: Int?
  @Option(help: ArgumentHelp("Peak learning rate (of A).", valueName: "x"))
  var lr = 5e-5
  @Option(name: .customLong("lr-ratio"), help: ArgumentHelp("Rate of B over that of A (LoRA+).", valueName: "x"))
  var lrRatio = 16.0
  @Option(name: .customLong("weight-decay"), help: ArgumentHelp("Decoupled weight decay.", valueName: "x"))
  var weightDecay = 5e-4
  @Option(name: .customLong("warmup-ratio"), help: ArgumentHelp("Share of the steps with rising rate.", valueName: "x"))
  var warmupRatio = 0.03
  @Option(help: "Then: cosine, linear or constant.")
  var schedule: Schedule.Shape = .cosine
  @Option(name: .customLong("lr-floor"), help: ArgumentHelp("Last rate over the peak.", valueName: "x"))
  var lrFloor = 0.1
  @Option(name: .customLong("max-grad-norm"), help: ArgumentHelp("Clip gradients to this norm; 0 is off.", valueName: "x"))
  var maxGradientNorm = 0.0
  @Option(help: ArgumentHelp("Precision.", valueName: "type"))
  var dtype: PrecisionChoice = .auto
  @OptionGroup var base: BaseArguments
  @Option(
    name: .customLong("save-every"), help: ArgumentHelp("Steps between checkpoints (default: about a minute).", valueName: "n"))
  var saveEvery: Int?
  @Flag(help: "Continue from the output's checkpoint, if any.")
  var resume = false
  @Option(name: .customLong("max-time"), help: ArgumentHelp("Stop resumably after this long (exit 75).", valueName: "minutes"))
  var maxTime: Double?
  @Option(help: ArgumentHelp("Rows to measure the loss on.", valueName: "file"))
  var validation: String?
  @Option(name: .customLong("validate-every"), help: ArgumentHelp("Steps between validations.", valueName: "n"))
  var validateEvery: Int?
  @Option(help: ArgumentHelp("Metrics as JSON Lines.", valueName: "file"))
  var log: String?
  @Option(help: ArgumentHelp("Save RAM.", valueName: "when"))
  var recompute: RecomputeChoice = .auto
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @OptionGroup var common: CommonOptions

  enum Method: String, ExpressibleByArgument, CaseIterable { case adapter, full }

  func execute(_ reporter: Reporter) throws(GoraError) {
    var configuration = TrainStage.Configuration(
      method: try chosenMethod(), model: model, data: try data.options(), output: output, context: try common.context(Self.tool))
    for (value, name) in [
      (epochs, "--epochs"), (maxSteps, "--max-steps"), (batchSize, "--batch-size"), (microBatchTokens, "--micro-batch-tokens"),
      (saveEvery, "--save-every"), (validateEvery, "--validate-every"),
    ] { try requirePositive(value, name) }
    for (value, name) in [
      (lr, "--lr"), (lrRatio, "--lr-ratio"), (weightDecay, "--weight-decay"), (maxGradientNorm, "--max-grad-norm"),
    ]
    where !(value >= 0 && value.isFinite) {
      throw GoraError(.usage, "\(name) is \(value); expected a number from 0")
    }
    for (value, name) in [(warmupRatio, "--warmup-ratio"), (lrFloor, "--lr-floor")] where !(0...1).contains(value) {
      throw GoraError(.usage, "\(name) is \(value); expected 0 to 1")
    }
    configuration.epochs = epochs
    configuration.maxSteps = maxSteps
    configuration.batchSize = batchSize
    configuration.microBatchTokens = microBatchTokens
    configuration.lr = lr
    configuration.lrRatio = lrRatio
    configuration.weightDecay = weightDecay
    configuration.warmupRatio = warmupRatio
    configuration.schedule = schedule
    configuration.lrFloor = lrFloor
    configuration.maxGradientNorm = maxGradientNorm
    configuration.precision = dtype
    configuration.quantization = base.quantize
    configuration.saveEvery = saveEvery
    configuration.resumes = resume
    configuration.maxMinutes = maxTime
    configuration.validation = validation
    configuration.validateEvery = validateEvery
    configuration.log = log
    configuration.shuffles = !keepsOrder
    configuration.recompute = recompute
    configuration.dryRun = common.dryRun
    let summary = try TrainStage(configuration).run(events: reporter.report)
    try report(summary, reporter)
  }

  private func chosenMethod() throws(GoraError) -> TrainStage.Method {
    switch (method, initial, fromConfig) {
    case (.adapter, let folder?, nil): return .adapter(folder)
    case (.adapter, nil, _):
      throw GoraError(.usage, "no adapter folder to start from", hint: "gora-init makes one; or say --method full")
    case (.adapter, _, _?): throw GoraError(.usage, "--from-config needs --method full")
    case (.full, _?, _): throw GoraError(.usage, "--method full trains the weights: it takes no adapter folder")
    case (.full, nil, let config?): return .fromConfig(config)
    case (.full, nil, nil): return .full(try TargetSelection(targets))
    }
  }

  private func report(_ summary: TrainStage.Summary, _ reporter: Reporter) throws(GoraError) {
    if common.dryRun {
      reporter.summary(
        "would train \(NumberText.count(summary.parameters)) parameters for \(summary.steps) steps on \(summary.rows) rows; \(summary.estimate)"
      )
      return
    }
    func loss(_ value: Double?) -> String { value.map { NumberText.fixed($0, 4) } ?? "none" }
    if !summary.isComplete {
      throw GoraError(
        .resumable, at: .file(output), "stopped by --max-time with a checkpoint", hint: "run the same command again with --resume"
      )
    }
    let validation = summary.validationLoss.map { ", validation \(NumberText.fixed($0, 4))" } ?? ""
    let resumed = summary.resumedFrom > 0 ? " (resumed after \(summary.resumedFrom))" : ""
    reporter.summary(
      "\(summary.steps) steps\(resumed), \(NumberText.count(summary.parameters)) parameters, loss \(loss(summary.firstLoss)) to "
        + "\(loss(summary.lastLoss))\(validation), \(NumberText.fixed(summary.rowsPerSecond, 1)) rows/s -> \(output)")
    if common.json {
      var members: [JSON.Member] = [
        .init("steps", JSON(summary.steps)), .init("parameters", JSON(summary.parameters)),
        .init("rows_per_second", JSON(summary.rowsPerSecond)), .init("tokens_per_second", JSON(summary.tokensPerSecond)),
        .init("seconds", JSON(summary.seconds)), .init("estimate", summary.estimate.json),
      ]
      if let steady = summary.steadyTokensPerSecond { members.append(.init("steady_tokens_per_second", JSON(steady))) }
      if let first = summary.firstLoss, let last = summary.lastLoss {
        members += [.init("first_loss", JSON(first)), .init("last_loss", JSON(last))]
      }
      if let validation = summary.validationLoss { members.append(.init("validation_loss", JSON(validation))) }
      try reporter.output(JSON(.object(members)).compact() + "\n")
    }
  }
}

extension Schedule.Shape: ExpressibleByArgument {}
extension RecomputeChoice: ExpressibleByArgument {}

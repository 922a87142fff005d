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
          --max-steps 200 --lr auto --log metrics.jsonl --resume
        gora-train --method full --from-config config.json --model tokenizer/ \\
          --data text.jsonl -o new-model/
      Killed at any moment and run again with --resume, it ends in the same bytes.
      """,
    version: Version.line("gora-train"))
  static let sharesWork = true

  @Argument(help: ArgumentHelp("Adapter folder to start from, of gora or PEFT.", valueName: "init"))
  var initial: String?
  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file, or the tokenizer's.", valueName: "path"))
  var model: String
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Folder to write.", valueName: "dir"))
  var output: String?
  @Option(help: "What learns.")
  var method: Method = .adapter
  @Option(
    name: .customLong("from-config"),
    help: ArgumentHelp("With --method full: a new model of this config.json.", valueName: "file"))
  var fromConfig: String?
  @Option(help: ArgumentHelp("With full.", valueName: "list", standard: TargetSelection.attention))
  var targets: String?
  @Option(help: ArgumentHelp("Passes over the data.", valueName: "n", standard: Train.recipe.epochs), transform: count())
  var epochs: Int?
  @Option(
    name: .customLong("max-steps"), help: ArgumentHelp("Steps in all, instead of --epochs.", valueName: "n"), transform: count())
  var maxSteps: Int?
  @Option(
    name: .customLong("batch-size"), help: ArgumentHelp("Rows a step.", valueName: "n", standard: Train.recipe.batchSize),
    transform: count())
  var batchSize = Train.recipe.batchSize
  @Option(
    name: .customLong("micro-batch-tokens"), help: ArgumentHelp("Tokens that run together (default: by model).", valueName: "n"),
    transform: count())
  var microBatchTokens: Int?
  @Option(
    help: ArgumentHelp("Peak learning rate (of A), or auto.", valueName: "x", standard: Train.recipe.lr),
    transform: numberOrAuto(1e-30...1e30, orZero: true))
  var lr = Findable.given(Train.recipe.lr)
  @Option(
    name: .customLong("lr-ratio"),
    help: ArgumentHelp("B's rate over A's, or auto (default: by --rule).", valueName: "x"),
    transform: numberOrAuto(1e-6...1e6, orZero: true))
  var lrRatio: Findable?
  @Option(
    name: .customLong("lr-budget"),
    help: ArgumentHelp("Share of the steps that auto may cost.", valueName: "x", standard: Train.recipe.searchShare),
    transform: number(1e-3...1))
  var lrBudget: Double?
  @Option(help: ArgumentHelp("Rule (default: by kind).", valueName: "name"))
  var rule: StepRuleName?
  @Option(
    name: .customLong("lora-dropout"),
    help: ArgumentHelp("Share of inputs left out (default: the adapter's).", valueName: "x"),
    transform: number(1e-6...0.999, orZero: true))
  var loraDropout: Double?
  @Option(
    name: .customLong("target-rank"),
    help: ArgumentHelp("Of AdaLoRA: mean rank at the end.", valueName: "r"),
    transform: count())
  var targetRank: Int?
  @Option(
    name: .customLong("tinit"), help: ArgumentHelp("Of AdaLoRA: first steps, of full rank.", valueName: "n"),
    transform: count(from: 0))
  var tinit: Int?
  @Option(
    name: .customLong("tfinal"), help: ArgumentHelp("Of AdaLoRA: last steps, of settled ranks.", valueName: "n"),
    transform: count(from: 0))
  var tfinal: Int?
  @Option(
    name: .customLong("delta-t"), help: ArgumentHelp("Of AdaLoRA: steps between choices.", valueName: "n"),
    transform: count())
  var deltaT: Int?
  @Option(
    name: .customLong("orth-weight"),
    help: ArgumentHelp("Of AdaLoRA: weight of the penalty.", valueName: "x"),
    transform: number(1e-9...1e6, orZero: true))
  var orthogonalWeight: Double?
  @Option(
    name: .customLong("weight-decay"),
    help: ArgumentHelp("Decoupled weight decay.", valueName: "x", standard: Train.recipe.weightDecay),
    transform: number(1e-12...1e3, orZero: true))
  var weightDecay = Train.recipe.weightDecay
  @Option(
    name: .customLong("warmup-ratio"),
    help: ArgumentHelp("Share of the steps with rising rate.", valueName: "x", standard: Train.recipe.warmupRatio),
    transform: number(1e-9...1, orZero: true))
  var warmupRatio = Train.recipe.warmupRatio
  @Option(help: "Then: cosine, linear or constant.")
  var schedule = Train.recipe.schedule
  @Option(
    name: .customLong("lr-floor"), help: ArgumentHelp("Last rate over the peak.", valueName: "x", standard: Train.recipe.lrFloor),
    transform: number(1e-9...1, orZero: true))
  var lrFloor: Double?
  @Option(
    name: .customLong("max-grad-norm"),
    help: ArgumentHelp("Clip gradients to this norm; 0 is off.", valueName: "x", standard: 0),
    transform: number(1e-12...1e12, orZero: true))
  var maxGradientNorm = Train.recipe.maxGradientNorm
  @Option(help: ArgumentHelp("Precision. (default: auto)", valueName: "type"))
  var dtype: PrecisionChoice?
  @OptionGroup var base: BaseArguments
  @Option(
    name: .customLong("save-every"), help: ArgumentHelp("Steps between checkpoints (default: about a minute).", valueName: "n"),
    transform: count())
  var saveEvery: Int?
  @Flag(help: "Continue from the output's checkpoint, if any.")
  var resume = false
  @Option(
    name: .customLong("max-time"), help: ArgumentHelp("Stop resumably after this long (exit 75).", valueName: "minutes"),
    transform: number(1e-6...1e7))
  var maxTime: Double?
  @Option(help: ArgumentHelp("Rows to measure the loss on.", valueName: "file"))
  var validation: String?
  @Option(
    name: .customLong("validate-every"), help: ArgumentHelp("Steps between validations.", valueName: "n"), transform: count())
  var validateEvery: Int?
  @Flag(name: .customLong("keep-best"), help: "Write what had the least of these losses.")
  var keepsBest = false
  @Option(help: ArgumentHelp("Stop after so many validations without a smaller loss.", valueName: "n"), transform: count())
  var patience: Int?
  @Option(help: ArgumentHelp("Metrics as JSON Lines.", valueName: "file"))
  var log: String?
  @Option(help: ArgumentHelp("Save RAM.", valueName: "when"))
  var recompute = Train.recipe.recompute
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @OptionGroup var baseName: BaseNameArguments
  @OptionGroup var memory: MemoryArguments
  @OptionGroup var common: CommonOptions

  private static let recipe = TrainStage.Recipe()

  enum Method: String, ExpressibleByArgument, CaseIterable { case adapter, full }

  func execute(_ reporter: Reporter) throws(GoraError) {
    if var rows = data.shown(of: model) {
      rows.config = fromConfig
      return try show(rows, reporter)
    }
    try refuseIdleOptions()
    let output = try required(output, "--output <dir>")
    try requireFile(output, "the folder to write")
    var configuration = TrainStage.Configuration(
      method: try chosenMethod(), model: model, data: data.options, output: output, context: try common.context(Self.tool))
    configuration.recipe = chosenRecipe
    configuration.saveEvery = saveEvery
    configuration.resumes = resume
    configuration.maxMinutes = maxTime
    configuration.validation = validation
    configuration.validateEvery = validateEvery
    configuration.keepsBest = keepsBest
    configuration.patience = patience
    configuration.log = log
    configuration.dryRun = common.dryRun
    configuration.baseModel = baseName.baseModel
    configuration.context.memory.isIgnored = memory.ignoresMemory
    let summary = try TrainStage(configuration).run(events: reporter.report)
    try report(summary, to: output, reporter)
  }

  private func refuseIdleOptions() throws(GoraError) {
    if method != .adapter {
      try refuseIdle(
        [
          "--lr-ratio": lrRatio != nil, "--rule": rule != nil, "--lora-dropout": loraDropout != nil,
          "--target-rank": targetRank != nil, "--tinit": tinit != nil, "--tfinal": tfinal != nil, "--delta-t": deltaT != nil,
          "--orth-weight": orthogonalWeight != nil,
        ], goWith: "--method adapter")
    }
    if method != .full {
      try refuseIdle(["--targets": targets != nil, "--from-config": fromConfig != nil], goWith: "--method full")
    }
    if fromConfig != nil {
      try refuseIdle(["--targets": targets != nil], goWith: "the weights of a checkpoint, --from-config trains all")
      try refuseIdle(["--dtype": dtype != nil], goWith: "the weights of a checkpoint, --from-config makes f32")
    }
    if lr != .auto, lrRatio != .auto { try refuseIdle(["--lr-budget": lrBudget != nil], goWith: "--lr auto or --lr-ratio auto") }
    if maxSteps != nil { try refuseIdle(["--epochs": epochs != nil], goWith: "no --max-steps, which stands in its place") }
    if schedule == .constant { try refuseIdle(["--lr-floor": lrFloor != nil], goWith: "--schedule cosine or linear") }
    if validation == nil { try refuseIdle(["--validate-every": validateEvery != nil], goWith: "--validation") }
    if validateEvery == nil {
      try refuseIdle(["--keep-best": keepsBest, "--patience": patience != nil], goWith: "--validate-every")
    }
  }

  private var chosenRecipe: TrainStage.Recipe {
    var recipe = Self.recipe
    recipe.epochs = epochs ?? recipe.epochs
    recipe.maxSteps = maxSteps
    recipe.batchSize = batchSize
    recipe.microBatchTokens = microBatchTokens
    recipe.lr = lr.number ?? recipe.lr
    recipe.findsRate = lr == .auto
    recipe.findsRatio = lrRatio == .auto
    recipe.searchShare = lrBudget ?? recipe.searchShare
    recipe.rule = rule?.type
    recipe.ranks.target = targetRank
    recipe.ranks.initialSteps = tinit
    recipe.ranks.finalSteps = tfinal
    recipe.ranks.interval = deltaT
    recipe.ranks.orthogonalWeight = orthogonalWeight
    recipe.lrRatio = lrRatio?.number
    recipe.loraDropout = loraDropout
    recipe.weightDecay = weightDecay
    recipe.warmupRatio = warmupRatio
    recipe.schedule = schedule
    recipe.lrFloor = lrFloor ?? recipe.lrFloor
    recipe.maxGradientNorm = maxGradientNorm
    recipe.shuffles = !keepsOrder
    recipe.precision = dtype ?? recipe.precision
    recipe.quantization = base.quantize
    recipe.recompute = recompute
    return recipe
  }

  private func chosenMethod() throws(GoraError) -> TrainStage.Method {
    switch (method, initial, fromConfig) {
    case (.adapter, let folder?, _): return .adapter(folder)
    case (.adapter, nil, _):
      throw GoraError(.usage, "no adapter folder to start from", hint: "gora-init makes one; or say --method full")
    case (.full, _?, _): throw GoraError(.usage, "--method full trains the weights: it takes no adapter folder")
    case (.full, nil, let config?): return .fromConfig(config)
    case (.full, nil, nil): return .full(try targets.map(TargetSelection.init) ?? .standard)
    }
  }

  private func report(_ summary: TrainStage.Summary, to output: String, _ reporter: Reporter) throws(GoraError) {
    if common.dryRun {
      reporter.summary(
        "would train \(NumberText.count(summary.parameters)) parameters for \(summary.steps) steps on \(summary.rows) rows; \(summary.estimate)"
      )
      if common.json {
        try reporter.output(
          JSON.object([
            "steps": JSON(summary.steps), "parameters": JSON(summary.parameters), "rows": JSON(summary.rows),
            "estimate": summary.estimate.json,
          ]).compact() + "\n")
      }
      return
    }
    func loss(_ value: Double?) -> String { value.map { NumberText.fixed($0, 4) } ?? "none" }
    if !summary.isComplete {
      throw GoraError(
        .resumable, at: .file(output), "stopped by --max-time with a checkpoint", hint: "run the same command again with --resume"
      )
    }
    var validation = summary.validationLoss.map { ", validation \(NumberText.fixed($0, 4))" } ?? ""
    if let best = summary.bestStep { validation += " after step \(best), whose values are written" }
    if summary.stoppedEarly { validation += ", stopped early" }
    let resumed = summary.resumedFrom > 0 ? " (resumed after \(summary.resumedFrom))" : ""
    reporter.summary(
      "\(summary.stepsTaken) steps\(resumed), \(NumberText.count(summary.parameters)) parameters, loss \(loss(summary.firstLoss)) to "
        + "\(loss(summary.lastLoss))\(validation), \(NumberText.fixed(summary.rowsPerSecond, 1)) rows/s -> \(output)")
    if common.json {
      var members: [JSON.Member] = [
        .init("steps", JSON(summary.stepsTaken)), .init("parameters", JSON(summary.parameters)),
        .init("rows_per_second", JSON(summary.rowsPerSecond)), .init("tokens_per_second", JSON(summary.tokensPerSecond)),
        .init("seconds", JSON(summary.seconds)), .init("estimate", summary.estimate.json),
      ]
      if let steady = summary.steadyTokensPerSecond { members.append(.init("steady_tokens_per_second", JSON(steady))) }
      if let first = summary.firstLoss, let last = summary.lastLoss {
        members += [.init("first_loss", JSON(first)), .init("last_loss", JSON(last))]
      }
      if let found = summary.found {
        members += [.init("lr", JSON(found.lr)), .init("search_steps", JSON(summary.searchSteps))]
        if let ratio = found.ratio { members.append(.init("lr_ratio", JSON(ratio))) }
      }
      if let validation = summary.validationLoss { members.append(.init("validation_loss", JSON(validation))) }
      if let peak = summary.peakBytes { members.append(.init("peak_bytes", JSON(peak))) }
      if let best = summary.bestStep { members.append(.init("best_step", JSON(best))) }
      if summary.stoppedEarly { members.append(.init("stopped_early", true)) }
      try reporter.output(JSON(.object(members)).compact() + "\n")
    }
  }
}

extension Schedule.Shape: ExpressibleByArgument {}
extension RecomputeChoice: ExpressibleByArgument {}

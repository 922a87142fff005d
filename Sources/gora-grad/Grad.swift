import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraMethods
import GoraStages
import GoraTraining

@main
struct Grad: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-grad",
    abstract: "Average the gradient of frozen weights over a few batches.",
    discussion: """
      Examples:
        gora-grad --model Llama-3.2-1B --data train.jsonl -o grad.h5
        gora-grad --model Llama-3.2-1B --data train.jsonl --steps 8 \\
          --targets all-linear --store bf16 -o grad.h5

      The model's files are only read: this is one large-batch gradient, taken
      before training, or with --explore the mean along a few steps.
      """,
    version: Version.line("gora-grad"))

  @Option(help: ArgumentHelp("Checkpoint folder (config.json, *.safetensors, tokenizer.json).", valueName: "dir"))
  var model: String
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Gradient file to write (HDF5).", valueName: "file"))
  var output: String
  @Option(help: ArgumentHelp("Micro-batches to average over.", valueName: "n"))
  var steps = 64
  @Option(name: .customLong("batch-size"), help: ArgumentHelp("Rows in each.", valueName: "n"))
  var batchSize = 1
  @Option(help: ArgumentHelp("Weights: suffixes, all-linear, or /regex/.", valueName: "list"))
  var targets = "q_proj,k_proj,v_proj,o_proj"
  @Option(help: ArgumentHelp("Products in auto, f32 or bf16.", valueName: "type"))
  var dtype: PrecisionChoice = .auto
  @Option(help: ArgumentHelp("Store gradients as f32 or bf16.", valueName: "type"))
  var store: StoredType = .f32
  @Option(help: ArgumentHelp("zstd:LEVEL, gzip or none.", valueName: "method"))
  var compression = "zstd:3"
  @Option(
    name: .customLong("micro-batch-tokens"), help: ArgumentHelp("Tokens that run together (default: by model).", valueName: "n"))
  var microBatchTokens: Int?
  @Option(help: ArgumentHelp("Compute layers twice, keep less: auto, always, never.", valueName: "when"))
  var recompute: RecomputeChoice = .auto
  @Option(help: ArgumentHelp("Gradients in a scratch file: auto, never, or its folder.", valueName: "dir"))
  var spill = "auto"
  @Flag(name: .customLong("until-stable"), help: "Stop when importances have settled.")
  var untilStable = false
  @Option(name: .customLong("stability-preset"), help: ArgumentHelp("What that means: paper or official.", valueName: "name"))
  var stabilityPreset: StabilityPreset?
  @Option(help: ArgumentHelp("Largest relative change. (default: 0.01)", valueName: "x"))
  var tolerance: Double?
  @Option(help: ArgumentHelp("In so many steps together. (default: 2)", valueName: "n"))
  var patience: Int?
  @Option(name: .customLong("min-steps"), help: ArgumentHelp("Steps in any case. (default: 3)", valueName: "n"))
  var minimumSteps: Int?
  @Option(help: ArgumentHelp("Move the weights on the way: adalomo or sgd.", valueName: "rule"))
  var explore: Exploration.Rule?
  @Option(name: .customLong("explore-lr"), help: ArgumentHelp("Learning rate of --explore. (default: 1e-5)", valueName: "x"))
  var exploreRate: Double?
  @Option(help: ArgumentHelp("Record importances of every K steps.", valueName: "k"))
  var track: Int?
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @OptionGroup var common: CommonOptions

  enum StoredType: String, ExpressibleByArgument, CaseIterable { case f32, bf16 }
  enum StabilityPreset: String, ExpressibleByArgument, CaseIterable { case paper, official }

  func execute(_ reporter: Reporter) throws(GoraError) {
    for (value, name) in [
      (steps, "--steps"), (batchSize, "--batch-size"), (microBatchTokens, "--micro-batch-tokens"), (track, "--track"),
      (patience, "--patience"), (minimumSteps, "--min-steps"),
    ] { try requirePositive(value, name) }
    var configuration = GradStage.Configuration(
      model: model, data: try data.options(), output: output, targets: try TargetSelection(targets),
      context: try common.context(Self.tool))
    configuration.steps = steps
    configuration.batchSize = batchSize
    configuration.precision = dtype
    configuration.storesBFloat16 = store == .bf16
    configuration.compression = try Compression(parsing: compression)
    configuration.shuffles = !keepsOrder
    configuration.microBatchTokens = microBatchTokens
    configuration.recompute = recompute
    configuration.spill = spill == "auto" ? .auto : spill == "never" ? .never : .folder(spill)
    configuration.stability = try stability()
    configuration.exploration = try exploration()
    configuration.trackEvery = track
    configuration.dryRun = common.dryRun
    let summary = try GradStage(configuration).run(events: reporter.report)
    if common.dryRun {
      reporter.summary(
        "would average \(summary.modules) gradients over \(summary.steps) batches (\(summary.rows) rows); \(summary.estimate)")
      return
    }
    reporter.summary(
      "\(summary.modules) gradients over \(summary.steps) batches\(summary.isStable ? ", then stable" : "") (\(summary.rows) rows, \(NumberText.count(summary.tokens)) tokens), "
        + "loss \(NumberText.fixed(summary.loss, 4)), \(NumberText.count(Int(summary.tokensPerSecond))) tokens/s -> \(output)")
    if common.json {
      try reporter.output(
        JSON.object([
          "modules": JSON(summary.modules), "steps": JSON(summary.steps), "stable": JSON(summary.isStable),
          "rows": JSON(summary.rows),
          "tokens": JSON(summary.tokens), "loss": JSON(summary.loss), "tokens_per_second": JSON(summary.tokensPerSecond),
        ]).compact() + "\n")
    }
  }

  private func stability() throws(GoraError) -> Convergence.Rule? {
    guard untilStable else {
      if stabilityPreset != nil || tolerance != nil || patience != nil || minimumSteps != nil {
        throw GoraError(
          .usage, "--stability-preset, --tolerance, --patience and --min-steps say what --until-stable means",
          hint: "add --until-stable")
      }
      return nil
    }
    var rule: Convergence.Rule = stabilityPreset == .official ? .official : .paper
    if let tolerance {
      guard tolerance > 0, tolerance.isFinite else {
        throw GoraError(.usage, "--tolerance is \(tolerance); expected a number above 0")
      }
      rule.tolerance = tolerance
    }
    rule.patience = patience ?? rule.patience
    rule.minimumSteps = minimumSteps ?? rule.minimumSteps
    if rule.minimumSteps > steps {
      throw GoraError(.usage, "--min-steps is \(rule.minimumSteps), --steps \(steps): nothing is left to decide")
    }
    return rule
  }

  private func exploration() throws(GoraError) -> Exploration? {
    guard let explore else {
      if exploreRate != nil { throw GoraError(.usage, "--explore-lr needs --explore", hint: "add --explore adalomo") }
      return nil
    }
    let rate = exploreRate ?? 1e-5
    guard rate > 0, rate.isFinite else { throw GoraError(.usage, "--explore-lr is \(rate); expected a number above 0") }
    return Exploration(rule: explore, rate: rate)
  }
}

extension RecomputeChoice: ExpressibleByArgument {}
extension Exploration.Rule: ExpressibleByArgument {}

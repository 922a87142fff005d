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
        gora-grad --model Llama-3.2-1B --data train.jsonl \\
          --collect gradients,inputs -o grad.h5
        gora-grad --preset head-start --model Llama-3.2-1B \\
          --data train.jsonl --targets all-linear -o explored.h5

      The model's files are only read: this is one large-batch gradient, taken
      before training, or with --explore the mean along a few steps.
      """,
    version: Version.line("gora-grad"))
  static let sharesWork = true

  @Option(help: ArgumentHelp("Checkpoint folder (config.json, *.safetensors, tokenizer.json) or GGUF file.", valueName: "path"))
  var model: String
  @OptionGroup var data: DataArguments
  @Option(name: .shortAndLong, help: ArgumentHelp("Gradient file to write (HDF5).", valueName: "file"))
  var output: String?
  @Option(help: ArgumentHelp("Walk as a head start wants it: other defaults.", valueName: "name"))
  var preset: Preset?
  @Option(help: ArgumentHelp("Micro-batches to average over.", valueName: "n", standard: Grad.recipe.steps), transform: count())
  var steps: Int?
  @Option(
    name: .customLong("batch-size"), help: ArgumentHelp("Rows in each.", valueName: "n", standard: Grad.recipe.batchSize),
    transform: count())
  var batchSize: Int?
  @Option(
    help: ArgumentHelp("Weights: suffixes, all-linear, or /regex/.", valueName: "list", standard: TargetSelection.attention))
  var targets: String?
  @Option(
    help: ArgumentHelp(
      "gradients, inputs, displacements, with commas.", valueName: "list", standard: Collected(Grad.recipe.collects)))
  var collect: Collected?
  @Option(
    name: .customLong("input-components"),
    help: ArgumentHelp("Principal components of inputs.", valueName: "k", standard: Grad.recipe.inputComponents),
    transform: count(to: 1 << 16))
  var inputComponents: Int?
  @Flag(help: "Keep the mean of squared gradients too.")
  var squares = false
  @Option(help: ArgumentHelp("Products in auto, f32 or bf16.", valueName: "type"))
  var dtype = Grad.recipe.precision
  @Option(help: ArgumentHelp("Store gradients as f32 or bf16.", valueName: "type"))
  var store: StoredType = .f32
  @Option(
    help: ArgumentHelp("zstd:LEVEL, gzip or none.", valueName: "method", standard: Grad.recipe.compression),
    transform: Compression.init(parsing:))
  var compression = Grad.recipe.compression
  @Option(
    name: .customLong("micro-batch-tokens"), help: ArgumentHelp("Tokens that run together (default: by model).", valueName: "n"),
    transform: count())
  var microBatchTokens: Int?
  @Option(help: ArgumentHelp("Save RAM.", valueName: "when"))
  var recompute = Grad.recipe.recompute
  @Option(
    help: ArgumentHelp("Gradients in a scratch file: auto, never, or its folder.", valueName: "dir", standard: "auto"),
    transform: text)
  var spill = "auto"
  @Flag(name: .customLong("until-stable"), help: "Stop when importances have settled.")
  var untilStable = false
  @Option(name: .customLong("stability-preset"), help: ArgumentHelp("What that means.", valueName: "name"))
  var stabilityPreset: StabilityPreset?
  @Option(
    help: ArgumentHelp("Largest relative change.", valueName: "x", standard: Convergence.Rule.paper.tolerance),
    transform: number(1e-9...1e9))
  var tolerance: Double?
  @Option(
    help: ArgumentHelp("In so many steps together.", valueName: "n", standard: Convergence.Rule.paper.patience),
    transform: count())
  var patience: Int?
  @Option(
    name: .customLong("min-steps"),
    help: ArgumentHelp("Steps in any case.", valueName: "n", standard: Convergence.Rule.paper.minimumSteps), transform: count())
  var minimumSteps: Int?
  @Option(help: ArgumentHelp("Move the weights on the way.", valueName: "rule"))
  var explore: Exploration.Rule?
  @Option(
    name: .customLong("explore-lr"),
    help: ArgumentHelp("Its learning rate; auto: by the model's shape.", valueName: "x", standard: Exploration.standardRate),
    transform: numberOrAuto(1e-12...1e3))
  var exploreRate: Findable?
  @Option(
    name: .customLong("explore-warmup"),
    help: ArgumentHelp("Steps in which it rises to that.", valueName: "n", standard: 0), transform: count(from: 0))
  var exploreWarmup: Int?
  @Option(help: ArgumentHelp("Record importances of every K steps.", valueName: "k"), transform: count())
  var track: Int?
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @OptionGroup var memory: MemoryArguments
  @OptionGroup var common: CommonOptions

  private static let recipe = GradStage.Recipe()

  enum Preset: String, ExpressibleByArgument, CaseIterable {
    case headStart = "head-start"

    var recipe: GradStage.Recipe { .headStart }
  }

  /// `--collect`.
  struct Collected: ExpressibleByArgument, CustomStringConvertible {
    let evidence: Set<GradStage.Evidence>

    init(_ evidence: Set<GradStage.Evidence>) { self.evidence = evidence }
    init?(argument: String) {
      let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map {
        GradStage.Evidence(rawValue: String($0))
      }
      evidence = Set(parts.compactMap { $0 })
      guard evidence.count == parts.count else { return nil }
    }

    var description: String {
      GradStage.Evidence.allCases.filter(evidence.contains).map(\.rawValue).joined(separator: ",")
    }
  }

  enum StoredType: String, ExpressibleByArgument, CaseIterable { case f32, bf16 }
  enum StabilityPreset: String, ExpressibleByArgument, CaseIterable { case paper, official }

  func execute(_ reporter: Reporter) throws(GoraError) {
    if let rows = data.shown(of: model) { return try show(rows, reporter) }
    let output = try required(output, "--output <file>")
    try requireFile(output, "gradients")
    if !untilStable {
      try refuseIdle(
        [
          "--stability-preset": stabilityPreset != nil, "--tolerance": tolerance != nil, "--patience": patience != nil,
          "--min-steps": minimumSteps != nil,
        ], goWith: "--until-stable")
    }
    let recipe = try chosenRecipe()
    if !recipe.collects.contains(.inputs) {
      try refuseIdle(["--input-components": inputComponents != nil], goWith: "--collect inputs")
    }
    if !recipe.collects.contains(.gradients) {
      try refuseIdle(
        [
          "--preset": preset != nil, "--squares": squares, "--until-stable": untilStable, "--explore": explore != nil,
          "--track": track != nil, "--collect displacements": recipe.collects.contains(.displacements),
          "--store": store != .f32, "--spill": spill != "auto", "--recompute": recompute != Self.recipe.recompute,
        ], goWith: "--collect gradients")
    }
    if recipe.exploration == nil {
      try refuseIdle(
        [
          "--explore-lr": exploreRate != nil, "--explore-warmup": exploreWarmup != nil,
          "--collect displacements": recipe.collects.contains(.displacements),
        ], goWith: "--explore")
    }
    if let exploration = recipe.exploration, exploration.rule == .sgd, exploration.rate == nil {
      throw GoraError(.usage, "sgd has no rate by the model's shape", hint: "give --explore-lr a number")
    }
    var configuration = GradStage.Configuration(
      model: model, data: data.options, output: output, targets: try targets.map(TargetSelection.init) ?? .standard,
      context: try common.context(Self.tool))
    configuration.recipe = recipe
    configuration.storesBFloat16 = store == .bf16
    configuration.spill = spill == "auto" ? .auto : spill == "never" ? .never : .folder(spill)
    configuration.dryRun = common.dryRun
    configuration.context.memory.isIgnored = memory.ignoresMemory
    let summary = try GradStage(configuration).run(events: reporter.report)
    let takesGradients = recipe.collects.contains(.gradients)
    if common.dryRun {
      reporter.summary(
        "would \(takesGradients ? "average \(summary.modules) gradients" : "collect the inputs of \(summary.modules) modules") over \(summary.steps) batches (\(summary.rows) rows); \(summary.estimate)"
      )
      if common.json {
        try reporter.output(
          JSON.object([
            "modules": JSON(summary.modules), "steps": JSON(summary.steps), "rows": JSON(summary.rows),
            "estimate": summary.estimate.json,
          ]).compact() + "\n")
      }
      return
    }
    reporter.summary(
      "\(takesGradients ? "\(summary.modules) gradients" : "the inputs of \(summary.modules) modules") over \(summary.steps) batches\(summary.isStable ? ", then stable" : "") (\(summary.rows) rows, \(NumberText.count(summary.tokens)) tokens), "
        + "loss \(NumberText.fixed(summary.loss, 4)), \(NumberText.count(Int(summary.tokensPerSecond))) tokens/s -> \(output)")
    if common.json {
      var members: [JSON.Member] = [
        .init("modules", JSON(summary.modules)), .init("steps", JSON(summary.steps)),
        .init("stable", JSON(summary.isStable)), .init("rows", JSON(summary.rows)),
        .init("tokens", JSON(summary.tokens)), .init("loss", JSON(summary.loss)),
        .init("tokens_per_second", JSON(summary.tokensPerSecond)),
      ]
      if let steady = summary.steadyTokensPerSecond { members.append(.init("steady_tokens_per_second", JSON(steady))) }
      members.append(.init("estimate", summary.estimate.json))
      try reporter.output(JSON(.object(members)).compact() + "\n")
    }
  }

  private func chosenRecipe() throws(GoraError) -> GradStage.Recipe {
    var recipe = preset?.recipe ?? Self.recipe
    recipe.steps = steps ?? recipe.steps
    recipe.batchSize = batchSize ?? recipe.batchSize
    recipe.shuffles = !keepsOrder
    recipe.microBatchTokens = microBatchTokens
    recipe.collects = collect?.evidence ?? recipe.collects
    recipe.inputComponents = inputComponents ?? recipe.inputComponents
    recipe.keepsSquares = squares
    recipe.precision = dtype
    recipe.recompute = recompute
    recipe.compression = compression
    recipe.trackEvery = track
    if let rule = explore ?? recipe.exploration?.rule {
      recipe.exploration = Exploration(
        rule: rule, rate: exploreRate == nil && preset == nil ? Exploration.standardRate : exploreRate?.number,
        warmup: exploreWarmup ?? (preset == nil ? 0 : recipe.steps / 4))
    }
    if untilStable {
      var rule: Convergence.Rule = stabilityPreset == .official ? .official : .paper
      rule.tolerance = tolerance ?? rule.tolerance
      rule.patience = patience ?? rule.patience
      rule.minimumSteps = minimumSteps ?? rule.minimumSteps
      if rule.minimumSteps > recipe.steps {
        throw GoraError(.usage, "--min-steps is \(rule.minimumSteps), --steps \(recipe.steps): nothing is left to decide")
      }
      recipe.stability = rule
    }
    return recipe
  }
}

extension Compression: ExpressibleByArgument {
  package init?(argument: String) { try? self.init(parsing: argument) }
}
extension RecomputeChoice: ExpressibleByArgument {}
extension Exploration.Rule: ExpressibleByArgument {}

import ArgumentParser
import GoraCLI
import GoraCore
import GoraMethods
import GoraModels
import GoraStages

@main
struct Init: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-init",
    abstract: "Start the adapters of a plan.",
    usage: "gora-init <plan.json> --model <dir> -o <dir> [<options>]",
    discussion: """
      Examples:
        gora-init plan.json --model Llama-3.2-1B --gradients grad.h5 -o init
        gora-init plan.json --model Llama-3.2-1B --method lora -o init
        gora-init plan.json --model Llama-3.2-1B --gradients grad.h5 --method eva \\
          -o init

      The result is a PEFT folder. With --method gora the adapters begin with a step
      of size gamma down the gradient.
      """,
    version: Version.line("gora-init"))

  @Argument(help: ArgumentHelp("Plan; - for standard input.", valueName: "plan.json"))
  var plan: String?
  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file.", valueName: "path"))
  var model: String
  @Option(help: ArgumentHelp("Gradients, as gora-grad writes them.", valueName: "file"))
  var gradients: String?
  @Option(name: .shortAndLong, help: ArgumentHelp("Adapter folder to write.", valueName: "dir"))
  var output: String
  @Option(help: ArgumentHelp("What is started (default: the plan's, else gora).", valueName: "name"))
  var method: StartName?
  @Option(help: ArgumentHelp("What stands beside the weights (default: lora).", valueName: "kind"))
  var adapter: AdapterKindName?
  @Option(help: ArgumentHelp("A.", valueName: "name"))
  var a: DownProjection?
  @Option(
    name: .customLong("a-scale"), help: ArgumentHelp("Factor on A; B is divided by it.", valueName: "x", standard: 1),
    transform: number(1e-6...1e6))
  var scaleOfA = 1.0
  @Option(
    help: ArgumentHelp("Size of the first step, or auto.", valueName: "g", standard: GoRAStart.standardGamma),
    transform: Gamma.init(_:))
  var gamma: Gamma?
  @Flag(name: .customLong("exact-norm"), help: "Make the step's size exact, not right on average.")
  var exactNorm = false
  @Option(
    name: .customLong("stable-gamma"),
    help: ArgumentHelp(
      "Of gora-svd, lora-ga (\(NumberText.significant(LoRAGAStart.standardStableGamma))) and lora-one (\(NumberText.significant(LoRAOneStart.standardStableGamma))).",
      valueName: "x"),
    transform: number(1e-6...1e6))
  var stableGamma: Double?
  @Option(help: ArgumentHelp("Of lora-ga: the gradient's directions.", valueName: "name"))
  var direction: GradientDirections?
  @Option(help: ArgumentHelp("Of lora-ga: the factors' length.", valueName: "name"))
  var scale: GradientScale?
  @Option(help: ArgumentHelp("Of lora-ga: whose code.", valueName: "name"))
  var variant: LoRAGAStart.Variant?
  @Option(parsing: .singleValue, help: ArgumentHelp("For --gamma auto: rows to try on (repeatable).", valueName: "file"))
  var data: [String] = []
  @Option(
    name: .customLong("gamma-batches"),
    help: ArgumentHelp("Batches of them.", valueName: "n", standard: GammaTrialOptions.standardBatches), transform: count())
  var gammaBatches: Int?
  @Option(
    name: .customLong("batch-size"),
    help: ArgumentHelp("Rows of a batch.", valueName: "n", standard: GammaTrialOptions.standardBatchSize), transform: count())
  var batchSize: Int?
  @OptionGroup var rows: RowArguments
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @Option(help: ArgumentHelp("Precision. (default: auto)", valueName: "type"))
  var dtype: PrecisionChoice?
  @OptionGroup var base: BaseNameArguments
  @OptionGroup var common: CommonOptions

  enum Gamma {
    case auto
    case fixed(Double)

    init(_ text: String) throws { self = text == "auto" ? .auto : .fixed(try number(1e-12...1e6, orZero: true)(text)) }
  }

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requireFile(output, "the adapter folder")
    let start = type.init(settings)
    try refuseIdleOptions(of: start)
    var configuration = InitStage.Configuration(
      plan: try jsonInput(plan, "plan", reporterHint: "gora-plan scores.json -o plan.json"), model: model,
      gradients: gradients, output: output, start: start, dryRun: common.dryRun,
      context: try common.context(Self.tool))
    configuration.scaleOfA = scaleOfA
    if method == nil { configuration.ofPlannedStart = (settings, Set(StartOption.allCases.filter(isGiven))) }
    configuration.kind = kind
    configuration.baseModel = base.baseModel
    if case .auto = gamma {
      guard !data.isEmpty else {
        throw GoraError(.usage, "--gamma auto measures the loss on rows of --data, and there is none", hint: "add --data FILE")
      }
      configuration.gammaTrial = GammaTrialOptions(
        data: rows.options(for: data), batchSize: batchSize ?? GammaTrialOptions.standardBatchSize,
        batches: gammaBatches ?? GammaTrialOptions.standardBatches, shuffles: !keepsOrder, precision: dtype ?? .auto)
    }
    try finish(try InitStage(configuration).run(events: reporter.report), reporter)
  }

  private var type: any AdapterStart.Type {
    method?.type ?? AdapterStarts.all.first { adapter?.type.accepts($0) ?? true } ?? AdapterStarts.all[0]
  }
  private var kind: any AdapterKind.Type {
    adapter?.type ?? AdapterKinds.all.first { $0.accepts(type) } ?? AdapterKinds.all[0]
  }

  private var settings: StartSettings {
    var settings = StartSettings()
    settings.a = a
    // That of auto is found later.
    if case .fixed(let size) = gamma { settings.gamma = size }
    settings.exactNorm = exactNorm
    settings.stableGamma = stableGamma
    settings.direction = direction
    settings.scale = scale
    settings.variant = variant
    return settings
  }

  private func isGiven(_ option: StartOption) -> Bool {
    switch option {
    case .a: a != nil
    case .gamma: gamma != nil
    case .exactNorm: exactNorm
    case .stableGamma: stableGamma != nil
    case .direction: direction != nil
    case .scale: scale != nil
    case .variant: variant != nil
    }
  }

  private func refuseIdleOptions(of start: any AdapterStart) throws(GoraError) {
    for option in StartOption.allCases where !type.options.contains(option) {
      let names = AdapterStarts.understanding(option).joined(separator: " or ")
      try refuseIdle(["--\(option.rawValue)": isGiven(option)], goWith: "--method \(names)")
    }
    if !kind.accepts(type) {
      let others = AdapterStarts.all.filter(kind.accepts).map { $0.name }
      throw GoraError(
        .usage, "--adapter \(kind.name) does not go with --method \(type.name)",
        hint: "--method \(others.joined(separator: ", "))")
    }
    if stableGamma != nil, scale ?? .stable != .stable {
      try refuseIdle(["--stable-gamma": true], goWith: "--scale stable")
    }
    if !start.needsGradientFile {
      try refuseIdle(["--gradients": gradients != nil], goWith: "a --method, or --a, that is made from gradients")
    }
    if case .auto = gamma { return }
    try refuseIdle(
      [
        "--data": !data.isEmpty, "--gamma-batches": gammaBatches != nil, "--batch-size": batchSize != nil,
        "--template": rows.template != nil, "--max-length": rows.maxLength != nil, "--learn": rows.learn != nil,
        "--glue": rows.glue != nil,
        "--skip-bad-rows": rows.skipsBadRows,
        "--no-shuffle": keepsOrder, "--dtype": dtype != nil,
      ], goWith: "--gamma auto")
  }
}

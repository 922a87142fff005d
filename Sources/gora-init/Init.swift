import ArgumentParser
import GoraCLI
import GoraCore
import GoraMethods
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

      The result is a PEFT folder. With --method gora the adapters begin with a step
      of size gamma down the gradient.
      """,
    version: Version.line("gora-init"))

  @Argument(help: ArgumentHelp("Plan; - for standard input.", valueName: "plan.json"))
  var plan: String?
  @Option(help: ArgumentHelp("Checkpoint folder.", valueName: "dir"))
  var model: String
  @Option(help: ArgumentHelp("Gradients, as gora-grad writes them.", valueName: "file"))
  var gradients: String?
  @Option(name: .shortAndLong, help: ArgumentHelp("Adapter folder to write.", valueName: "dir"))
  var output: String
  @Option(help: ArgumentHelp("What is started.", valueName: "name"))
  var method: Method = .gora
  @Option(help: ArgumentHelp("A.", valueName: "name"))
  var a: DownProjection?
  @Option(
    name: .customLong("a-scale"), help: ArgumentHelp("Factor on A; B is divided by it.", valueName: "x", standard: 1),
    transform: number(1e-6...1e6))
  var scaleOfA = 1.0
  @Option(
    help: ArgumentHelp("Size of the first step, or auto.", valueName: "g", standard: InitialisationMethod.standardGamma),
    transform: Gamma.init(_:))
  var gamma: Gamma?
  @Flag(name: .customLong("exact-norm"), help: "Make the step's size exact, not right on average.")
  var exactNorm = false
  @Option(
    name: .customLong("stable-gamma"),
    help: ArgumentHelp("Of gora-svd and lora-ga.", valueName: "x", standard: InitialisationMethod.standardStableGamma),
    transform: number(1e-6...1e6))
  var stableGamma: Double?
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
  @OptionGroup var common: CommonOptions

  enum Method: String, ExpressibleByArgument, CaseIterable {
    case gora, lora, pissa
    case goraSVD = "gora-svd"
    case loraGA = "lora-ga"
  }

  enum Gamma {
    case auto
    case fixed(Double)

    init(_ text: String) throws { self = text == "auto" ? .auto : .fixed(try number(1e-12...1e6, orZero: true)(text)) }
  }

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requireFile(output, "the adapter folder")
    let initialisation = initialisation
    try refuseIdleOptions(of: initialisation)
    var configuration = try InitStage.Configuration(
      plan: try jsonInput(plan, "plan", reporterHint: "gora-plan scores.json -o plan.json"), model: model,
      gradients: gradients, output: output, method: initialisation, dryRun: common.dryRun,
      context: try common.context(Self.tool))
    configuration.scaleOfA = scaleOfA
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

  private var initialisation: InitialisationMethod {
    switch method {
    case .gora:
      // That of auto is found later.
      var size = 1.0
      if case .fixed(let value) = gamma ?? .fixed(InitialisationMethod.standardGamma) { size = value }
      return .gora(a: a ?? .kaiming, gamma: size, exactNorm: exactNorm)
    case .lora: return .lora(a: a ?? .kaiming)
    case .pissa: return .pissa
    case .goraSVD: return .goraSVD(stableGamma: stableGamma ?? InitialisationMethod.standardStableGamma)
    case .loraGA: return .loraGA(stableGamma: stableGamma ?? InitialisationMethod.standardStableGamma)
    }
  }

  private func refuseIdleOptions(of initialisation: InitialisationMethod) throws(GoraError) {
    if method != .gora { try refuseIdle(["--gamma": gamma != nil, "--exact-norm": exactNorm], goWith: "--method gora") }
    if method != .gora, method != .lora { try refuseIdle(["--a": a != nil], goWith: "--method gora or lora") }
    if method != .goraSVD, method != .loraGA {
      try refuseIdle(["--stable-gamma": stableGamma != nil], goWith: "--method gora-svd or lora-ga")
    }
    if !initialisation.needsGradient {
      try refuseIdle(["--gradients": gradients != nil], goWith: "a --method, or --a, that is made from gradients")
    }
    if case .auto = gamma { return }
    try refuseIdle(
      [
        "--data": !data.isEmpty, "--gamma-batches": gammaBatches != nil, "--batch-size": batchSize != nil,
        "--template": rows.template != nil, "--max-length": rows.maxLength != nil, "--skip-bad-rows": rows.skipsBadRows,
        "--no-shuffle": keepsOrder, "--dtype": dtype != nil,
      ], goWith: "--gamma auto")
  }
}

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
  @Option(name: .customLong("a-scale"), help: ArgumentHelp("Factor on A; B is divided by it.", valueName: "x"))
  var scaleOfA = 1.0
  @Option(help: ArgumentHelp("Size of the first step, or auto. (default: 0.05)", valueName: "g"))
  var gamma: Gamma?
  @Flag(name: .customLong("exact-norm"), help: "Make the step's size exact, not right on average.")
  var exactNorm = false
  @Option(
    name: .customLong("stable-gamma"), help: ArgumentHelp("Of gora-svd and lora-ga. (default: 16)", valueName: "x"))
  var stableGamma: Double?
  @Option(parsing: .singleValue, help: ArgumentHelp("For --gamma auto: rows to try on (repeatable).", valueName: "file"))
  var data: [String] = []
  @Option(name: .customLong("gamma-batches"), help: ArgumentHelp("Batches of them.", valueName: "n"))
  var gammaBatches = 1
  @Option(name: .customLong("batch-size"), help: ArgumentHelp("Rows of a batch.", valueName: "n"))
  var batchSize = 64
  @OptionGroup var rows: RowArguments
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @Option(help: ArgumentHelp("Precision.", valueName: "type"))
  var dtype: PrecisionChoice = .auto
  @OptionGroup var common: CommonOptions

  enum Method: String, ExpressibleByArgument, CaseIterable {
    case gora, lora, pissa
    case goraSVD = "gora-svd"
    case loraGA = "lora-ga"
  }

  enum Gamma: ExpressibleByArgument {
    case auto
    case fixed(Double)

    init?(argument: String) {
      if argument == "auto" {
        self = .auto
      } else if let value = Double(argument) {
        self = .fixed(value)
      } else {
        return nil
      }
    }
  }

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requireFile(output, "the adapter folder")
    try requirePositive(gammaBatches, "--gamma-batches")
    try requirePositive(batchSize, "--batch-size")
    for (value, name) in [(scaleOfA, "--a-scale"), (stableGamma ?? 1, "--stable-gamma")] where !(value > 0 && value.isFinite) {
      throw GoraError(.usage, "\(name) is \(value); expected a number above 0")
    }
    try refuseIdleOptions()
    var configuration = try InitStage.Configuration(
      plan: try jsonInput(plan, "plan", reporterHint: "gora-plan scores.json -o plan.json"), model: model,
      gradients: gradients, output: output, method: try initialisation(), dryRun: common.dryRun,
      context: try common.context(Self.tool))
    configuration.scaleOfA = scaleOfA
    if case .auto = gamma {
      guard !data.isEmpty else {
        throw GoraError(.usage, "--gamma auto measures the loss on rows of --data, and there is none", hint: "add --data FILE")
      }
      configuration.gammaTrial = GammaTrialOptions(
        data: try rows.options(for: data), batchSize: batchSize, batches: gammaBatches, shuffles: !keepsOrder, precision: dtype)
    } else if !data.isEmpty {
      throw GoraError(.usage, "--data is read for --gamma auto alone")
    }
    try finish(try InitStage(configuration).run(events: reporter.report), reporter)
  }

  private func initialisation() throws(GoraError) -> InitialisationMethod {
    switch method {
    case .gora:
      var size = 1.0
      if case .fixed(let value) = gamma ?? .fixed(0.05) { size = value }
      guard size >= 0, size.isFinite else { throw GoraError(.usage, "--gamma is \(size); expected a number from 0, or auto") }
      return .gora(a: a ?? .kaiming, gamma: size, exactNorm: exactNorm)
    case .lora: return .lora(a: a ?? .kaiming)
    case .pissa: return .pissa
    case .goraSVD: return .goraSVD(stableGamma: stableGamma ?? 16)
    case .loraGA: return .loraGA(stableGamma: stableGamma ?? 16)
    }
  }

  /// An option that the method does not look at is a mistake.
  private func refuseIdleOptions() throws(GoraError) {
    let isSVD = method == .goraSVD || method == .loraGA
    for (isGiven, isUsed, name) in [
      (gamma != nil, method == .gora, "--gamma"), (exactNorm, method == .gora, "--exact-norm"),
      (a != nil, method == .gora || method == .lora, "--a"), (stableGamma != nil, isSVD, "--stable-gamma"),
    ] where isGiven && !isUsed {
      throw GoraError(.usage, "--method \(method.rawValue) has no use for \(name)")
    }
  }
}

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
  @Option(help: ArgumentHelp("gora, or lora (B = 0).", valueName: "name"))
  var method: Method = .gora
  @Option(help: ArgumentHelp("Size of the first step.", valueName: "g"))
  var gamma = 0.05
  @Option(help: ArgumentHelp("A: kaiming, gaussian, orthogonal, gradient-svd, weight-svd.", valueName: "name"))
  var a: DownProjection = .kaiming
  @OptionGroup var common: CommonOptions

  enum Method: String, ExpressibleByArgument, CaseIterable { case gora, lora }

  func execute(_ reporter: Reporter) throws(GoraError) {
    guard gamma >= 0, gamma.isFinite else { throw GoraError(.usage, "--gamma is \(gamma); expected a number from 0") }
    try requireFile(output, "the adapter folder")
    let initialisation: InitialisationMethod =
      switch method {
      case .gora: .gora(a: a, gamma: gamma)
      case .lora: .lora(a: a)
      }
    let stage = InitStage(
      try InitStage.Configuration(
        plan: try jsonInput(plan, "plan", reporterHint: "gora-plan scores.json -o plan.json"), model: model,
        gradients: gradients, output: output, method: initialisation, dryRun: common.dryRun,
        context: try common.context(Self.tool)))
    try finish(try stage.run(events: reporter.report), reporter)
  }
}

import ArgumentParser
import GoraCLI
import GoraCore
import GoraStages

@main
struct Export: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-export",
    abstract: "Write an adapter for other tools, or merged into its model.",
    discussion: """
      Examples:
        gora-export tuned --model Llama-3.2-1B --profile padded -o for-llama.cpp
        gora-export tuned --model Llama-3.2-1B --profile merged -o tuned-model
        gora-export tuned --model Llama-3.2-1B --keep-parameters 25% -o small

      compact is right in PEFT and vLLM, padded in llama.cpp too, native in PEFT alone
      (to go on training); merged is a full checkpoint in the model's own dtype.

      --keep-parameters and --max-rank make the adapter smaller: the components with the
      largest singular values of its update stay. The error that this makes is said.
      """,
    version: Version.line("gora-export"))

  @Argument(help: ArgumentHelp("Adapter folder, of gora or PEFT.", valueName: "adapter"))
  var adapter: String
  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file the adapter is for.", valueName: "path"))
  var model: String
  @Option(help: ArgumentHelp("compact, padded, native or merged.", valueName: "name"))
  var profile: ExportStage.Profile = .compact
  @Option(
    name: .customLong("keep-parameters"),
    help: ArgumentHelp(
      "Keep at most so many of the adapter's parameters, or that share of them, by one threshold over all modules.",
      valueName: "n|n%"), transform: parameterBudget)
  var keptParameters: ParameterBudget?
  @Option(
    name: .customLong("max-rank"),
    help: ArgumentHelp("Keep at most so many components of each module.", valueName: "n"), transform: count())
  var maxRank: Int?
  @Option(name: .shortAndLong, help: ArgumentHelp("Folder to write.", valueName: "dir"))
  var output: String
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requireFile(output, "the folder to write")
    let stage = ExportStage(
      ExportStage.Configuration(
        adapter: adapter, model: model, profile: profile, maxRank: maxRank, keptParameters: keptParameters, output: output,
        dryRun: common.dryRun, context: try common.context(Self.tool)))
    try finish(try stage.run(events: reporter.report), reporter)
  }
}

extension ExportStage.Profile: ExpressibleByArgument {}

/// `200000` or `25%`.
private func parameterBudget(_ text: String) throws -> ParameterBudget {
  guard text.hasSuffix("%") else { return .count(try count()(text)) }
  return .share(try number(0.001...100)(String(text.dropLast())) / 100)
}

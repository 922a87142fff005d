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

      compact is right in PEFT and vLLM, padded in llama.cpp too, native in PEFT alone
      (to go on training); merged is a full checkpoint in the model's own dtype.
      """,
    version: Version.line("gora-export"))

  @Argument(help: ArgumentHelp("Adapter folder, of gora or PEFT.", valueName: "adapter"))
  var adapter: String
  @Option(help: ArgumentHelp("Checkpoint folder the adapter is for.", valueName: "dir"))
  var model: String
  @Option(help: ArgumentHelp("compact, padded, native or merged.", valueName: "name"))
  var profile: ExportStage.Profile = .compact
  @Option(name: .shortAndLong, help: ArgumentHelp("Folder to write.", valueName: "dir"))
  var output: String
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requireFile(output, "the folder to write")
    let stage = ExportStage(
      ExportStage.Configuration(
        adapter: adapter, model: model, profile: profile, output: output, dryRun: common.dryRun,
        context: try common.context(Self.tool)))
    try finish(try stage.run(events: reporter.report), reporter)
  }
}

extension ExportStage.Profile: ExpressibleByArgument {}

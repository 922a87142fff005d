import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraStages

@main
struct Export: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-export",
    abstract: "Write an adapter for other tools, or merged into its model.",
    discussion: """
      Examples:
        gora-export tuned --model Llama-3.2-1B.gguf --profile gguf -o adapter.gguf
        gora-export tuned --model Llama-3.2-1B --profile merged -o tuned-model
        gora-export tuned --model Llama-3.2-1B --check llama.cpp
        gora-export tuned --model Llama-3.2-1B --keep-parameters 25% -o small

      ranked is right in PEFT, vLLM from 0.32 on and llama.cpp's converter, padded
      in older vLLM too, at the price of its size; compact and native are wrong in
      llama.cpp without a message. gguf is what llama.cpp loads, merged a model.

      --keep-parameters and --max-rank make the adapter smaller: the components with
      the largest singular values of its update stay. The error made is said.
      """,
    version: Version.line("gora-export"))

  @Argument(help: ArgumentHelp("Adapter folder, of gora or PEFT.", valueName: "adapter"))
  var adapter: String
  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file the adapter is for.", valueName: "path"))
  var model: String
  @Option(help: ArgumentHelp("Who is to read it (default: ranked).", valueName: "name"))
  var profile: ExportStage.Profile?
  @Option(
    help: ArgumentHelp("Write nothing: what that reader would make of it.", valueName: "reader"))
  var check: AdapterReader?
  @Option(help: ArgumentHelp("Elements of a GGUF file (default: f32; merged: f16).", valueName: "type"))
  var outtype: Outtype?
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
  @Option(name: .shortAndLong, help: ArgumentHelp("Folder or GGUF file to write.", valueName: "path"))
  var output: String?
  @OptionGroup var base: BaseNameArguments
  @OptionGroup var common: CommonOptions

  enum Outtype: String, ExpressibleByArgument, CaseIterable {
    case f32, f16, bf16
    case q80 = "q8_0"
    var dtype: DType { DType(rawValue: rawValue.uppercased()) ?? .f32 }
  }

  func execute(_ reporter: Reporter) throws(GoraError) {
    if let check {
      try refuseIdle(
        [
          "--profile": profile != nil, "--outtype": outtype != nil, "--keep-parameters": keptParameters != nil,
          "--max-rank": maxRank != nil, "--output": output != nil, "--base-model": base.baseModel != nil,
        ], goWith: "writing, --check writes nothing")
      let stage = AdapterCheckStage(AdapterCheckStage.Configuration(adapter: adapter, model: model, reader: check))
      try stage.run(events: reporter.report) { summary throws(GoraError) in
        var summary = summary
        if common.json { summary.output = nil }
        try finish(summary, reporter)
      }
      return
    }
    guard let output else { throw GoraError(.usage, "no --output", hint: "-o names what to write") }
    try requireFile(output, "what to write")
    var configuration = ExportStage.Configuration(
      adapter: adapter, model: model, profile: profile ?? .ranked, maxRank: maxRank, keptParameters: keptParameters,
      output: output, dryRun: common.dryRun, context: try common.context(Self.tool))
    configuration.outtype = outtype?.dtype
    configuration.baseModel = base.baseModel
    try finish(try ExportStage(configuration).run(events: reporter.report), reporter)
  }
}

extension ExportStage.Profile: ExpressibleByArgument {}
extension AdapterReader: ExpressibleByArgument {}

/// `200000` or `25%`.
private func parameterBudget(_ text: String) throws -> ParameterBudget {
  guard text.hasSuffix("%") else { return .count(try count()(text)) }
  return .share(try number(0.001...100)(String(text.dropLast())) / 100)
}

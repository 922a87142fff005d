import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraMethods
import GoraStages

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

      No weight is changed: this is one large-batch gradient, taken before training.
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
  @Flag(name: .customLong("recompute"), help: "Keep less in memory, compute each layer twice.")
  var recomputes = false
  @Flag(name: .customLong("no-shuffle"), help: "Take rows in file order.")
  var keepsOrder = false
  @OptionGroup var common: CommonOptions

  enum StoredType: String, ExpressibleByArgument, CaseIterable { case f32, bf16 }

  func execute(_ reporter: Reporter) throws(GoraError) {
    try requirePositive(steps, "--steps")
    try requirePositive(batchSize, "--batch-size")
    try requirePositive(microBatchTokens, "--micro-batch-tokens")
    let stage = GradStage(
      GradStage.Configuration(
        model: model, data: try data.options(), output: output, steps: steps, batchSize: batchSize,
        targets: try TargetSelection(targets), precision: dtype, storesBFloat16: store == .bf16,
        compression: try Compression(parsing: compression), shuffles: !keepsOrder, microBatchTokens: microBatchTokens,
        recomputes: recomputes, dryRun: common.dryRun, context: try common.context(Self.tool)))
    let summary = try stage.run(events: reporter.report)
    if common.dryRun {
      reporter.summary(
        "would average \(summary.modules) gradients over \(summary.steps) batches (\(summary.rows) rows); \(summary.estimate)")
      return
    }
    reporter.summary(
      "\(summary.modules) gradients over \(summary.steps) batches (\(summary.rows) rows, \(NumberText.count(summary.tokens)) tokens), "
        + "loss \(NumberText.fixed(summary.loss, 4)), \(NumberText.count(Int(summary.tokensPerSecond))) tokens/s -> \(output)")
    if common.json {
      var members: [JSON.Member] = [
        .init("modules", JSON(summary.modules)), .init("steps", JSON(summary.steps)), .init("rows", JSON(summary.rows)),
        .init("tokens", JSON(summary.tokens)), .init("loss", JSON(summary.loss)),
        .init("tokens_per_second", JSON(summary.tokensPerSecond)),
      ]
      if let steady = summary.steadyTokensPerSecond { members.append(.init("steady_tokens_per_second", JSON(steady))) }
      members.append(.init("estimate", summary.estimate.json))
      try reporter.output(JSON(.object(members)).compact() + "\n")
    }
  }
}

import ArgumentParser
import GoraCLI
import GoraCore
import GoraFormats
import GoraMethods
import GoraStages

@main
struct Plan: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-plan",
    abstract: "Share ranks out among weights by their importance.",
    discussion: """
      Examples:
        gora-plan scores.json --rank 8 -o plan.json
        gora-plan --uniform --model Llama-3.2-1B --rank 8 --format table

      The budget is that of a plain LoRA at --rank; --budget exact meets it to a rank.
      """,
    version: Version.line("gora-plan"))

  @Argument(help: ArgumentHelp("Scores; - for standard input.", valueName: "scores.json"))
  var scores: String?
  @Option(help: ArgumentHelp("Rank of the plain LoRA that sets the budget.", valueName: "r"))
  var rank = 8
  @Option(help: ArgumentHelp("Smallest rank (default: half of --rank).", valueName: "r"))
  var minRank: Int?
  @Option(help: ArgumentHelp("Largest rank (default: four times --rank).", valueName: "r"))
  var maxRank: Int?
  @Option(help: ArgumentHelp("Numerator of the adapter's scale.", valueName: "a"))
  var alpha = 16.0
  @Option(help: ArgumentHelp("Scale: rslora (a/sqrt r) or lora (a/r).", valueName: "rule"))
  var scaling: RankPlan.Scaling = .rslora
  @Option(help: ArgumentHelp("Size in the budget: sqrt, linear, log1p.", valueName: "f"))
  var budgetFeature: BudgetFeature = .sqrt
  @Option(help: ArgumentHelp("nearest, floor, ceil.", valueName: "how"))
  var rankRounding: RankRounding = .nearest
  @Option(help: ArgumentHelp("open (the paper) or exact.", valueName: "rule"))
  var budget: BudgetRule = .open
  @Option(help: ArgumentHelp("json, table, or peft (a LoraConfig).", valueName: "format"))
  var format: PlanStage.Format = .json
  @Flag(help: "Plan a plain LoRA: --rank everywhere, no scores.")
  var uniform = false
  @Option(help: ArgumentHelp("With --uniform: checkpoint folder.", valueName: "dir"))
  var model: String?
  @Option(help: ArgumentHelp("With --uniform: suffixes, all-linear, or /regex/ (default: q,k,v,o_proj).", valueName: "list"))
  var targets: String?
  @Option(name: .shortAndLong, help: ArgumentHelp("Plan to write (default: standard output).", valueName: "file"))
  var output: String?
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    let target = OutputTarget(option: output)
    try requireFileForJSON(target)
    var allocation = try RankAllocation(referenceRank: rank, minRank: minRank, maxRank: maxRank)
    allocation.feature = budgetFeature
    allocation.rounding = rankRounding
    allocation.budget = budget
    let stage = PlanStage(
      try PlanStage.Configuration(
        source: try source(), allocation: allocation, alpha: alpha, scaling: scaling, format: format, output: target,
        unicode: CommonOptions.localeIsUTF8, dryRun: common.dryRun, context: try common.context(Self.tool)))
    var summary = try stage.run(events: reporter.report)
    // The table on the terminal has said it all.
    if format == .table, target == .standardOutput, !common.dryRun { summary.line = "" }
    try finish(summary, reporter)
  }

  private func source() throws(GoraError) -> PlanStage.Source {
    if uniform {
      if scores != nil { throw GoraError(.usage, "--uniform takes no scores") }
      guard let model else { throw GoraError(.usage, "--uniform needs --model") }
      return .uniform(model: model, targets: try TargetSelection(targets ?? "q_proj,k_proj,v_proj,o_proj"))
    }
    if model != nil || targets != nil {
      throw GoraError(.usage, "--model and --targets go with --uniform", hint: "scores know their modules already")
    }
    return .scores(try jsonInput(scores, "scores", reporterHint: "gora-score --model DIR grad.h5 -o scores.json"))
  }
}

extension RankPlan.Scaling: ExpressibleByArgument {}
extension PlanStage.Format: ExpressibleByArgument {}

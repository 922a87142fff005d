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
        gora-plan scores.json --preset eva --rank 8 -o plan.json
        gora-plan --preset head-start --model Llama-3.2-1B -o plan.json
        gora-plan --compare plan.json other.json

      The budget is that of a plain LoRA at --rank; --budget exact meets it to a rank.
      """,
    version: Version.line("gora-plan"))

  @Argument(help: ArgumentHelp("Scores; - for standard input.", valueName: "scores.json"))
  var scores: String?
  @Option(
    help: ArgumentHelp("Rank of the plain LoRA that sets the budget.", valueName: "r", standard: RankAllocation.standardRank),
    transform: count(to: RankAllocation.largestRank))
  var rank: Int?
  @Option(
    help: ArgumentHelp("Smallest rank (default: half of --rank).", valueName: "r"),
    transform: count(from: 0, to: RankAllocation.largestRank))
  var minRank: Int?
  @Option(
    help: ArgumentHelp("Largest rank (default: four times --rank, with eva twice).", valueName: "r"),
    transform: count(to: RankAllocation.largestRank))
  var maxRank: Int?
  @Option(
    help: ArgumentHelp("Numerator of the adapter's scale.", valueName: "a", standard: AllocationPreset.paper.alpha),
    transform: number(RankPlan.alphas))
  var alpha: Double?
  @Option(help: ArgumentHelp("Scale: a/sqrt r (rslora), a/r, or a/--rank (default: the preset's).", valueName: "rule"))
  var scaling: RankPlan.Scaling?
  @Option(
    help: ArgumentHelp(
      "The paper's formula, the default, its authors' scripts', EVA's, or ours without scores.", valueName: "name"))
  var preset: AllocationPreset?
  @Option(help: ArgumentHelp("Size in the budget (default: the preset's).", valueName: "f"))
  var budgetFeature: BudgetFeature?
  @Option(help: ArgumentHelp("Of a weight's part of the budget (default: the preset's).", valueName: "how"))
  var budgetRounding: PartRounding?
  @Option(help: ArgumentHelp("Of the ranks (default: the preset's).", valueName: "how"))
  var rankRounding: RankRounding?
  @Option(help: ArgumentHelp("As the formula has it, the default, or meeting LoRA's.", valueName: "rule"))
  var budget: BudgetRule?
  @Option(help: ArgumentHelp("Of the output; peft is a LoraConfig (default: json, for --compare table).", valueName: "format"))
  var format: PlanStage.Format?
  @Option(help: ArgumentHelp("Show how the plan given differs from this one.", valueName: "plan.json"))
  var compare: String?
  @Flag(help: "Plan a plain LoRA: --rank everywhere, no scores.")
  var uniform = false
  @Option(help: ArgumentHelp("With --uniform: checkpoint folder or GGUF file.", valueName: "path"))
  var model: String?
  @Option(help: ArgumentHelp("With --uniform: suffixes, all-linear, or /regex/ (default: q,k,v,o_proj).", valueName: "list"))
  var targets: String?
  @Option(name: .shortAndLong, help: ArgumentHelp("Plan to write (default: standard output).", valueName: "file"))
  var output: String?
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    let target = OutputTarget(option: output)
    try requireFileForJSON(target)
    let isTable = (format ?? (compare == nil ? .json : .table)) == .table
    var summary =
      if let compare { try comparison(with: compare, target, reporter) } else { try plan(target, reporter) }
    // The table on the terminal has said it all.
    if isTable, target == .standardOutput, !common.dryRun { summary.line = "" }
    try finish(summary, reporter)
  }

  private func plan(_ target: OutputTarget, _ reporter: Reporter) throws(GoraError) -> StageSummary {
    let preset = preset ?? .paper
    if preset.poolsExplainedVariance { try refuseFormula("--preset paper or scripts") }
    let reference = rank ?? RankAllocation.standardRank
    var allocation = try RankAllocation(
      referenceRank: reference, minRank: preset.minRank ?? minRank, maxRank: maxRank ?? preset.maxRank(reference: reference))
    allocation.feature = budgetFeature ?? preset.feature
    allocation.rounding = rankRounding ?? preset.rounding
    allocation.budgetRounding = budgetRounding.map { $0.rule } ?? preset.budgetRounding
    allocation.budget = budget ?? .open
    var configuration = PlanStage.Configuration(
      source: try source(), allocation: allocation, alpha: alpha ?? preset.alpha,
      scaling: scaling ?? (preset.keepsOneScale ? .constant : .rslora), format: format ?? .json, output: target,
      unicode: CommonOptions.localeIsUTF8, dryRun: common.dryRun, context: try common.context(Self.tool))
    configuration.poolsExplainedVariance = preset.poolsExplainedVariance
    configuration.start = preset.start?.name
    return try PlanStage(configuration).run(events: reporter.report)
  }

  private func comparison(
    with first: String, _ target: OutputTarget, _ reporter: Reporter
  ) throws(GoraError) -> StageSummary {
    try refuseIdle(
      [
        "--rank": rank != nil, "--alpha": alpha != nil, "--scaling": scaling != nil, "--uniform": uniform,
        "--model": model != nil,
        "--targets": targets != nil,
      ], goWith: "making a plan, --compare makes none")
    try refuseAllocation("making a plan, --compare makes none")
    let stage = PlanComparisonStage(
      try PlanComparisonStage.Configuration(
        first: first, second: try jsonInput(scores, "second plan", reporterHint: "gora-plan --compare plan.json other.json"),
        format: format ?? .table, output: target, unicode: CommonOptions.localeIsUTF8, dryRun: common.dryRun))
    return try stage.run(events: reporter.report)
  }

  private func source() throws(GoraError) -> PlanStage.Source {
    if uniform || preset?.isUniform == true {
      let option = uniform ? "--uniform" : "--preset \(preset?.rawValue ?? "")"
      if scores != nil { throw GoraError(.usage, "\(option) takes no scores") }
      try refuseIdle(
        ["--max-rank": maxRank != nil, "--preset": uniform && preset != nil],
        goWith: "scores, \(option) has the same rank everywhere")
      try refuseFormula("scores, \(option) has the same rank everywhere")
      guard let model else { throw GoraError(.usage, "\(option) needs --model") }
      return .uniform(model: model, targets: try targets.map(TargetSelection.init) ?? .standard)
    }
    try refuseIdle(
      ["--model": model != nil, "--targets": targets != nil],
      goWith: "--uniform or --preset head-start, scores know their modules")
    return .scores(try jsonInput(scores, "scores", reporterHint: "gora-score --model DIR grad.h5 -o scores.json"))
  }

  /// How ranks are shared out, where they are not.
  private func refuseAllocation(_ condition: String) throws(GoraError) {
    try refuseIdle(["--max-rank": maxRank != nil, "--preset": preset != nil], goWith: condition)
    try refuseFormula(condition)
  }

  /// The parts of GoRA's formula.
  private func refuseFormula(_ condition: String) throws(GoraError) {
    try refuseIdle(
      [
        "--min-rank": minRank != nil, "--budget-feature": budgetFeature != nil, "--budget-rounding": budgetRounding != nil,
        "--rank-rounding": rankRounding != nil, "--budget": budget != nil,
      ], goWith: condition)
  }
}

extension RankPlan.Scaling: ExpressibleByArgument {}
extension PlanStage.Format: ExpressibleByArgument {}

/// `--budget-rounding`.
enum PartRounding: String, CaseIterable, ExpressibleByArgument {
  case none, nearest, floor, ceil

  var rule: RankRounding? { RankRounding(rawValue: rawValue) }
}

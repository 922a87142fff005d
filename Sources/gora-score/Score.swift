import ArgumentParser
import GoraCLI
import GoraCore
import GoraMethods
import GoraStages

@main
struct Score: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-score",
    abstract: "Rate how much each weight matters, from its gradient.",
    discussion: """
      Examples:
        gora-score --model Llama-3.2-1B grad.h5 -o scores.json
        gora-score --model Llama-3.2-1B grad.h5 | gora-plan - --format table

      The paper's metric is "sensitivity", the mean of |weight x gradient|. Names joined by + are averaged, share by share.
      """,
    version: Version.line("gora-score"))

  @Argument(help: ArgumentHelp("Gradients, as gora-grad writes them.", valueName: "grad.h5"))
  var gradients: String
  @Option(help: ArgumentHelp("Checkpoint folder or GGUF file the gradients are of.", valueName: "path"))
  var model: String
  @Option(help: ArgumentHelp("Importance of a weight.", valueName: "name"))
  var metric = MetricBlend(.sensitivity)
  @Option(help: ArgumentHelp("How importances become shares.", valueName: "how"))
  var normalise: Normalisation = .sum
  @Option(
    help: ArgumentHelp("Temperature of the softmax.", valueName: "t", standard: Advantage.standardTemperature),
    transform: number(1e-6...1e6))
  var temperature: Double?
  @Flag(help: "Share out by the square roots of the importances.")
  var sqrt = false
  @Option(
    help: ArgumentHelp("Singular values that an estimate goes by.", valueName: "q", standard: RandomisedSVD.standardRank),
    transform: count(to: 1 << 20))
  var svdRank: Int?
  @Option(name: .shortAndLong, help: ArgumentHelp("Scores to write (default: standard output).", valueName: "file"))
  var output: String?
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    let target = OutputTarget(option: output)
    try requireFileForJSON(target)
    try requireFile(gradients, "gradients")
    if normalise != .softmax { try refuseIdle(["--temperature": temperature != nil], goWith: "--normalise softmax") }
    if !metric.estimates { try refuseIdle(["--svd-rank": svdRank != nil], goWith: "a --metric that ends in -estimate") }
    let stage = ScoreStage(
      ScoreStage.Configuration(
        model: model, gradients: gradients, metric: metric,
        advantage: try Advantage(
          normalise, temperature: temperature ?? Advantage.standardTemperature, takesSquareRoot: sqrt),
        svdRank: svdRank ?? RandomisedSVD.standardRank, output: target,
        dryRun: common.dryRun, context: try common.context(Self.tool)))
    try finish(try stage.run(events: reporter.report), reporter)
  }
}

import ArgumentParser
import GoraCLI
import GoraCore
import GoraReport
import GoraStages

@main
struct Report: GoraCommand {
  static let configuration = CommandConfiguration(
    commandName: "gora-report",
    abstract: "Show what the stages wrote: a page, pictures, or text on a terminal.",
    discussion: """
      Examples:
        gora-report results/math -o report.html
        gora-report results/math --figure loss -o loss.svg
        gora-report results/sweep --figure rates --baseline lora

      Folders are searched; each file is told by its content. On a terminal, and
      without -o, the figures are written as text.
      """,
    version: Version.line("gora-report"))

  @Argument(help: ArgumentHelp("Files of the stages, adapters, folders of these.", valueName: "path"))
  var inputs: [String] = []
  @Option(
    help: ArgumentHelp("One of: results, rates, confusion, loss, ranks, importance, init, budget, cost.", valueName: "name"))
  var figure: FigureName?
  @Option(help: ArgumentHelp("Method that the others are compared with, seed by seed, in the figure rates.", valueName: "method"))
  var baseline: String?
  @Option(help: ArgumentHelp("html; svg, the default with --figure; text.", valueName: "format"))
  var format: ReportStage.Format?
  @Option(name: .shortAndLong, help: ArgumentHelp("File to write (default: standard output).", valueName: "file"))
  var output: String?
  @OptionGroup var common: CommonOptions

  func execute(_ reporter: Reporter) throws(GoraError) {
    let target = OutputTarget(option: output)
    try requireFileForJSON(target)
    let isTerminal = target == .standardOutput && StandardStreams.outputIsTerminal
    let format = format ?? (isTerminal ? .text : figure == nil ? .html : .svg)
    let style = TextStyle(unicode: CommonOptions.localeIsUTF8, color: isTerminal && common.reporting.allowsColor)
    let stage = ReportStage(
      try ReportStage.Configuration(
        inputs: inputs, figure: figure, baseline: baseline, format: format, textStyle: style, output: target,
        dryRun: common.dryRun))
    var summary = try stage.run(events: reporter.report)
    // The text on the terminal has said it all.
    if isTerminal, !common.dryRun { summary.line = "" }
    try finish(summary, reporter)
  }
}

extension FigureName: ExpressibleByArgument {}
extension ReportStage.Format: ExpressibleByArgument {}

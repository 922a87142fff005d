import GoraCore
import GoraStages
import GoraText

extension GoraCommand {
  /// `--show-rows`: rows on standard output, as lines of JSON with `--json`.
  package func show(_ configuration: ShowRowsStage.Configuration, _ reporter: Reporter) throws(GoraError) {
    let style = ShownRow.Style(
      isColored: common.color == .always || StandardStreams.outputIsTerminal && common.reporting.allowsColor,
      showsIds: common.verbose > 0)
    try ShowRowsStage(configuration).run(events: reporter.report) { row throws(GoraError) in
      try reporter.output(common.json ? row.json.compact() + "\n" : row.text(style) + "\n")
    }
  }

  /// An option that must be there unless rows are only shown.
  package func required(_ value: String?, _ option: String) throws(GoraError) -> String {
    guard let value else {
      throw GoraError(.usage, "missing expected argument '\(option)'", hint: "\(Self.tool) --help lists the options")
    }
    return value
  }
}

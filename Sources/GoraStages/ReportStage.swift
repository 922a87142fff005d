import GoraCore
import GoraFormats
import GoraReport

/// gora-report: what the stages wrote → a page, a picture or a terminal's text.
package struct ReportStage {
  package enum Format: String, CaseIterable, Sendable {
    case html, svg, text
  }

  package struct Configuration: Sendable {
    /// Files and folders.
    package var inputs: [String]
    /// One figure alone; nil for all.
    package var figure: FigureName?
    /// The method that others are compared with; nil: none.
    package var baseline: String?
    package var format: Format
    package var textStyle: TextStyle
    package var output: OutputTarget
    package var dryRun: Bool

    /// - Throws: status 64 without inputs, and for an SVG of everything.
    package init(
      inputs: [String], figure: FigureName?, baseline: String? = nil, format: Format, textStyle: TextStyle,
      output: OutputTarget, dryRun: Bool
    ) throws(GoraError) {
      if inputs.isEmpty {
        throw GoraError(.usage, "no inputs given", hint: "name files that the stages wrote, or the folder they are in")
      }
      if format == .svg, figure == nil {
        let names = FigureName.allCases.map(\.rawValue).joined(separator: ", ")
        throw GoraError(.usage, "--format svg draws one figure", hint: "name it with --figure: \(names)")
      }
      self.inputs = inputs
      self.figure = figure
      self.baseline = baseline
      self.format = format
      self.textStyle = textStyle
      self.output = output
      self.dryRun = dryRun
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: @escaping EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try checkOutputs(c.output.paths, against: c.inputs)
    let output = c.dryRun ? nil : try c.output.open()
    let scanner = try ReportScanner(c.inputs, output: c.output.paths.first, events: events)
    let inputs = scanner.inputs
    var collector = ReportCollector(inputs)
    try collector.compare(with: c.baseline)
    let used = inputs.count { if case .skipped = $0.content { false } else { true } }
    let figures = c.figure.map { Figure.make($0, collector.data).map { [$0] } ?? [] } ?? Figure.all(collector.data)
    guard !figures.isEmpty else {
      let place = Location.file(c.inputs.joined(separator: ", "))
      if let figure = c.figure, used > 0 {
        let others = Figure.all(collector.data).map(\.name.rawValue).joined(separator: ", ")
        throw GoraError(
          .data, at: place, "nothing for the figure \"\(figure.rawValue)\" in \(used) files",
          hint: others.isEmpty ? nil : "there is something for: \(others)")
      }
      throw GoraError(
        .data, at: place, "nothing to show: no file of \(inputs.count + scanner.others) was written by a stage that has a figure",
        hint: "a report is made of plan.json, scores.json, grad.h5, metrics.jsonl, adapter folders and result.json")
    }
    let left = inputs.count - used + scanner.others
    let names = figures.map(\.name.rawValue)
    var summary = StageSummary(
      line: "\(used) file\(used == 1 ? "" : "s")\(left > 0 ? ", \(left) others left out" : ""), "
        + "figures: \(names.joined(separator: ", "))",
      json: .object([
        "files": JSON(used), "skipped": JSON(left), "figures": JSON(names.map { JSON($0) }),
      ]))
    if c.dryRun {
      summary.line = "would show \(summary.line)\(c.output.arrow)"
      return summary
    }
    let page = Page(
      title: "gora report: \(collector.title)", figures: figures,
      sources: inputs.map { Page.Source(path: $0.path, kind: $0.kind) })
    let text =
      switch c.format {
      case .html: page.html()
      case .svg: figures.map { $0.svg() }.joined()
      case .text: page.text(c.textStyle)
      }
    summary.output = try output?.deliver(text)
    summary.line += c.output.arrow
    return summary
  }
}

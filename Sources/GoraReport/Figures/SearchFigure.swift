import GoraCore

extension Figure {
  /// What the trials of `--lr auto` ended with over their rates, a panel a run; a line for those of equal length.
  static func searchFigure(_ data: ReportData) -> Figure? {
    let panels = data.searches.compactMap { search -> Panel? in
      let trials = search.trials.filter { $0.rate > 0 && $0.loss?.isFinite == true }
      if trials.isEmpty { return nil }
      let groups = grouped(trials) { trial in
        "\(trial.steps) step\(trial.steps == 1 ? "" : "s")"
          + (trial.ratio.map { ", B \(NumberText.significant($0)) times" } ?? "")
      }
      let lines = groups.enumerated().map { color, group -> LineChart.Line in
        let points = group.elements.map { Point($0.rate, $0.loss ?? .nan) }.sorted { $0.x < $1.x }
        var line = LineChart.Line(label: group.key, color: color, points: points)
        line.marks = points
        return line
      }
      let out = search.trials.count - trials.count
      let found = search.found.map { ", found \(NumberText.significant($0))" } ?? ""
      return Panel(
        "\(search.run.name)\(found)",
        description: "Loss of \(trials.count) short trials over their learning rates\(found)"
          + (out > 0 ? "; \(out) more diverged, or were runs that failed." : "."),
        chart: LineChart(
          lines: lines, xTitle: "learning rate of A", yTitle: "loss, nats a token", logarithmicFrom: 8, logarithmicXFrom: 4,
          width: 390))
    }
    if panels.isEmpty { return nil }
    return Figure(
      .search, title: "Search for the rate",
      note: "What short trials from one start ended with on rows that none of them learnt; a line for trials of equal length.",
      panels: panels)
  }
}

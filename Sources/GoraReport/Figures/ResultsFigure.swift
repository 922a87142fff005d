import GoraCore

extension Figure {
  /// What was measured, a row a group, with deviations over its runs.
  static func resultsFigure(_ data: ReportData) -> Figure? {
    if data.results.isEmpty { return nil }
    var table = Table(columns: [
      .init("run"), .init("runs", isNumber: true), .init("accuracy, %", isNumber: true), .init("95 % interval", isNumber: true),
      .init("held-out loss", isNumber: true), .init("first loss", isNumber: true), .init("last loss", isNumber: true),
      .init("parameters", isNumber: true),
    ])
    func text(_ spread: Spread?, _ decimals: Int) -> String {
      guard let spread else { return "" }
      return NumberText.fixed(spread.mean, decimals)
        + (spread.deviation.map { " ± \(NumberText.fixed($0, decimals))" } ?? "")
    }
    let groups = grouped(data.results) { $0.run.group }
    for (group, results) in groups {
      let losses = data.losses.filter { $0.run.group == group }
      let sizes = grouped(
        data.plans.filter { $0.run.group == group }.map { $0.modules.reduce(0) { $0 + $1.parameters } }, by: { $0 })
      let interval = results.count == 1 ? results.first?.interval : nil
      table.rows.append([
        group, String(results.count), text(Spread(results.compactMap { $0.accuracy.map { 100 * $0 } }), 2),
        interval.map { "\(NumberText.fixed(100 * $0.lowerBound, 1)) – \(NumberText.fixed(100 * $0.upperBound, 1))" } ?? "",
        text(Spread(results.compactMap(\.loss)), 4), text(Spread(losses.compactMap { $0.training.first?.y }), 4),
        text(Spread(losses.compactMap { $0.training.last?.y }), 4),
        sizes.isEmpty ? "" : sizes.map { NumberText.grouped($0.key) }.joined(separator: ", "),
      ])
    }
    func panel(_ title: String, _ axis: String, _ values: [[Double]]) -> Panel? {
      if values.allSatisfy(\.isEmpty) { return nil }
      return Panel(
        title, description: "\(title) of each run by group; the table has the numbers.",
        chart: DotChart(
          rows: groups.map(\.key), series: [.init(label: title, values: values)], axisTitle: axis, logarithmicFrom: .infinity))
    }
    return Figure(
      .results, title: "Results", note: "Mean ± deviation over the runs of a group, which differ in their seed alone.",
      panels: [
        panel("Accuracy", "accuracy, %", groups.map { $0.elements.compactMap { $0.accuracy.map { 100 * $0 } } }),
        panel("Held-out loss", "loss, nats a token", groups.map { $0.elements.compactMap(\.loss) }),
      ].compactMap { $0 }, table: table)
  }
}

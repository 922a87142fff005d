import GoraCore

extension Figure {
  /// What images of each class were taken for, a heat map a run.
  static func confusionFigure(_ data: ReportData) -> Figure? {
    var panels: [Panel] = []
    for result in data.results {
      guard let confusion = result.confusion else { continue }
      let shares = confusion.counts.map { row -> [Double?] in
        let total = row.reduce(0, +)
        return row.map { total == 0 ? nil : 100 * $0 / total }
      }
      let label = { @Sendable (value: Double) in NumberText.fixed(value, 0) }
      let numbers = confusion.classes.indices.map { String($0 + 1) }
      panels.append(
        Panel(
          result.run.name,
          description: "What images of each of \(confusion.classes.count) classes were taken for, in percent of the class.",
          chart: HeatMap(
            rows: zip(numbers, confusion.classes).map { "\($0) \($1)" }, columns: numbers, columnTitle: "taken for",
            values: shares, quantity: "share of the class's images, %", range: [0, 100], logarithmicFrom: .infinity, label: label,
            meanLabel: { _ in "" })))
    }
    if panels.isEmpty { return nil }
    return Figure(
      .confusion, title: "Confusion", note: "A row a class; the diagonal is right. Classes without images are empty.",
      panels: panels)
  }
}

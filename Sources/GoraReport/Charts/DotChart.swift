import GoraCore

/// A row a kind: a faint dot for each of its values, a full one for their mean; several series beside each other.
struct DotChart: Chart {
  struct Series: Sendable {
    var label: String
    /// By row.
    var values: [[Double]]
  }

  let rows: [String]
  let series: [Series]
  let axisTitle: String
  private let scale: Scale

  init(rows: [String], series: [Series], axisTitle: String, logarithmicFrom ratio: Double) {
    self.rows = rows
    self.series = series
    self.axisTitle = axisTitle
    scale = Scale(covering: series.flatMap { $0.values.joined() }, logarithmicFrom: ratio).widened(by: 0.03)
  }

  // MARK: SVG

  func drawing(id: String) -> Drawing {
    let names = rows.map { shortened($0, to: 24) }
    let left = (names.map { Drawing.width(of: $0) }.max() ?? 0) + 12
    let width = 300.0
    let pitch = max(20, Double(series.count) * 7 + 8)
    var (x, y) = (left, 0.0)
    var legend: [(x: Double, y: Double)] = []
    if series.count > 1 {
      for item in series {
        let needed = Drawing.width(of: shortened(item.label, to: 30)) + 24
        if x + needed > left + width + 40, x > left { (x, y) = (left, y + 16) }
        legend.append((x, y))
        x += needed
      }
    }
    let top = series.count > 1 ? y + 22 : 0
    let bottom = top + Double(rows.count) * pitch
    var drawing = Drawing(width: max(left + width + 14, legend.isEmpty ? 0 : left + width + 60), height: bottom + 40)
    for (i, spot) in legend.enumerated() {
      drawing.circle(spot.x + 4, spot.y + 6, 4, "dot f\(i % Palette.categories)")
      drawing.text(shortened(series[i].label, to: 30), spot.x + 13, spot.y + 10, "m")
    }
    for tick in scale.ticks(4) {
      let x = left + scale.fraction(tick.value) * width
      drawing.line(x, top, x, bottom, "rule")
      drawing.text(tick.label, x, bottom + 15, "m", anchor: .middle, size: 10)
    }
    for r in rows.indices {
      let y = top + (Double(r) + 0.5) * pitch
      drawing.text(names[r], left - 10, y + 4, "t", anchor: .end)
      for (s, item) in series.enumerated() where item.values.indices.contains(r) {
        let at = y + (Double(s) - Double(series.count - 1) / 2) * 7
        let values = item.values[r].filter { $0.isFinite && scale.fraction($0).isFinite }
        for value in values {
          drawing.circle(left + scale.fraction(value) * width, at, 2.6, "mark f\(s % Palette.categories)")
        }
        if let mean = Spread(values)?.mean {
          drawing.circle(
            left + scale.fraction(mean) * width, at, 4, "dot f\(s % Palette.categories)",
            tip: "\(item.label), \(rows[r]): mean \(NumberText.significant(mean))")
        }
      }
    }
    drawing.line(left, bottom, left + width, bottom, "axis")
    drawing.text(
      axisTitle + (scale.kind == .logarithmic ? " (logarithmic)" : ""), left + width / 2, bottom + 33, "m", anchor: .middle)
    return drawing
  }

  // MARK: Terminal

  func text(_ style: TextStyle) -> [String] {
    var table = Table(columns: [.init("")] + series.map { .init($0.label, isNumber: true) })
    for (r, row) in rows.enumerated() {
      table.rows.append(
        [row]
          + series.map { item in
            guard item.values.indices.contains(r), let spread = Spread(item.values[r]) else { return "" }
            let deviation = spread.deviation.map { " ± \(NumberText.significant($0, 2))" } ?? ""
            return NumberText.significant(spread.mean) + deviation
          })
    }
    return table.text(style)
  }
}

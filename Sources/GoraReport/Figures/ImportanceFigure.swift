import Glibc
import GoraCore

extension Figure {
  /// Scores as heat maps; importance over the steps as curves by module type, and how much it still changed.
  static func importanceFigure(_ data: ReportData) -> Figure? {
    var panels: [Panel] = []
    for (_, records) in grouped(
      data.scores, by: { score in score.modules.map { "\($0.name) \($0.importance)" } + [score.metric] })
    {
      guard let score = records.first else { continue }
      let grid = ModuleGrid(score.modules.map(\.name))
      let values = score.modules.map(\.importance)
      let largest = values.filter(\.isFinite).map { abs($0) }.max() ?? 0
      let power = largest > 1e-300 && largest < 1e300 ? Int(floor(log10(largest))) : 0
      let unit = (-2...2).contains(power) ? 1 : pow(10, Double(power))
      let label = { @Sendable (value: Double) in
        let scaled = value / unit
        if abs(scaled) >= 9.95 { return NumberText.fixed(scaled, 0) }
        return abs(scaled) >= 0.095 || scaled == 0 ? NumberText.fixed(scaled, 1) : NumberText.significant(scaled, 1)
      }
      let map = HeatMap(
        rows: grid.kinds, columns: grid.layerNames, columnTitle: "layer", values: grid.table(values),
        quantity: "\(score.metric)\(unit == 1 ? "" : ", in 1e\(power)")", range: [], logarithmicFrom: 30, label: label,
        meanLabel: label)
      panels.append(
        Panel(
          sharedTitle(of: records.map(\.run)),
          description: "Importance (\(score.metric)) of each of \(values.count) modules by layer and module type.", chart: map))
    }
    for record in data.trajectories where !record.steps.isEmpty && !record.modules.isEmpty {
      panels.append(trajectory(record))
      if record.quantity == .runningImportance, let change = changePerStep(record) { panels.append(change) }
    }
    if panels.isEmpty { return nil }
    return Figure(
      .importance, title: "Importance",
      note: "What ranks are shared out by. Curves are means over the layers; the band holds the middle half of them.",
      panels: panels)
  }

  private static func trajectory(_ record: TrajectoryRecord) -> Panel {
    let grid = ModuleGrid(record.modules.map(\.name))
    let lines = grid.kinds.enumerated().map { kind, name in
      let series = zip(record.modules, grid.places).filter { $1.kind == kind }.map(\.0.values)
      var line = LineChart.Line(label: name, color: kind, points: [])
      for (i, step) in record.steps.enumerated() {
        let values = series.compactMap { $0.indices.contains(i) && $0[i].isFinite ? $0[i] : nil }.sorted()
        guard !values.isEmpty else { continue }
        line.points.append(Point(step, values.reduce(0, +) / Double(values.count)))
        if values.count > 2 { line.band.append((step, quantile(values, 0.25), quantile(values, 0.75))) }
      }
      return line
    }
    let (what, x) =
      switch record.quantity {
      case .runningImportance: ("running importance", "micro-batch")
      case .trackedImportance: ("importance while training", "step")
      }
    return Panel(
      "\(record.run.name): \(what)",
      description: "\(what) of \(grid.kinds.count) module types over \(record.steps.count) steps, means over the layers.",
      chart: LineChart(lines: lines, xTitle: x, yTitle: "importance", logarithmicFrom: 8, width: 390))
  }

  /// |I_t − I_{t−1}| / I_{t−1}, which `gora-grad --until-stable` waits to become small.
  private static func changePerStep(_ record: TrajectoryRecord) -> Panel? {
    guard record.steps.count > 2 else { return nil }
    var largest = LineChart.Line(label: "largest", color: 1, points: [])
    var mean = LineChart.Line(label: "mean", color: 0, points: [])
    for i in 1..<record.steps.count {
      let changes = record.modules.compactMap { module -> Double? in
        guard module.values.indices.contains(i), module.values[i - 1] > 0 else { return nil }
        let change = abs(module.values[i] - module.values[i - 1]) / module.values[i - 1]
        return change.isFinite ? 100 * change : nil
      }
      guard let spread = Spread(changes), let top = changes.max() else { continue }
      largest.points.append(Point(record.steps[i], top))
      mean.points.append(Point(record.steps[i], spread.mean))
    }
    if mean.points.isEmpty { return nil }
    return Panel(
      "\(record.run.name): change of the running importance",
      description: "Relative change of the running importance from step to step, the largest and the mean over all modules.",
      chart: LineChart(
        lines: [largest, mean], xTitle: "micro-batch", yTitle: "change per micro-batch, %", logarithmicFrom: 8,
        width: 390))
  }
}

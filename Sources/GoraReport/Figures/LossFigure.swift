import GoraCore

extension Figure {
  /// An odd number of about a twentieth of the steps; more would smooth away how a long run begins.
  private static func smoothingWindow(_ steps: Int) -> Int { min(101, steps / 20 | 1) }

  /// Training losses of all runs in one chart, runs of one group in one colour; validation as dots.
  static func lossFigure(_ data: ReportData) -> Figure? {
    let groups = grouped(data.losses.filter { !$0.training.isEmpty || !$0.validation.isEmpty }) { $0.run.group }
    if groups.isEmpty { return nil }
    let count = groups.reduce(0) { $0 + $1.elements.count }
    var window = 1
    var lines: [LineChart.Line] = []
    for (color, group) in groups.enumerated() {
      for (i, run) in group.elements.enumerated() {
        let width = smoothingWindow(run.training.count)
        window = max(window, width)
        var line = LineChart.Line(label: nil, color: color, points: smoothed(run.training, window: width))
        if i == 0 { line.label = group.elements.count > 1 ? "\(group.key) (\(group.elements.count))" : group.key }
        // Many clouds of raw losses would hide each other.
        if count <= 4, width > 1 { line.raw = run.training }
        line.marks = run.validation
        lines.append(line)
      }
    }
    let hasValidation = lines.contains { !$0.marks.isEmpty }
    let ends = groups.map { group in
      let last = Spread(group.elements.compactMap { smoothed($0.training, window: smoothingWindow($0.training.count)).last?.y })
      return "\(group.key) \(last.map { NumberText.fixed($0.mean, 3) } ?? "none")"
    }
    return Figure(
      .loss, title: "Loss",
      note: (window > 1 ? "Lines: running mean over up to \(window) steps. " : "")
        + (lines.contains { !$0.raw.isEmpty } ? "Faint: each step. " : "")
        + (hasValidation ? "Dots: held-out rows. " : "") + "Runs that differ in their seed alone share a colour.",
      panels: [
        Panel(
          hasValidation ? "Training loss, and validation loss as dots" : "Training loss",
          description: "Training loss over steps of \(count) runs; at the end: \(ends.joined(separator: ", ")).",
          chart: LineChart(lines: lines, xTitle: "step", yTitle: "loss, nats a token", logarithmicFrom: 8))
      ])
  }
}

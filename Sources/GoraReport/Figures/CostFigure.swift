import GoraCore

extension Figure {
  /// Time by stage and run, and the largest memory of a run.
  static func costFigure(_ data: ReportData) -> Figure? {
    let known = ["grad", "score", "plan", "init", "train", "eval", "export"]
    let present = grouped(data.costs) { $0.stage }.map(\.key)
    let stages = known.filter(present.contains) + present.filter { !known.contains($0) }
    let groups = grouped(data.costs) { $0.run.group }
    var panels: [Panel] = []
    let times = groups.compactMap { group, costs -> BarChart.Row? in
      let values = stages.map { stage in Spread(costs.compactMap { $0.stage == stage ? $0.seconds : nil })?.mean ?? 0 }
      let total = values.reduce(0, +)
      return total > 0 ? BarChart.Row(label: group, values: values, note: duration(total)) : nil
    }
    if !times.isEmpty {
      panels.append(
        Panel(
          "Time", description: "Seconds by stage. " + times.map { "\($0.label): \($0.note)." }.joined(separator: " "),
          chart: BarChart(rows: times, parts: stages, axisTitle: "seconds, mean over the runs of a group")))
    }
    let memory = groups.compactMap { group, costs -> BarChart.Row? in
      let known = costs.filter { ($0.memory ?? 0) > 0 && ($0.memory ?? 0).isFinite }
      guard let top = known.max(by: { ($0.memory ?? 0) < ($1.memory ?? 0) }), let bytes = top.memory else { return nil }
      let mib = bytes / 1_048_576
      let text = mib >= 1024 ? "\(NumberText.fixed(mib / 1024, 2)) GiB" : "\(NumberText.fixed(mib, 0)) MiB"
      return BarChart.Row(label: group, values: [mib], note: "\(text), gora-\(top.stage)")
    }
    if !memory.isEmpty {
      panels.append(
        Panel(
          "Memory",
          description: "Largest peak resident memory of a stage. "
            + memory.map { "\($0.label): \($0.note)." }.joined(separator: " "),
          chart: BarChart(rows: memory, parts: [""], axisTitle: "peak resident memory of the largest stage, MiB")))
    }
    if panels.isEmpty { return nil }
    return Figure(.cost, title: "Cost", note: "What the stages took, as far as it was recorded.", panels: panels)
  }

  private static func duration(_ seconds: Double) -> String {
    seconds < 100 ? "\(NumberText.fixed(seconds, 1)) s" : NumberText.duration(seconds)
  }
}

import GoraCore

extension Figure {
  /// What the initial steps are, where the adapters' metadata says it.
  static func initialisationFigure(_ data: ReportData) -> Figure? {
    let started = data.adapters.filter { !$0.starts.isEmpty }
    // Training keeps what is said of the start: adapters tuned from one start in folders within its own are shown once.
    let own = started.filter { adapter in
      !started.contains { adapter.run.group.hasPrefix($0.run.group + "/") && $0.starts == adapter.starts }
    }
    let adapters = grouped(own) { $0.run.group }
    if adapters.isEmpty { return nil }
    let kinds = ModuleGrid(adapters.flatMap { $0.elements.flatMap { $0.starts.map(\.module) } }).kinds
    func panel(
      _ title: String, _ axis: String, _ description: String, _ value: (AdapterRecord.Start) -> Double?
    ) -> Panel? {
      let series = adapters.map { group, records -> DotChart.Series in
        var values = [[Double]](repeating: [], count: kinds.count)
        for record in records {
          let grid = ModuleGrid(record.starts.map(\.module))
          for (start, place) in zip(record.starts, grid.places) {
            let kind = kinds.firstIndex { $0 == grid.kinds[place.kind] || $0.hasSuffix("." + grid.kinds[place.kind]) } ?? 0
            if let number = value(start), number.isFinite { values[kind].append(number) }
          }
        }
        return DotChart.Series(label: group, values: values)
      }
      if series.allSatisfy({ $0.values.allSatisfy(\.isEmpty) }) { return nil }
      return Panel(
        title, description: description, chart: DotChart(rows: kinds, series: series, axisTitle: axis, logarithmicFrom: 20))
    }
    let panels = [
      panel("Captured energy", "share of ‖G‖²", "Share of the gradient's energy in the row space of A.", \.captured),
      panel("Cosine with −G", "cosine", "Cosine of the initial update with the negative gradient.", \.cosine),
      panel("Norm ratio", "‖ΔW₀‖ / γ‖G‖", "Norm of the initial update over that of the step it stands for.", \.normRatio),
    ].compactMap { $0 }
    if panels.isEmpty { return nil }
    return Figure(
      .initialisation, title: "Initial step",
      note:
        "How the update before the first training step relates to the gradient: a faint dot a layer, a full one for the mean.",
      panels: panels)
  }
}

import GoraCore

extension Figure {
  /// Trainable parameters by module type, beside plain LoRA's at the reference rank.
  static func budgetFigure(_ data: ReportData) -> Figure? {
    // An adapter has the ranks of its plan.
    let planned = Set(data.plans.map(\.run.name))
    let adapters = data.adapters.filter { adapter in
      !planned.contains { $0 == adapter.run.name || adapter.run.name.hasPrefix("\($0)/") }
    }
    var entries: [(run: RunLabel, modules: [PlanRecord.Module], reference: Int?)] =
      data.plans.map { ($0.run, $0.modules, $0.referenceRank) } + adapters.map { ($0.run, $0.modules, nil) }
    entries.removeAll { $0.modules.isEmpty }
    if entries.isEmpty { return nil }
    let kinds = ModuleGrid(entries.flatMap { $0.modules.map(\.name) }).kinds
    let rows = grouped(entries) { $0.run.group }.map { group, entries -> BarChart.Row in
      var values = [Double](repeating: 0, count: kinds.count)
      var reference = 0.0
      for entry in entries {
        let grid = ModuleGrid(entry.modules.map(\.name))
        for (module, place) in zip(entry.modules, grid.places) {
          let kind = kinds.firstIndex { $0 == grid.kinds[place.kind] || $0.hasSuffix("." + grid.kinds[place.kind]) } ?? 0
          values[kind] += module.parameters / Double(entries.count)
        }
        if let rank = entry.reference {
          let sizes = entry.modules.reduce(0) { $0 + $1.shape.reduce(0) { $0 + Double($1) } }
          reference += Double(rank) * sizes / Double(entries.count)
        }
      }
      let total = values.reduce(0, +)
      var note = NumberText.grouped(total)
      if reference > 0 {
        let difference = 100 * (total / reference - 1)
        note += abs(difference) < 0.005 ? ", as LoRA" : ", \(difference > 0 ? "+" : "")\(NumberText.fixed(difference, 2)) %"
      }
      return BarChart.Row(label: group, values: values, reference: reference > 0 ? reference : nil, note: note)
    }
    let ranks = Set(data.plans.map(\.referenceRank)).sorted().map(String.init).joined(separator: ", ")
    return Figure(
      .budget, title: "Budget", note: "Where the trainable parameters r·(in + out) are; means over the runs of a group.",
      panels: [
        Panel(
          "Trainable parameters",
          description: rows.map { "\($0.label): \($0.note)." }.joined(separator: " "),
          chart: BarChart(
            rows: rows, parts: kinds, axisTitle: "trainable parameters",
            referenceTitle: ranks.isEmpty ? nil : "plain LoRA at the reference rank, \(ranks)"))
      ])
  }
}

import GoraCore

extension Figure {
  /// Ranks as heat maps, one for all plans that are the same.
  static func ranksFigure(_ data: ReportData) -> Figure? {
    if data.plans.isEmpty { return nil }
    let all = data.plans.flatMap { $0.modules.map { Double($0.rank) } }
    // Plans of one group stand together.
    let ordered = grouped(data.plans) { $0.run.group }.flatMap(\.elements)
    let plans = grouped(ordered) { plan in plan.modules.map { "\($0.name) \($0.rank)" } }
    let panels = plans.compactMap { _, records -> Panel? in
      guard let plan = records.first else { return nil }
      let grid = ModuleGrid(plan.modules.map(\.name))
      let ranks = plan.modules.map { Double($0.rank) }
      let (low, high) = (plan.modules.map(\.rank).min() ?? 0, plan.modules.map(\.rank).max() ?? 0)
      let map = HeatMap(
        rows: grid.kinds, columns: grid.layerNames, columnTitle: "layer", values: grid.table(ranks), quantity: "rank",
        range: all, logarithmicFrom: .infinity,
        label: { NumberText.fixed($0, 0) }, meanLabel: { NumberText.fixed($0, 1) })
      return Panel(
        sharedTitle(of: records.map(\.run)),
        description: "Rank of each of \(ranks.count) modules by layer and module type, \(low) to \(high).", chart: map)
    }
    return Figure(
      .ranks, title: "Ranks", note: "The rank that each weight's adapter gets; one scale of colours for all plans.",
      panels: panels)
  }
}

import GoraCore
import GoraFormats
import GoraMethods

/// How two plans differ, module by module.
struct PlanComparison {
  struct Module {
    var name: String
    var shape: [Int]
    /// nil where the plan does not have the module.
    var first: Int?
    var second: Int?

    /// A module that a plan lacks has no adapter, as one of rank 0.
    var change: Int { (second ?? 0) - (first ?? 0) }
  }

  let first: RankPlan
  let second: RankPlan
  /// Those of the first plan in its order, then those of the second alone.
  let modules: [Module]

  /// - Throws: status 65 where a module's shape is not the same in both.
  init(_ first: RankPlan, _ second: RankPlan) throws(GoraError) {
    self.first = first
    self.second = second
    var modules = first.modules.map { Module(name: $0.name, shape: $0.shape, first: $0.rank) }
    var index: [String: Int] = [:]
    for (i, module) in modules.enumerated() { index[module.name] = i }
    for module in second.modules {
      guard let i = index[module.name] else {
        modules.append(Module(name: module.name, shape: module.shape, second: module.rank))
        continue
      }
      guard modules[i].shape == module.shape else {
        throw GoraError(
          .data, "module \"\(module.name)\" has shape \(module.shape), \(modules[i].shape) in the other plan",
          hint: "compare plans for one model")
      }
      modules[i].second = module.rank
    }
    self.modules = modules
  }

  /// Modules of different ranks, the largest change first, else in order.
  var changed: [Module] {
    modules.enumerated().filter { $1.change != 0 }
      .sorted { (-abs($0.element.change), $0.offset) < (-abs($1.element.change), $1.offset) }.map(\.element)
  }

  /// Spearman's ρ of the ranks of the modules that both have; nil where either plan has one rank everywhere.
  var rankCorrelation: Double? {
    let both = modules.filter { $0.first != nil && $0.second != nil }
    return RankCorrelation.spearman(both.map { Double($0.first ?? 0) }, both.map { Double($0.second ?? 0) })
  }

  var json: JSON {
    func rank(_ rank: Int?) -> JSON { rank.map { JSON($0) } ?? nil }
    return .object([
      "format": "gora-plan-comparison", "format_version": 1,
      "parameters": .integers([first.parameters, second.parameters]),
      "lora_parameters": .integers([first.loraParameters, second.loraParameters]), "changed": JSON(changed.count),
      "rank_correlation": rankCorrelation.map { JSON($0) } ?? nil,
      "modules": JSON(
        modules.map {
          .object([
            "name": JSON($0.name), "shape": .integers($0.shape), "ranks": [rank($0.first), rank($0.second)],
            "change": JSON($0.change),
          ])
        }),
    ])
  }

  /// A line for each module that differs, and totals; at most 80 columns, the plans' names aside.
  func table(names: (String, String), unicode: Bool) -> String {
    let rows = changed
    let prefix = TableText.commonPrefix(rows.map(\.name))
    let labels = rows.map { TableText.shortened(String($0.name.dropFirst(prefix.count)), 46, unicode: unicode) }
    let shapes = rows.map { TableText.shape($0.shape, unicode: unicode) }
    let nameWidth = (labels + [prefix]).reduce(4) { max($0, $1.count) }
    let shapeWidth = shapes.reduce(5) { max($0, $1.count) }

    func head(_ mark: String, _ name: String, _ plan: RankPlan) -> String {
      "\(mark)  \(name): rank \(TableText.range(plan.modules.map(\.rank), unicode: unicode)), "
        + "\(NumberText.grouped(plan.parameters)) parameters\n"
    }
    func line(_ name: String, _ shape: String, _ first: String, _ second: String, _ change: String) -> String {
      TableText.line(
        TableText.pad(name, nameWidth) + "  " + TableText.left(shape, shapeWidth) + TableText.left(first, 6)
          + TableText.left(second, 6) + TableText.left(change, 8))
    }
    func rank(_ rank: Int?) -> String { rank.map(String.init) ?? "-" }

    var out = head("a", names.0, first) + head("b", names.1, second) + "\n"
    if !rows.isEmpty {
      out += line(prefix, "shape", "a", "b", "b - a")
      for (i, row) in rows.enumerated() {
        out += line(labels[i], shapes[i], rank(row.first), rank(row.second), (row.change > 0 ? "+" : "") + String(row.change))
      }
      out += "\n"
    }
    out +=
      "\(rows.count) of \(modules.count) modules differ; b has \(TableText.percent(second.parameters, against: first.parameters)) "
    out += "parameters\n"
    out += "rank correlation (Spearman) "
    out += rankCorrelation.map { NumberText.fixed($0, 3) } ?? "not defined: a plan has one rank everywhere"
    return out + "\n"
  }
}

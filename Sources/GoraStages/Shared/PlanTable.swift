import GoraCore
import GoraFormats

/// A plan for people: a line and a bar a module, means by kind, the total against plain LoRA's. At most 80 columns.
struct PlanTable {
  let plan: RankPlan
  let title: String
  /// The effective rank of each module's gradient, where the scores have it; else empty.
  var eranks: [Double?] = []
  /// Whether the terminal knows Unicode.
  let unicode: Bool

  private static let width = 80
  private static let nameLimit = 36

  func text() -> String {
    let rows = plan.modules
    let prefix = TableText.commonPrefix(rows.map(\.name))
    func shortened(_ name: String) -> String { TableText.shortened(name, Self.nameLimit, unicode: unicode) }
    let names = rows.map { shortened(String($0.name.dropFirst(prefix.count))) }
    let shapes = rows.map { TableText.shape($0.shape, unicode: unicode) }
    let top = max(1, rows.map(\.rank).max() ?? 1)
    let kinds = meansByKind()
    let kindNames = kinds.map { shortened("\($0.kind) (\($0.count))") }
    let common = shortened(prefix)
    let nameWidth = (names + kindNames + [common]).reduce(4) { max($0, $1.count) }
    let shapeWidth = shapes.reduce(5) { max($0, $1.count) }
    let rankWidth = max(4, String(top).count)
    let hasEranks = eranks.contains { $0 != nil }
    let erankWidth = hasEranks ? 8 : 0
    let barWidth = max(0, Self.width - nameWidth - shapeWidth - rankWidth - erankWidth - 6)

    func line(_ name: String, _ shape: String, _ rank: String, _ bar: String, erank: String = "") -> String {
      TableText.line(
        TableText.pad(name, nameWidth) + "  " + TableText.left(shape, shapeWidth) + "  " + TableText.left(rank, rankWidth)
          + TableText.left(erank, erankWidth) + "  " + bar)
    }
    var out = title + "\n\n"
    out += line(common, "shape", "rank", "", erank: hasEranks ? "erank" : "")
    for (i, row) in rows.enumerated() {
      let erank = hasEranks ? eranks[i].map { NumberText.fixed($0, 1) } ?? "" : ""
      out += line(names[i], shapes[i], String(row.rank), bar(Double(row.rank) / Double(top), barWidth), erank: erank)
    }
    if kinds.count > 1, kinds.count < rows.count {
      out += "\n" + line("mean by kind", "", "rank", "")
      for (kind, name) in zip(kinds, kindNames) {
        out += line(name, "", NumberText.fixed(kind.mean, 1), bar(kind.mean / Double(top), barWidth))
      }
    }
    out += "\n" + total() + "\n"
    return out
  }

  /// `6,998,016 parameters, +2.67 % against 6,815,744 of LoRA at rank 8`
  private func total() -> String {
    "\(NumberText.grouped(plan.parameters)) parameters, "
      + "\(TableText.percent(plan.parameters, against: plan.loraParameters)) against "
      + "\(NumberText.grouped(plan.loraParameters)) of LoRA at rank \(plan.referenceRank)"
  }

  /// Mean rank of the modules with the same last name, in order of appearance.
  private func meansByKind() -> [(kind: String, count: Int, mean: Double)] {
    var kinds: [(kind: String, count: Int, mean: Double)] = []
    for row in plan.modules {
      let kind = String(row.name.split(separator: ".").last ?? "")
      if let i = kinds.firstIndex(where: { $0.kind == kind }) {
        kinds[i].count += 1
        kinds[i].mean += Double(row.rank)
      } else {
        kinds.append((kind, 1, Double(row.rank)))
      }
    }
    return kinds.map { ($0.kind, $0.count, $0.mean / Double($0.count)) }
  }

  /// `share` of the width, in eighths of a column.
  private func bar(_ share: Double, _ width: Int) -> String {
    if !unicode { return String(repeating: "#", count: Int((share * Double(width)).rounded())) }
    let eighths = Int((share * Double(width) * 8).rounded())
    let partial = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    return String(repeating: "█", count: eighths / 8) + partial[eighths % 8]
  }
}

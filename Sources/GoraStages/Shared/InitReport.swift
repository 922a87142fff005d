import GoraCore
import GoraFormats
import GoraMethods

/// What gora-init says of the adapters that it made: for people, for programs, and in the adapter itself.
struct InitReport {
  var start: any AdapterStart
  var modules: [RankPlan.Module]
  var diagnostics: [InitialisationDiagnostics?]
  var parameters: Int
  /// Where γ was chosen: the losses, and the rows that they are of.
  var search: (result: GammaSearch, rows: Int)?
  var readSeconds = 0.0
  var solveSeconds = 0.0
  var searchSeconds = 0.0

  private var means: (plain: InitialisationDiagnostics, weighted: InitialisationDiagnostics)? {
    let known = diagnostics.compactMap { $0 }
    guard let plain = InitialisationDiagnostics.mean(known, weighted: false),
      let weighted = InitialisationDiagnostics.mean(known, weighted: true)
    else { return nil }
    return (plain, weighted)
  }

  /// For the adapter's metadata: nothing that differs between equal runs.
  var record: JSON { JSON(.object(settings + measurements)) }

  func summary(output: String) -> StageSummary {
    var line = "\(modules.count) adapters, \(NumberText.count(parameters)) parameters"
    if let search {
      let best = search.result.best
      line += ", gamma \(NumberText.significant(best.gamma))"
      line += " (loss \(NumberText.fixed(search.result.baseLoss, 4)) to \(NumberText.fixed(best.loss, 4)))"
    }
    if let mean = means?.plain {
      line += ", captured \(NumberText.significant(mean.captured)), cosine \(NumberText.significant(mean.cosine))"
      line +=
        ", norm ratio \(NumberText.significant(mean.normRatio)), update/weight \(NumberText.significant(mean.relativeUpdate))"
    }
    line += "; read \(NumberText.significant(readSeconds)) s, solved \(NumberText.significant(solveSeconds)) s"
    var members =
      [JSON.Member("modules", JSON(modules.count)), JSON.Member("parameters", JSON(parameters))]
      + settings + measurements
    members.append(JSON.Member("read_seconds", JSON(readSeconds)))
    members.append(JSON.Member("solve_seconds", JSON(solveSeconds)))
    if search != nil { members.append(JSON.Member("gamma_seconds", JSON(searchSeconds))) }
    return StageSummary(line: "\(line) -> \(output)", details: table + gammaTable, json: JSON(.object(members)))
  }

  // MARK: For programs

  /// The options that chose the start.
  private var settings: [JSON.Member] {
    [JSON.Member("method", JSON(type(of: start).name))]
      + start.record.map { key, value in
        switch value {
        case .text(let text): JSON.Member(key, JSON(text))
        case .number(let number): JSON.Member(key, JSON(number))
        case .flag(let flag): JSON.Member(key, JSON(flag))
        }
      }
  }

  private var measurements: [JSON.Member] {
    var members: [JSON.Member] = []
    if let search {
      let points = search.result.curve.map { point in
        JSON.object(["gamma": JSON(point.gamma), "loss": point.loss.isFinite ? JSON(point.loss) : nil])
      }
      members.append(
        JSON.Member(
          "gamma_search",
          .object(["rows": JSON(search.rows), "base_loss": JSON(search.result.baseLoss), "curve": JSON(points)])))
    }
    if let means {
      members.append(JSON.Member("mean", json(means.plain)))
      members.append(JSON.Member("gradient_weighted_mean", json(means.weighted)))
      members.append(
        JSON.Member(
          "by_module",
          JSON(.object(zip(modules, diagnostics).compactMap { module, d in d.map { JSON.Member(module.name, json($0)) } }))))
    }
    return members
  }

  private func json(_ d: InitialisationDiagnostics) -> JSON {
    .object([
      "captured": JSON(d.captured), "cosine": JSON(d.cosine), "norm_ratio": JSON(d.normRatio), "residual": JSON(d.residual),
      "best_residual": JSON(d.bestResidual), "legacy": JSON(d.legacy), "relative_update": JSON(d.relativeUpdate),
    ])
  }

  // MARK: For people

  private var table: [String] {
    guard let means else { return [] }
    var lines = ["  rank  captured  cosine  norm ratio  residual   best  legacy  update/weight  module"]
    for (module, d) in zip(modules, diagnostics) { if let d { lines.append(row(String(module.rank), d, module.name)) } }
    lines.append(row("", means.plain, "mean"))
    lines.append(row("", means.weighted, "mean weighted by gradient energy"))
    return lines
  }

  private func row(_ rank: String, _ d: InitialisationDiagnostics, _ name: String) -> String {
    column(rank, 6) + column(NumberText.significant(d.captured), 10) + column(NumberText.significant(d.cosine), 8)
      + column(NumberText.significant(d.normRatio), 12) + column(NumberText.significant(d.residual), 10)
      + column(NumberText.significant(d.bestResidual), 7) + column(NumberText.significant(d.legacy), 8)
      + column(NumberText.significant(d.relativeUpdate), 15) + "  " + name
  }

  private var gammaTable: [String] {
    guard let search else { return [] }
    let best = search.result.best
    var lines = ["", "      gamma      loss", column("0", 11) + column(NumberText.fixed(search.result.baseLoss, 4), 10)]
    for point in search.result.curve {
      lines.append(
        column(NumberText.significant(point.gamma), 11) + column(NumberText.fixed(point.loss, 4), 10)
          + (point == best ? "  <" : ""))
    }
    return lines
  }

  private func column(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
}

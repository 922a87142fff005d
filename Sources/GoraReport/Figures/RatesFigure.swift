import GoraCore

extension Figure {
  /// Loss over the learning rate, a curve a method, and what the chosen rates come to.
  static func ratesFigure(_ data: ReportData) -> Figure? {
    let contests = RateContest.all(data.rates)
    if contests.isEmpty { return nil }
    let conditions = grouped(contests) { $0.condition }
    let ratios = Set(contests.flatMap { $0.candidates.compactMap(\.ratio) })
    let methods = grouped(contests) { $0.method }.map(\.key)
    let panels = conditions.compactMap { condition, contests -> Panel? in
      let lines = contests.flatMap { curves($0, methods: methods, ratios: ratios.sorted()) }
      if lines.allSatisfy({ $0.points.isEmpty && $0.marks.isEmpty }) { return nil }
      let chosen = contests.map { contest in
        "\(contest.method) \(contest.chosen.map { "best at \(NumberText.significant($0.rate))" } ?? "without a best rate")"
      }
      return Panel(
        conditionTitle(condition) ?? "Loss over the rate",
        description: "Held-out loss over the learning rate: \(chosen.joined(separator: ", ")).",
        chart: LineChart(
          lines: lines, xTitle: "learning rate", yTitle: "held-out loss, nats a token", logarithmicFrom: 3,
          logarithmicXFrom: 3, width: conditions.count > 1 ? 390 : 560))
    }
    if panels.isEmpty { return nil }
    let seeds = contests.flatMap(\.candidates).map(\.records.count).max() ?? 0
    return Figure(
      .rates, title: "Rates",
      note: "Held-out loss by learning rate, on the rows that choose it. "
        + (seeds > 1 ? "Dots: seeds. Lines: their means, where all are finite, in a band of one deviation. " : "")
        + "Rings: the best rate\(ratios.count > 1 ? " and ratio" : "") of each method, for which the test rows are told of; "
        + "< or >: it is at the end of the rates that were tried. Left out: rates without a finite loss for every seed.",
      panels: panels, table: choices(contests, baseline: data.baseline))
  }

  /// `rank 8, batch 32`; nil for none.
  private static func conditionTitle(_ condition: String) -> String? {
    if condition.isEmpty { return nil }
    return condition.split(separator: "/").map { $0.replacing("-", with: " ") }.joined(separator: ", ")
  }

  /// A line for each ratio of a contest.
  private static func curves(_ contest: RateContest, methods: [String], ratios: [Double]) -> [LineChart.Line] {
    let method = methods.firstIndex(of: contest.method) ?? 0
    return grouped(contest.candidates) { $0.ratio }.map { ratio, candidates in
      let several = ratios.count > 1 ? ratio : nil
      var line = LineChart.Line(
        label: contest.method + (several.map { ", B × \(NumberText.significant($0, 4))" } ?? ""),
        color: method * max(1, ratios.count) + (several.flatMap { ratios.firstIndex(of: $0) } ?? 0), points: [])
      for candidate in candidates {
        for record in candidate.records {
          if let loss = record.validation, loss.isFinite { line.marks.append(Point(candidate.rate, loss)) }
        }
        guard let spread = candidate.validation else { continue }
        line.points.append(Point(candidate.rate, spread.mean))
        if let deviation = spread.deviation {
          line.band.append((candidate.rate, spread.mean - deviation, spread.mean + deviation))
        }
      }
      if let chosen = contest.chosen, chosen.ratio == ratio, let loss = chosen.validation?.mean {
        line.ring = Point(chosen.rate, loss)
      }
      return line
    }
  }

  private static func choices(_ contests: [RateContest], baseline: String?) -> Table {
    // Differences are those of what is told of, where all have it.
    let isTold = contests.allSatisfy { $0.chosen?.records.contains { $0.test != nil } ?? true }
    let minus = baseline.map { "\(isTold ? "test" : "validation") minus \($0)" } ?? ""
    var table = Table(columns: [
      .init("run"), .init("seeds", isNumber: true), .init("rate", isNumber: true), .init("B ×", isNumber: true),
      .init("validation loss", isNumber: true), .init("95 % interval", isNumber: true), .init("test loss", isNumber: true),
      .init("accuracy, %", isNumber: true), .init(minus, isNumber: true), .init("in deviations", isNumber: true),
      .init("left out", isNumber: true),
    ])
    func text(_ spread: Spread?, _ decimals: Int) -> String {
      guard let spread else { return "" }
      return NumberText.fixed(spread.mean, decimals)
        + (spread.deviation.map { " ± \(NumberText.fixed($0, decimals))" } ?? "")
    }
    for contest in contests {
      let failed = contest.candidates.filter { $0.validation == nil && !$0.records.contains { $0.test != nil } }
      let lost = failed.map { candidate in
        Scale.short(candidate.rate) + (candidate.ratio.map { " × \(NumberText.significant($0, 4))" } ?? "")
      }
      var row = [contest.group, "", "", "", "", "", "", "", "", "", lost.joined(separator: ", ")]
      if let chosen = contest.chosen, let validation = chosen.validation {
        let tests = Spread(Array(chosen.values { $0.test }.sorted { $0.key < $1.key }.map(\.value)))
        let accuracies = Spread(chosen.values { $0.accuracy }.sorted { $0.key < $1.key }.map { 100 * $0.value })
        row[1] = String(validation.count)
        row[2] = (contest.edge.map { "\($0.rawValue) " } ?? "") + Scale.short(chosen.rate)
        row[3] = chosen.ratio.map { NumberText.significant($0, 4) } ?? ""
        row[4] = text(validation, 4)
        row[5] =
          validation.margin.map {
            "\(NumberText.fixed(validation.mean - $0, 4)) – \(NumberText.fixed(validation.mean + $0, 4))"
          } ?? ""
        row[6] = text(tests, 4)
        row[7] = text(accuracies, 2)
        let base = contests.first { $0.method == baseline && $0.condition == contest.condition }?.chosen
        if let base, contest.method != baseline, let gain = difference(chosen, base, { isTold ? $0.test : $0.validation }) {
          row[8] = text(gain, 4)
          row[9] = gain.deviation.flatMap { $0 > 0 ? NumberText.fixed(gain.mean / $0, 1) : nil } ?? ""
        }
      }
      table.rows.append(row)
    }
    return table
  }

  /// Seed by seed, over the seeds that both have.
  private static func difference(
    _ a: RateContest.Candidate, _ b: RateContest.Candidate, _ value: (RateRecord) -> Double?
  ) -> Spread? {
    let (x, y) = (a.values(value), b.values(value))
    return Spread(x.keys.sorted().compactMap { seed in y[seed].map { (x[seed] ?? .nan) - $0 } })
  }
}

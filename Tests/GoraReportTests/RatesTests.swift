import GoraReport
import Testing

/// Loss over the learning rate: what paths say, which rate is chosen, and what is told of it.
@Suite struct RatesTests {
  private static func record(_ path: String, _ validation: Double?, test: Double? = nil) throws -> RateRecord {
    RateRecord(
      tried: try #require(TriedRun(path.split(separator: "/").map(String.init))), validation: validation, test: test)
  }

  private static func table(_ records: [RateRecord], baseline: String? = nil) throws -> [[String: String]] {
    var data = ReportData()
    data.rates = records
    data.baseline = baseline
    let figure = try #require(Figure.make(.rates, data))
    let table = try #require(figure.table)
    return table.rows.map { row in Dictionary(uniqueKeysWithValues: zip(table.columns.map(\.title), row)) }
  }

  @Test func pathsSayWhatARunIs() throws {
    let tried = try #require(TriedRun(["seed-3", "gora", "rank-8", "batch-32", "ratio-16", "lr-2.5e-3"]))
    #expect(tried.rate == 2.5e-3 && tried.ratio == 16)
    #expect(tried.run.group == "gora/rank-8/batch-32" && tried.run.seed == "seed-3")
    #expect(tried.run.method == "gora" && tried.run.condition == "rank-8/batch-32")
    // Rows of an ablation are methods, whatever number is in their names.
    #expect(TriedRun(["gamma-0", "lr-1"])?.run.method == "gamma-0")
    #expect(TriedRun(["seed-0", "lr-1"])?.run.seed == "seed-0")
    for none in [["lora"], ["lr-"], ["lr-fast"], ["lr-0"], ["lr--1"], ["lr-inf"], ["lr-nan"], []] {
      #expect(TriedRun(none) == nil)
    }
  }

  /// The means are 1.75 at 1e-3 and 1.5 at 3e-3; 1e-2 is lower in one seed and lost in the other.
  @Test func leastMeanOfAllSeedsIsChosen() throws {
    let rows = try Self.table([
      Self.record("seed-0/lora/lr-1e-3", 1.25), Self.record("seed-1/lora/lr-1e-3", 2.25),
      Self.record("seed-0/lora/lr-3e-3", 1.5, test: 1.625), Self.record("seed-1/lora/lr-3e-3", 1.5, test: 1.875),
      Self.record("seed-0/lora/lr-1e-2", 1), Self.record("seed-1/lora/lr-1e-2", nil),
    ])
    #expect(rows.count == 1)
    #expect(rows[0]["run"] == "lora" && rows[0]["rate"] == "0.003" && rows[0]["seeds"] == "2")
    #expect(rows[0]["validation loss"] == "1.5000 ± 0.0000")
    // 0.25/√2
    #expect(rows[0]["test loss"] == "1.7500 ± 0.1768")
    #expect(rows[0]["left out"] == "0.01")
  }

  @Test func chosenAtAnEndOfTheRatesIsSaid() throws {
    func rate(_ losses: [Double]) throws -> String? {
      try Self.table(losses.enumerated().map { try Self.record("lora/lr-\($0 + 1)", $1) })[0]["rate"]
    }
    #expect(try rate([3, 2, 1]) == "> 3" && rate([1, 2, 3]) == "< 1" && rate([2, 1, 2]) == "2" && rate([1]) == "1")
    // Of equal ones the smaller.
    #expect(try rate([2, 1, 1]) == "2")
  }

  /// Ratios are chosen with the rates, ranks are not: methods are compared where these are equal.
  @Test func differencesAreSeedBySeed() throws {
    var records: [RateRecord] = []
    for seed in 0..<3 {
      let noise = [0.0, 0.5, -0.25][seed]
      for (rank, shift) in [(32, -0.5), (8, 0.0)] {
        let lora = "seed-\(seed)/lora/rank-\(rank)/ratio-1"
        records.append(try Self.record("\(lora)/lr-1e-2", 2 + noise + shift, test: 2 + noise + shift))
        records.append(try Self.record("\(lora)/lr-1e-3", 3))
        let gora = "seed-\(seed)/gora/rank-\(rank)"
        records.append(try Self.record("\(gora)/ratio-1/lr-1e-2", 2.5 + noise))
        // 0.125 below, give or take.
        let gain = -0.125 + 0.0625 * Double(seed - 1)
        records.append(try Self.record("\(gora)/ratio-16/lr-1e-3", 1.75 + noise, test: 2 + noise + shift + gain))
      }
    }
    let rows = try Self.table(records, baseline: "lora")
    #expect(rows.map { $0["run"] } == ["lora/rank-8", "gora/rank-8", "lora/rank-32", "gora/rank-32"])
    for row in rows where row["run"]?.hasPrefix("gora") == true {
      #expect(row["B ×"] == "16" && row["rate"] == "0.001")
      #expect(row["test minus lora"] == "-0.1250 ± 0.0625" && row["in deviations"] == "-2.0")
    }
    #expect(rows[0]["test minus lora"] == "" && rows[0]["in deviations"] == "")
    // The baseline's own: mean 2.0833, deviation 0.3819, and 4.3027·0.3819/√3 = 0.9486 to each side.
    #expect(rows[0]["95 % interval"] == "1.1347 – 3.0320")
  }

  /// Student's bounds, from tables of the distribution: through the intervals of seeds with a deviation of 1.
  @Test(arguments: [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (11, 2.228), (31, 2.042), (121, 1.980)])
  func intervalIsStudents(_ seeds: Int, _ bound: Double) throws {
    // Pairs at ±1 and for odd numbers a 0: the sum of squares is the number of the others.
    let losses = (0..<seeds).map { seed in seed == seeds - 1 && seeds % 2 == 1 ? 0 : seed % 2 == 0 ? 1.0 : -1 }
    let rows = try Self.table(losses.enumerated().map { try Self.record("seed-\($0)/lora/lr-1", 100 + $1) })
    let squares = Double(seeds / 2 * 2)
    let deviation = (squares / Double(seeds - 1)).squareRoot()
    let text = try #require(rows[0]["95 % interval"]).split(separator: " ").compactMap { Double($0) }
    let margin = try #require(text.last) - 100
    // Tables have three decimals.
    #expect(abs(margin * Double(seeds).squareRoot() / deviation - bound) < 6e-4 * Double(seeds).squareRoot() / deviation + 5e-4)
  }

  /// A panel for each rank, a curve for each ratio, a dot for each seed, a ring for each method.
  @Test func pictureHasCurvesDotsAndRings() throws {
    var data = ReportData()
    for (seed, rank, ratio, rate) in [0, 1].flatMap({ s in
      [4, 8].flatMap { r in [1, 16].flatMap { q in [1, 2, 3].map { (s, r, q, $0) } } }
    }) {
      data.rates.append(
        try Self.record("seed-\(seed)/lora/rank-\(rank)/ratio-\(ratio)/lr-1e-\(rate)", Double(rate * ratio + seed)))
    }
    let figure = try #require(Figure.make(.rates, data))
    #expect(figure.panels.map(\.title) == ["rank 4", "rank 8"])
    let svg = figure.svg()
    #expect(elements(svg) != nil)
    #expect(svg.matches(of: /<circle class="dot/).count == 24 && svg.matches(of: /<circle class="line/).count == 2)
    #expect(svg.contains("lora, B × 1<") && svg.contains("lora, B × 16<"))
    #expect(svg.contains("learning rate") && svg.contains(">0.01<") && svg.contains(">0.1<"))
    // Equally far apart, a decade each.
    let spots = Set(svg.matches(of: /<circle class="dot[^>]*cx="([0-9.]+)"/).compactMap { Double($0.1) }).sorted()
    #expect(spots.count == 3 && abs(spots[2] - 2 * spots[1] + spots[0]) < 0.21, "\(spots)")
  }

  @Test func nothingFiniteIsNoFigure() throws {
    var data = ReportData()
    data.rates = [try Self.record("lora/lr-1", nil)]
    #expect(Figure.make(.rates, data) == nil)
    data.rates.append(try Self.record("lora/lr-2", .infinity))
    #expect(Figure.make(.rates, data) == nil)
  }
}

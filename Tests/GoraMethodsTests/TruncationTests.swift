import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import Testing

/// Adapters cut to fewer components, beside dense float64 (Fixtures/truncation/make_fixtures.py) and beside what must hold.
@Suite struct TruncationTests {
  init() throws { try Matmul.open() }

  /// One module and what numpy says of it.
  private struct Case {
    var name: String
    var a: [Float]
    var b: [Float]
    var rows: Int
    var columns: Int
    var rank: Int
    var scaling: Double
    var values: [Double]
    var keptRank: Int
    var error: Double
    var truncated: Dense

    var update: Dense { (Dense(b, rows, rank) * Dense(a, rank, columns)).scaled(scaling) }

    func svd() throws(GoraError) -> UpdateSVD {
      try UpdateSVD(a: a, b: b, scaling: scaling, rows: rows, columns: columns, rank: rank)
    }
    func product(_ svd: UpdateSVD, _ rank: Int, scaling: Double) -> Dense {
      let factors = svd.factors(rank: rank, scaling: scaling)
      return (Dense(factors.b, rows, rank) * Dense(factors.a, rank, columns)).scaled(scaling)
    }
  }

  private static func golden() throws -> (cases: [Case], budget: Int) {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path() + "Fixtures/truncation"
    let file = try SafetensorsFile(path: "\(folder)/golden.safetensors")
    let root = try JSONDocument(path: "golden.json", text: readWholeFile("\(folder)/golden.json")).root
    func tensor(_ name: String) throws -> TensorView { try #require(file.tensors.first { $0.name == name }) }
    var cases: [Case] = []
    for (name, field) in try root.required("modules").members {
      let (a, b) = (try tensor("\(name)/a"), try tensor("\(name)/b"))
      let (rows, columns) = (b.shape[0], a.shape[1])
      cases.append(
        Case(
          name: name, a: try a.toFloat(), b: try b.toFloat(), rows: rows, columns: columns, rank: a.shape[0],
          scaling: try field.required("scaling").double,
          values: try field.required("values").elements.map { try $0.double }.filter { $0 > 1e-14 },
          keptRank: try field.required("rank").int(in: 0...99), error: try field.required("error").double,
          truncated: Dense(try tensor("\(name)/truncated").toFloat(), rows, columns)))
    }
    return (cases, try root.required("budget").int(in: 1...9999))
  }

  private static func ranks(_ cases: [Case], budget: Int) throws -> [Int] {
    SpectrumThreshold.ranks(
      try cases.map { SpectrumThreshold.Module(values: try $0.svd().values, cost: $0.rows + $0.columns) }, budget: budget)
  }

  /// Double on both sides: 1e-12 of the size of the products, which for `residual` is a thousand times what is left of them.
  @Test func singularValues() throws {
    for one in try Self.golden().cases {
      let svd = try one.svd()
      #expect(svd.values.count == one.values.count, "\(one.name): \(svd.values)")
      for (found, expected) in zip(svd.values, one.values) {
        #expect(abs(found - expected) < 1e-11 * one.values[0], "\(one.name)")
      }
      #expect(abs(svd.size / one.update.norm - 1) < 1e-11)
    }
  }

  /// numpy's ranks, losses and truncated updates; the factors are rounded to binary32, 6e-8 of each number.
  @Test func withinABudget() throws {
    let (cases, budget) = try Self.golden()
    #expect(try Self.ranks(cases, budget: budget) == cases.map(\.keptRank))
    for one in cases {
      let svd = try one.svd()
      #expect(abs(svd.error(rank: one.keptRank) / svd.size - one.error) < 1e-10, "\(one.name)")
      guard one.keptRank > 0 else { continue }
      #expect((one.product(svd, one.keptRank, scaling: 1) - one.truncated).norm < 2e-7 * one.truncated.norm, "\(one.name)")
    }
  }

  /// At every rank the distance from ΔW is the root of the other values' squares (Eckart & Young), whatever s; at the full one it is
  /// rounding.
  @Test(arguments: [1, 0.25, 16.0]) func distances(_ scaling: Double) throws {
    for one in try Self.golden().cases {
      let svd = try one.svd()
      for rank in 1...svd.values.count {
        let distance = (one.product(svd, rank, scaling: scaling) - one.update).norm
        #expect(abs(distance - svd.error(rank: rank)) < 2e-7 * svd.size, "\(one.name) \(rank)")
      }
      #expect(svd.error(rank: svd.values.count) == 0)
    }
  }

  /// Row i of A and column i of B are equally long, √(σᵢ/s).
  @Test func factorsAreBalanced() throws {
    for one in try Self.golden().cases {
      let svd = try one.svd()
      let rank = svd.values.count
      let factors = svd.factors(rank: rank, scaling: 4)
      let (a, b) = (Dense(factors.a, rank, one.columns), Dense(factors.b, one.rows, rank).transposed)
      for gram in [a * a.transposed, b * b.transposed] {
        for i in 0..<rank {
          for j in 0..<rank { #expect(abs(gram[i, j] - (i == j ? svd.values[i] / 4 : 0)) < 1e-6 * svd.values[0], "\(one.name)") }
        }
      }
    }
  }

  /// A factor below 0 turns ΔW round, and a product that cancels has no components.
  @Test func signsAndZeros() throws {
    let one = try #require(try Self.golden().cases.first { $0.name == "wide" })
    var negative = one
    negative.scaling = -one.scaling
    let svd = try negative.svd()
    #expect((negative.product(svd, 4, scaling: 1) - negative.update).norm < 2e-7 * svd.size)
    var cancelled = one
    cancelled.rank = 2 * one.rank
    cancelled.a = one.a + one.a
    cancelled.b = (0..<one.rows).flatMap { row in
      let line = one.b[row * one.rank..<(row + 1) * one.rank]
      return line + line.map { -$0 }
    }
    #expect(try cancelled.svd().values.isEmpty)
    #expect(try cancelled.svd().factors(rank: 0, scaling: 1).a.isEmpty)
    var infinite = one
    infinite.scaling = .infinity
    #expect { _ = try infinite.svd() } throws: { ($0 as? GoraError)?.status == .data }
  }

  /// Any budget is met, as much as the next value allows; more of it never takes a component away; the order of the modules is nothing.
  @Test func budgets() throws {
    let cases = try Self.golden().cases
    let costs = cases.map { $0.rows + $0.columns }
    let all = try zip(cases, costs).reduce(0) { $0 + (try $1.0.svd().values.count) * $1.1 }
    var before = [0, 0, 0, 0]
    for budget in stride(from: 1, through: all + 1, by: 7) + [all] {
      let ranks = try Self.ranks(cases, budget: budget)
      let spent = zip(ranks, costs).reduce(0) { $0 + $1.0 * $1.1 }
      #expect(spent <= budget && budget - spent < costs.max() ?? 0 || spent == all)
      if budget < all { #expect(zip(before, ranks).allSatisfy(<=)) }
      #expect(try Self.ranks(cases.reversed(), budget: budget) == ranks.reversed())
      let (kept, gone) = (
        zip(cases, ranks).compactMap { $1 > 0 ? $0.values[$1 - 1] : nil },
        zip(cases, ranks).compactMap { $0.values.dropFirst($1).first }
      )
      #expect(kept.min() ?? .infinity > gone.max() ?? 0)
      before = ranks
    }
    #expect(before == (try cases.map { try $0.svd().values.count }))
  }

  @Test func equalValuesStayOrGoTogether() {
    let (cheap, dear) = (SpectrumThreshold.Module(values: [3, 2], cost: 1), SpectrumThreshold.Module(values: [2, 1], cost: 5))
    for (budget, cheapRank, dearRank) in [(0, 0, 0), (1, 1, 0), (2, 1, 0), (6, 1, 0), (7, 2, 1), (11, 2, 1), (12, 2, 2)] {
      #expect(SpectrumThreshold.ranks([cheap, dear], budget: budget) == [cheapRank, dearRank], "\(budget)")
      #expect(SpectrumThreshold.ranks([dear, cheap], budget: budget) == [dearRank, cheapRank], "\(budget)")
    }
  }
}

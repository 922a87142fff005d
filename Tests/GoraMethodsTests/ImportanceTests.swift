import GoraCore
import Testing

@testable import GoraMethods

@Suite struct ImportanceTests {
  private let rows = 37
  private let columns = 53

  private func matrix(_ stream: String, scale: Double = 1) -> [Float] {
    var random = Random(seed: 1, stream: stream)
    return (0..<rows * columns).map { _ in Float(scale * random.normal()) }
  }

  @Test func entrywiseMetricsEqualTheirDefinitions() throws {
    let w = matrix("w")
    let g = matrix("g", scale: 1e-6)
    let wg = zip(w, g).map { Double($0) * Double($1) }
    let n = Double(w.count)
    func norm(_ x: some Sequence<Double>) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    let expected: [ImportanceMetric: Double] = [
      .sensitivity: wg.reduce(0) { $0 + abs($1) } / n,
      .gradientMean: g.reduce(0) { $0 + abs(Double($1)) } / n,
      .gradientFrobenius: norm(g.map(Double.init)),
      .sensitivityFrobenius: norm(wg),
      .sensitivityRows: (0..<rows).reduce(0) { $0 + norm(wg[$1 * columns..<($1 + 1) * columns]) } / Double(rows),
    ]
    for (metric, value) in expected {
      let found = try metric.importance(weight: w, gradient: g, rows: rows, columns: columns)
      #expect(abs(found / value - 1) < 1e-12, "\(metric)")
    }
  }

  @Test func blocksOfEverySizeAreSummedWhole() {
    for count in [0, 1, 7, 8, 9, 8191, 8192, 8193, 20_001] {
      let x = (0..<count).map { Float($0 % 5) - 2 }
      #expect(BlockedSum.absolute(x) == x.reduce(0) { $0 + Double(abs($1)) })
      #expect(BlockedSum.squares(x) == x.reduce(0) { $0 + Double($1 * $1) })
    }
  }

  @Test func nuclearNormOfAKnownMatrix() throws {
    // 3·u₁v₁ᵀ + 0.5·u₂v₂ᵀ with orthonormal u and v.
    var m = [Float](repeating: 0, count: 6 * 4)
    for i in 0..<6 {
      for j in 0..<4 {
        let u1 = Float(1 / 6.0.squareRoot())
        let u2 = u1 * (i % 2 == 0 ? 1 : -1)
        m[i * 4 + j] = 3 * u1 * 0.5 + 0.5 * u2 * (j < 2 ? 0.5 : -0.5)
      }
    }
    for scale: Float in [1, 1e-25] {
      let value = try ImportanceMetric.gradientNuclear.importance(
        weight: nil, gradient: m.map { $0 * scale }, rows: 6, columns: 4)
      #expect(abs(value / (3.5 * Double(scale)) - 1) < 1e-5)
    }
  }

  @Test(arguments: ImportanceMetric.allCases) func nonFiniteInputIsRefused(_ metric: ImportanceMetric) {
    var g = matrix("g")
    g[100] = .nan
    let w = matrix("w")
    #expect(throws: GoraError.self) { try metric.importance(weight: w, gradient: g, rows: rows, columns: columns) }
  }
}

import CGoraKernels
import Foundation
import GoraCore
import Testing

@testable import GoraMethods

@Suite struct ImportanceTests {
  init() { ThreadPool.start(threads: 2) }

  /// Not a multiple of any vector's width; the second shape takes several blocks.
  private static let shapes = [(1, 1), (37, 53), (300, 517)]

  private func matrix(_ stream: String, _ count: Int, scale: Double = 1, mean: Double = 0) -> [Float] {
    var random = Random(seed: 1, stream: stream)
    return (0..<count).map { _ in Float(scale * random.normal() + mean) }
  }

  private func importance(
    _ metric: ImportanceMetric, _ weight: WeightMatrix.Storage, _ g: [Float], rows: Int, columns: Int, rank: Int = 32,
    module: String = "m"
  ) throws -> Double {
    let svd = try RandomisedSVD(rank: rank)
    var spectra = Spectra()
    return try g.withUnsafeBufferPointer { g in
      try metric.importance(
        of: WeightGradient(
          weight: WeightMatrix(weight, rows: rows, columns: columns), gradient: try #require(g.baseAddress)),
        module: module, svd: svd, spectra: &spectra)
    }
  }

  private func importance(
    _ metric: ImportanceMetric, _ w: [Float], _ g: [Float], rows: Int, columns: Int, rank: Int = 32
  ) throws -> Double {
    try w.withUnsafeBufferPointer { w in
      try importance(metric, .f32(try #require(w.baseAddress)), g, rows: rows, columns: columns, rank: rank)
    }
  }

  private func norm(_ x: some Sequence<Double>) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }

  /// The definitions, in double precision: sums of at most 155 100 terms agree to 1e-12.
  @Test(arguments: shapes) func entrywiseMetricsEqualTheirDefinitions(_ rows: Int, _ columns: Int) throws {
    let w = matrix("w", rows * columns)
    let g = matrix("g", rows * columns, scale: 1e-6, mean: 3e-6)
    let wg = zip(w, g).map { Double($0) * Double($1) }
    let gradient = g.map(Double.init)
    let n = Double(w.count)
    let mean = gradient.reduce(0, +) / n
    let deviation = max(1e-8, (gradient.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / max(1, n - 1)).squareRoot())
    let expected: [ImportanceMetric: Double] = [
      .sensitivity: wg.reduce(0) { $0 + abs($1) } / n,
      .sensitivitySquare: wg.reduce(0) { $0 + $1 * $1 } / n,
      .sensitivityFrobenius: norm(wg),
      .sensitivityRows: (0..<rows).reduce(0) { $0 + norm(wg[$1 * columns..<($1 + 1) * columns]) } / Double(rows),
      .gradientMean: gradient.reduce(0) { $0 + abs($1) } / n,
      .gradientSquare: gradient.reduce(0) { $0 + $1 * $1 } / n,
      .gradientFrobenius: norm(gradient),
      // The second matrix stands for E[g²] there.
      .fisher: mean,
      .fisherSensitivity: zip(w, gradient).reduce(0) { $0 + Double($1.0) * Double($1.0) * $1.1 } / n,
      .gradientEntropy: Foundation.log(deviation) + 0.5 * (Foundation.log(2 * Double.pi) + 1),
    ]
    #expect(expected.count == ImportanceMetric.allCases.count { !$0.decomposes && !$0.estimates && $0.evidence != .inputs })
    for (metric, value) in expected {
      let found = try importance(metric, w, g, rows: rows, columns: columns)
      #expect(abs(found / value - 1) < 1e-12, "\(metric)")
    }
  }

  /// A weight of 16 bits is widened block by block: exactly what its f32 copy gives.
  @Test func storageOfTheWeightDoesNotMatter() throws {
    let (rows, columns) = (300, 517)
    let g = matrix("g", rows * columns, scale: 1e-6)
    let half = matrix("w", rows * columns).map { BFloat16($0).bitPattern }
    let wide = half.map { Float(BFloat16(bitPattern: $0)) }
    for metric in ImportanceMetric.allCases where metric.evidence != .inputs {
      let found = try half.withUnsafeBufferPointer { half in
        try importance(metric, .bf16(try #require(half.baseAddress)), g, rows: rows, columns: columns, rank: 8)
      }
      #expect(found == (try importance(metric, wide, g, rows: rows, columns: columns, rank: 8)), "\(metric)")
    }
  }

  /// The mean that gora-grad follows from step to step is the metric, and the kernel's sum over the whole.
  @Test func sensitivityIsTheSameEverywhere() throws {
    let (rows, columns) = (129, 1000)
    let (w, g) = (matrix("w", rows * columns), matrix("g", rows * columns))
    let found = try importance(.sensitivity, w, g, rows: rows, columns: columns)
    #expect(abs(found * Double(w.count) / gora_abs_product_sum(w, g, w.count) - 1) < 1e-14)
    w.withUnsafeBufferPointer { w in
      g.withUnsafeBufferPointer { g in
        let pair = WeightGradient(
          weight: WeightMatrix(.f32(w.baseAddress!), rows: rows, columns: columns), gradient: g.baseAddress!)
        #expect(pair.meanAbsoluteProduct == found)
      }
    }
  }

  /// 3·u₁v₁ᵀ + 0.5·u₂v₂ᵀ with orthonormal u and v.
  private static let twoValues: [Float] = (0..<6).flatMap { i in
    (0..<4).map { j in
      let u = 1 / Float(6).squareRoot()
      return 3 * u * 0.5 + 0.5 * (i % 2 == 0 ? u : -u) * (j < 2 ? 0.5 : -0.5)
    }
  }

  /// Values to 1e-5 at any scale, where log(1 + σ) is σ for small and 0 for no gradients.
  @Test(arguments: [1, 1e-25, 1e12] as [Float]) func singularValuesOfAKnownMatrix(_ scale: Float) throws {
    let m = Self.twoValues.map { $0 * scale }
    let ones = [Float](repeating: 1, count: m.count)
    let s = Double(scale)
    let expected: [(ImportanceMetric, Double)] = [
      (.gradientNuclear, 3.5 * s), (.sensitivityNuclear, 3.5 * s), (.gradientSpectral, 3 * s), (.sensitivitySpectral, 3 * s),
      (.gradientNuclearEstimate, log1p(3 * s) + log1p(0.5 * s)), (.sensitivityNuclearEstimate, log1p(3 * s) + log1p(0.5 * s)),
    ]
    for (metric, value) in expected {
      let found = try importance(metric, ones, m, rows: 6, columns: 4, rank: 2)
      #expect(abs(found / value - 1) < 1e-5, "\(metric): \(found), \(value)")
      #expect(try importance(metric, ones, m.map { _ in 0 }, rows: 6, columns: 4) == 0)
    }
  }

  /// exp of the entropy of 3 : 0.5, at any scale; 1 where one direction has all, and as many as there are where all are equal.
  @Test(arguments: [1, 1e-25, 1e12] as [Float]) func effectiveRank(_ scale: Float) throws {
    let ones = [Float](repeating: 1, count: 24)
    let shares = [3 / 3.5, 0.5 / 3.5]
    let expected = Foundation.exp(-shares.reduce(0) { $0 + $1 * Foundation.log($1) })
    let found = try importance(.gradientErank, ones, Self.twoValues.map { $0 * scale }, rows: 6, columns: 4)
    #expect(abs(found - expected) < 1e-4, "\(found), \(expected)")
    #expect(abs(try importance(.gradientErank, ones, ones.map { $0 * scale }, rows: 6, columns: 4) - 1) < 1e-4)
    let identity = (0..<24).map { $0 / 4 == $0 % 4 ? scale : 0 }
    #expect(abs(try importance(.gradientErank, ones, identity, rows: 6, columns: 4) - 4) < 1e-4)
    #expect(try importance(.gradientErank, ones, ones.map { _ in 0 }, rows: 6, columns: 4) == 0)
  }

  /// Metrics of one gradient share its decomposition; what each says does not depend on that.
  @Test func spectraAreShared() throws {
    let (m, ones) = (Self.twoValues, [Float](repeating: 1, count: 24))
    try m.withUnsafeBufferPointer { m in
      try ones.withUnsafeBufferPointer { ones in
        let pair = WeightGradient(
          weight: WeightMatrix(.f32(try #require(ones.baseAddress)), rows: 6, columns: 4), gradient: try #require(m.baseAddress))
        var spectra = Spectra()
        #expect(spectra.effectiveRank == nil)
        for metric in [ImportanceMetric.gradientNuclear, .sensitivitySpectral, .gradientSpectral, .gradientErank] {
          var alone = Spectra()
          let svd = try RandomisedSVD()
          #expect(
            try metric.importance(of: pair, module: "m", svd: svd, spectra: &spectra)
              == metric.importance(of: pair, module: "m", svd: svd, spectra: &alone))
        }
        #expect(spectra.effectiveRank != nil)
      }
    }
  }

  /// Σ log(1+σ) over all values where q reaches the smaller side, over the largest q else: LAPACK's on a matrix whose values fall by
  /// a fifth each, so that eight rounds leave of the rest (0.8)^34 of the error, below single precision's own in all but the last
  /// few values.
  @Test func estimatesFollowLAPACK() throws {
    let (rows, columns) = (90, 64)
    var random = Random(seed: 2, stream: "spectrum")
    func orthonormal(_ n: Int, _ size: Int) throws -> [Float] {
      LAPACK.orthonormalRows((0..<n * size).map { _ in Float(random.normal()) }, rows: n, columns: size)
    }
    let (u, v) = (try orthonormal(40, rows), try orthonormal(40, columns))
    var m = [Float](repeating: 0, count: rows * columns)
    for k in 0..<40 {
      let s = 100 * Float(Foundation.pow(0.8, Double(k)))
      for i in 0..<rows { for j in 0..<columns { m[i * columns + j] += s * u[k * rows + i] * v[k * columns + j] } }
    }
    let exact = try #require(LAPACK.singularValues(m, rows: rows, columns: columns))
    for k in 0..<40 { #expect(abs(exact[k] / (100 * Float(Foundation.pow(0.8, Double(k)))) - 1) < 1e-2) }
    let svd = try RandomisedSVD(rank: 16)
    let found = try svd.singularValues(of: m, rows: rows, columns: columns, stream: "a")
    #expect(found.count == 16)
    for k in 0..<16 { #expect(abs(found[k] / exact[k] - 1) < (k < 12 ? 1e-5 : 1e-2), "\(k): \(found[k]), \(exact[k])") }
    // Never more than the truth, a projection being what it is.
    #expect(zip(found, exact).allSatisfy { $0 < $1 * 1.00005 })
    for rank in [16, 64, 1000] {
      let expected = exact.prefix(rank).reduce(0) { $0 + log1p(Double($1)) }
      let estimate = try importance(.gradientNuclearEstimate, m, m, rows: rows, columns: columns, rank: rank)
      #expect(abs(estimate / expected - 1) < 1e-3, "\(rank)")
    }
  }

  /// The seed and the module's name decide, and nothing else; a flat spectrum, which the estimate cannot resolve, shows it.
  @Test func estimatesAreReproducible() throws {
    let m = matrix("flat", 70 * 60)
    func values(seed: UInt64, _ stream: String) throws -> [Float] {
      try RandomisedSVD(rank: 5, seed: seed).singularValues(of: m, rows: 70, columns: 60, stream: stream)
    }
    let first = try values(seed: 0, "a")
    #expect(try values(seed: 0, "a") == first)
    #expect(try values(seed: 1, "a") != first)
    #expect(try values(seed: 0, "b") != first)
    #expect(throws: GoraError.self) { try RandomisedSVD(rank: 0) }
  }

  @Test(arguments: ImportanceMetric.allCases.filter { $0.evidence != .inputs }) func nonFiniteInputIsRefused(
    _ metric: ImportanceMetric
  ) {
    let (rows, columns) = (37, 53)
    for bad: Float in [.nan, .infinity] {
      var g = matrix("g", rows * columns)
      g[100] = bad
      let w = matrix("w", rows * columns)
      #expect(throws: GoraError.self) { try importance(metric, w, g, rows: rows, columns: columns) }
    }
  }

  @Test func namesOfBlends() throws {
    #expect(MetricBlend("sensitivity")?.metrics == [.sensitivity])
    let pair = try #require(MetricBlend("sensitivity+gradient-nuclear-estimate"))
    #expect(pair.metrics == [.sensitivity, .gradientNuclearEstimate] && pair.name == "sensitivity+gradient-nuclear-estimate")
    #expect(pair.estimates && !pair.decomposes)
    for bad in ["", "+", "sensitivity+", "sensitivity gradient-mean", "Sensitivity"] { #expect(MetricBlend(bad) == nil) }
  }
}

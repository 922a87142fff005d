import GoraCore
import GoraMethods
import Testing

@Suite struct AdapterInitialisationTests {
  private func gradient(_ rows: Int, _ columns: Int, _ stream: String = "g") -> [Float] {
    var random = Random(seed: 2, stream: stream)
    return (0..<rows * columns).map { _ in Float(1e-3 * random.normal()) }
  }

  private func module(_ rows: Int, _ columns: Int, rank: Int, name: String = "m", scaling: Double = 5.7) -> AdapterModuleInput {
    AdapterModuleInput(
      name: name, rows: rows, columns: columns, rank: rank, scaling: scaling, weight: gradient(rows, columns, "w"),
      weightNorm: Dense(gradient(rows, columns, "w"), rows, columns).norm, gradient: gradient(rows, columns))
  }

  @Test(arguments: [DownProjection.kaiming, .gaussian, .orthogonal], [(48, 80, 5), (33, 17, 17), (20, 64, 1)])
  func bIsTheScaledLeastSquaresAnswer(_ a: DownProjection, _ size: (Int, Int, Int)) throws {
    let (rows, columns, rank) = size
    let input = module(rows, columns, rank: rank)
    let factors = try GoRAStart(a: a, gamma: 0.05).factors(for: input, seed: 9)
    let down = Dense(factors.a, rank, columns)
    let full = Dense(input.gradient ?? [], rows, columns)
    // B = −ξ·G·A⁺, with A⁺ by Newton–Schulz iteration: nothing in common with a Cholesky solve.
    let xi = 0.05 * (Double(columns) / Double(rank)).squareRoot() / input.scaling
    let expected = (full * down.pseudoInverse()).scaled(-xi)
    let found = Dense(factors.b, rows, rank)
    #expect((found - expected).norm / expected.norm < 2e-5)
  }

  @Test func diagnosticsEqualTheDenseComputation() throws {
    let input = module(40, 60, rank: 6)
    let factors = try GoRAStart(a: .kaiming, gamma: 0.08).factors(for: input, seed: 1)
    let down = Dense(factors.a, 6, 60)
    let full = Dense(input.gradient ?? [], 40, 60)
    let delta = (Dense(factors.b, 40, 6) * down).scaled(input.scaling)
    let found = try #require(factors.diagnostics)
    let projected = full * down.pseudoInverse() * down
    let inner = delta.inner(full)
    #expect(inner < 0, "the update must go down the gradient")
    func isNear(_ a: Double, _ b: Double) -> Bool { abs(a / b - 1) < 1e-4 }
    #expect(isNear(found.gradientEnergy, full.norm * full.norm))
    #expect(isNear(found.captured, projected.norm * projected.norm / (full.norm * full.norm)))
    #expect(isNear(found.cosine, -inner / (delta.norm * full.norm)))
    #expect(isNear(found.normRatio, delta.norm / (0.08 * full.norm)))
    #expect(isNear(found.residual, (delta + full.scaled(0.08)).norm / (0.08 * full.norm)))
    #expect(isNear(found.legacy, (delta + full.scaled(0.08)).norm / full.norm))
    #expect(isNear(found.bestResidual, (full - projected).norm / full.norm))
    #expect(isNear(found.relativeUpdate, delta.norm / Dense(input.weight ?? [], 40, 60).norm))
  }

  @Test(arguments: [DownProjection.kaiming, .gaussian, .orthogonal])
  func onAverageTheUpdateHasNormGammaG(_ a: DownProjection) throws {
    // One fixed, far from Gaussian gradient: rank 2. E‖ΔW₀‖² = γ²‖G‖² needs no assumption on it.
    let (rows, columns, rank) = (24, 64, 4)
    let u = gradient(rows, 2, "u")
    let v = gradient(columns, 2, "v")
    var g = [Float](repeating: 0, count: rows * columns)
    for i in 0..<rows {
      for j in 0..<columns { g[i * columns + j] = u[i * 2] * v[j * 2] + 3 * u[i * 2 + 1] * v[j * 2 + 1] }
    }
    let seeds = 600
    var square = 0.0
    var cosine = 0.0
    for seed in 0..<seeds {
      let input = AdapterModuleInput(name: "m", rows: rows, columns: columns, rank: rank, scaling: 8, gradient: g)
      let d = try #require(
        try GoRAStart(a: a, gamma: 0.05).factors(for: input, seed: UInt64(seed)).diagnostics)
      square += d.normRatio * d.normRatio / Double(seeds)
      cosine += d.cosine * d.cosine / Double(seeds)
      #expect(d.cosine > 0)
    }
    // Standard error about 0.7/√seeds.
    #expect(abs(square - 1) < 0.12)
    #expect(abs(cosine / (Double(rank) / Double(columns)) - 1) < 0.12)
  }

  @Test func gammaZeroIsPlainLoRA() throws {
    let input = module(16, 24, rank: 3)
    let gora = try GoRAStart(a: .kaiming, gamma: 0).factors(for: input, seed: 4)
    let lora = try LoRAStart(a: .kaiming).factors(for: input, seed: 4)
    #expect(gora.a == lora.a)
    #expect(gora.b.allSatisfy { $0.bitPattern == 0 } && gora.b == lora.b)
    #expect(gora.diagnostics?.normRatio == 0)
  }

  @Test func randomStartsHaveTheirDistributions() throws {
    let input = module(300, 256, rank: 128)
    func a(_ projection: DownProjection) throws -> [Double] {
      try LoRAStart(a: projection).factors(for: input, seed: 0).a.map(Double.init)
    }
    func variance(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 } / Double(x.count) }
    let kaiming = try a(.kaiming)
    #expect(abs(variance(kaiming) * 3 * 256 - 1) < 0.03)
    #expect((kaiming.map(abs).max() ?? 0) <= 1 / 16 && (kaiming.max() ?? 0) > 0.0624 && (kaiming.min() ?? 0) < -0.0624)
    #expect(abs(variance(try a(.gaussian)) * 256 - 1) < 0.03)
    #expect(abs(variance(try a(.normal)) / (0.02 * 0.02) - 1) < 0.03)
    #expect(abs(variance(try a(.xavier)) * (256 + 128) / 2 - 1) < 0.03)
    let uniform = try a(.uniform)
    #expect((uniform.min() ?? -1) >= 0 && (uniform.max() ?? 1) < 1 && abs(variance(uniform) * 3 - 1) < 0.03)
    let orthogonal = Dense(try a(.orthogonal), 128, 256)
    let gram = orthogonal * orthogonal.transposed
    for i in 0..<128 {
      for j in 0..<128 { #expect(abs(gram[i, j] - (i == j ? 1 : 0)) < 1e-5) }
    }
  }

  /// The scale rules: right on average where A's row space is random, exact where it is asked for or A is not random.
  @Test(arguments: DownProjection.allCases)
  func theStepHasTheSizeThatWasAskedFor(_ a: DownProjection) throws {
    let input = module(30, 50, rank: 4)
    let exact = try #require(
      try GoRAStart(a: a, gamma: 0.05, exactNorm: true).factors(for: input, seed: 3).diagnostics)
    #expect(abs(exact.normRatio - 1) < 1e-12)
    let plain = try #require(try GoRAStart(a: a, gamma: 0.05).factors(for: input, seed: 3).diagnostics)
    switch a {
    case .kaiming, .gaussian, .orthogonal, .xavier, .normal:
      #expect(abs(plain.normRatio - (50.0 / 4 * plain.captured).squareRoot()) < 1e-12 && abs(plain.normRatio - 1) > 1e-3)
    case .uniform, .gradientSVD, .weightSVD: #expect(plain == exact)
    }
    #expect(plain.captured == exact.captured)
  }

  /// The error that the paper's authors report, at γ = 0.08, r = 8 and 4096 inputs: γ·√(2(1 − √(r/in))) = 0.1106 with the
  /// paper's sign, and 0.1156 with the flipped one of the authors' later code (they print 0.1147), for any G.
  @Test func theAuthorsErrorComesFromTheScaleAlone() throws {
    let (rows, columns, rank, gamma) = (48, 4096, 8, 0.08)
    let share = (Double(rank) / Double(columns)).squareRoot()
    let expected = [gamma * (2 * (1 - share)).squareRoot(), gamma * (2 * (1 + share)).squareRoot()]
    #expect(abs(expected[0] - 0.1106) < 5e-5 && abs(expected[1] - 0.1156) < 5e-5)
    var input = module(rows, columns, rank: rank)
    input.weight = nil
    let factors = try GoRAStart(a: .kaiming, gamma: gamma, exactNorm: true).factors(for: input, seed: 5)
    let delta = (Dense(factors.b, rows, rank) * Dense(factors.a, rank, columns)).scaled(input.scaling)
    let full = Dense(input.gradient ?? [], rows, columns)
    let step = full.scaled(gamma)
    // ‖ΔW₀‖ = γ‖G‖ here, so only √captured varies: by 6 % of 0.044 (√(2/(r·rows)) is 0.07, halved by the root, and the error's
    // own root halves it again): 2·10⁻⁴ is three deviations; the two signs are 5·10⁻³ apart.
    #expect(abs((delta + step).norm / full.norm - expected[0]) < 2e-4)
    #expect(abs((delta.scaled(-1) + step).norm / full.norm - expected[1]) < 2e-4)
    let legacy = try #require(factors.diagnostics).legacy
    #expect(abs(legacy - (delta + step).norm / full.norm) < 1e-6)
  }

  @Test func stepsOfEverySizeComeFromOneSolution() throws {
    let input = module(20, 30, rank: 3)
    let one = try GoRAStart(a: .kaiming, gamma: 1).factors(for: input, seed: 0)
    for gamma in [0, 0.05, 1, 0.8 * 0.8 * 0.8] {
      #expect(try GoRAStart(a: .kaiming, gamma: gamma).factors(for: input, seed: 0) == one.stepping(gamma))
    }
  }

  @Test func balancingKeepsTheUpdate() throws {
    let factors = try GoRAStart(a: .kaiming, gamma: 0.05).factors(for: module(20, 30, rank: 3), seed: 0)
    let balanced = factors.balanced(3)
    #expect(zip(balanced.a, factors.a).allSatisfy { abs($0 - 3 * $1) <= 2e-7 * abs($0) })
    let (one, other) = (Dense(factors.b, 20, 3) * Dense(factors.a, 3, 30), Dense(balanced.b, 20, 3) * Dense(balanced.a, 3, 30))
    #expect((one - other).norm < 1e-6 * one.norm)
  }

  @Test func numbersDependOnSeedAndNameAlone() throws {
    let method = LoRAStart(a: .kaiming)
    let one = try method.factors(for: module(8, 32, rank: 4, name: "a"), seed: 0)
    #expect(try method.factors(for: module(20, 32, rank: 4, name: "a"), seed: 0).a == one.a)
    #expect(try method.factors(for: module(8, 32, rank: 4, name: "b"), seed: 0).a != one.a)
    #expect(try method.factors(for: module(8, 32, rank: 4, name: "a"), seed: 1).a != one.a)
  }

  @Test(arguments: [DownProjection.gradientSVD, .weightSVD], [(40, 90), (90, 40)])
  func singularVectorsSpanTheLargestDirections(_ a: DownProjection, _ size: (Int, Int)) throws {
    let (rows, columns) = size
    let rank = 5
    let source = Dense(gradient(rows, columns, a == .gradientSVD ? "g" : "w"), rows, columns)
    // Spread the spectrum: (M·Mᵀ)·M has cubed singular values.
    let spread = (source * source.transposed * source).scaled(1e6)
    let input = AdapterModuleInput(
      name: "m", rows: rows, columns: columns, rank: rank, scaling: 4, weight: spread.floats, gradient: spread.floats)
    let factors = try GoRAStart(a: a, gamma: 0.05).factors(for: input, seed: 0)
    let down = Dense(factors.a, rank, columns)
    // The largest share any rank-5 projection can capture, from plain power iteration with deflation.
    var rest = Dense(spread.floats, rows, columns)
    let total = rest.norm * rest.norm
    for _ in 0..<rank {
      var v = Dense([Double](repeating: 1, count: columns), columns, 1)
      for _ in 0..<300 {
        v = rest.transposed * (rest * v)
        v = v.scaled(1 / v.norm)
      }
      rest = rest - rest * v * v.transposed
    }
    let best = 1 - rest.norm * rest.norm / total
    let captured = try #require(factors.diagnostics).captured
    #expect(abs(captured - best) < 1e-4 * best)
    let gram = down * down.transposed
    // Orthogonal rows as long as Kaiming's are on average: in·1/(3·in).
    for i in 0..<rank {
      for j in 0..<rank { #expect(abs(gram[i, j] - (i == j ? 1.0 / 3 : 0)) < 1e-4) }
    }
    // The scale is exact here, whatever was captured.
    #expect(abs(try #require(factors.diagnostics).normRatio - 1) < 1e-4)
  }

  @Test func aGradientWithNaNIsRefused() {
    var input = module(8, 8, rank: 2)
    input.gradient?[3] = .nan
    #expect(throws: GoraError.self) {
      try GoRAStart(a: .kaiming, gamma: 0.05).factors(for: input, seed: 0)
    }
  }

  @Test func mergingAddsTheScaledProduct() {
    let (rows, columns, rank) = (13, 21, 3)
    let a = gradient(rank, columns, "a")
    let b = gradient(rows, rank, "b")
    var w = gradient(rows, columns, "w")
    let expected = Dense(w, rows, columns) + (Dense(b, rows, rank) * Dense(a, rank, columns)).scaled(2.5)
    Merge.add(a: a, b: b, scaling: 2.5, to: &w, rows: rows, columns: columns, rank: rank)
    #expect((Dense(w, rows, columns) - expected).norm / expected.norm < 1e-6)
  }
}

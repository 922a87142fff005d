import GoraCore

/// B the compressed gradient (GoRA, arXiv 2502.12171): ΔW₀ = −c·G·P, where P projects on A's row space and c = γ·√(in/r), so that
/// E‖ΔW₀‖ = γ‖G‖. With `exactNorm`, and for every A whose row space is not random, c = γ‖G‖/‖G·P‖, which is exact.
package struct GoRAStart: AdapterStart {
  package static let name = "gora"
  package static let options: Set<StartOption> = [.a, .gamma, .exactNorm]
  package static let isResidual = false
  package static let standardGamma = 0.05

  private let a: DownProjection
  package var gamma: Double
  private let exactNorm: Bool

  package init(_ settings: StartSettings) {
    self.init(a: settings.a ?? .kaiming, gamma: settings.gamma ?? Self.standardGamma, exactNorm: settings.exactNorm)
  }

  package init(a: DownProjection, gamma: Double, exactNorm: Bool = false) {
    self.a = a
    self.gamma = gamma
    self.exactNorm = exactNorm || !a.isIsotropic
  }

  package var needs: Set<StartEvidence> { a.needs.union([.gradient, .weightNorm]) }
  package var record: [(key: String, value: StartValue)] {
    [("a", .text(a.rawValue)), ("gamma", .number(gamma)), ("exact_norm", .flag(exactNorm))]
  }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    try compressedGradient(module, a: try a.matrix(for: module, random: &random)).stepping(gamma)
  }

  /// B₀ = −(c/s)·G·Aᵀ·(A·Aᵀ)⁻¹ for γ = 1: the product with G in single precision, the r×r system in double.
  private func compressedGradient(_ module: AdapterModuleInput, a: [Float]) throws(GoraError) -> AdapterFactors {
    let (rows, columns, rank) = (module.rows, module.columns, module.rank)
    let gradient = module.gradient ?? []
    precondition(gradient.count == rows * columns)
    let energy = FixedSum.squares(gradient)
    guard energy.isFinite else { throw GoraError(.data, "the gradient has a NaN or an infinity") }

    // G·Aᵀ [out, r]
    var projected = [Float](repeating: 0, count: rows * rank)
    Matmul.sgemm(
      transposeB: true, m: rows, n: rank, k: columns, a: gradient, lda: columns, b: a, ldb: columns, c: &projected,
      ldc: rank, cut: .fixed)
    // Row-major [out, r] is column-major [r, out]: one right-hand side an output.
    var solution = projected.map(Double.init)
    guard LAPACK.solveSPD(FixedSum.gram(a, rows: rank, columns: columns), n: rank, &solution, columns: rows) else {
      throw GoraError(.data, "the rows of A are linearly dependent")
    }
    // ‖G·P‖² = ⟨G·Aᵀ·(A·Aᵀ)⁻¹, G·Aᵀ⟩
    let captured = max(0, zip(solution, projected).reduce(0) { $0 + $1.0 * Double($1.1) })
    let stretch =
      exactNorm ? (captured > 0 ? (energy / captured).squareRoot() : 0) : (Double(columns) / Double(rank)).squareRoot()
    let factor = -stretch / module.scaling
    return AdapterFactors(
      a: a, b: solution.map { Float(factor * $0) }, gamma: 1,
      capture: GradientCapture(
        energy: energy, capturedEnergy: captured, stretch: stretch, weightNorm: module.weightNorm))
  }
}

import GoraCore

/// What a method may look at when it starts the adapter of one module; matrices [rows = out, columns = in], row-major.
package struct AdapterModuleInput: Sendable {
  package var name: String
  package var rows: Int
  package var columns: Int
  package var rank: Int
  /// s in ΔW = s·B·A.
  package var scaling: Double
  /// Present where the method's `needsWeight` says so.
  package var weight: [Float]?
  /// The mean gradient; present where the method's `needsGradient` says so.
  package var gradient: [Float]?

  package init(
    name: String, rows: Int, columns: Int, rank: Int, scaling: Double, weight: [Float]? = nil, gradient: [Float]? = nil
  ) {
    precondition(rank >= 1 && rank <= min(rows, columns) && scaling > 0)
    precondition((weight?.count ?? rows * columns) == rows * columns)
    precondition((gradient?.count ?? rows * columns) == rows * columns)
    self.name = name
    self.rows = rows
    self.columns = columns
    self.rank = rank
    self.scaling = scaling
    self.weight = weight
    self.gradient = gradient
  }
}

/// A fresh adapter: A [rank, in] and B [out, rank], row-major.
package struct AdapterFactors: Sendable, Equatable {
  package var a: [Float]
  package var b: [Float]
  /// How the start relates to the gradient; nil where the method did not look at it.
  package var diagnostics: InitialisationDiagnostics?
}

/// A way to start an adapter. A new method is a new case here and nowhere else.
package enum InitialisationMethod: Sendable, Equatable {
  /// A random, B = 0 (Hu et al. 2021).
  case lora(a: DownProjection)
  /// A random or from singular vectors, B the compressed gradient (GoRA, arXiv 2502.12171): ΔW₀ = −c·G·P, where P projects
  /// on A's row space and c = γ·√(in/r), so that E‖ΔW₀‖ = γ‖G‖; for singular vectors c = γ‖G‖/‖G·P‖, which is exact.
  case gora(a: DownProjection, gamma: Double)

  package var needsGradient: Bool {
    switch self {
    case .lora(let a): a == .gradientSVD
    case .gora: true
    }
  }

  package var needsWeight: Bool {
    switch self {
    case .lora(let a), .gora(let a, _): a == .weightSVD
    }
  }

  /// The adapter of one module. Its random numbers depend on the seed and the module's name alone.
  /// - Throws: status 65 where the gradient is not finite or a decomposition fails.
  package func factors(for module: AdapterModuleInput, seed: UInt64) throws(GoraError) -> AdapterFactors {
    var random = Random(seed: seed, stream: "gora-init/\(module.name)")
    switch self {
    case .lora(let projection):
      return AdapterFactors(
        a: try projection.matrix(for: module, random: &random),
        b: [Float](repeating: 0, count: module.rows * module.rank))
    case .gora(let projection, let gamma):
      let a = try projection.matrix(for: module, random: &random)
      return try Self.compressedGradient(module, a: a, gamma: gamma, isRandom: projection.isRandom)
    }
  }

  /// B₀ = −(c/s)·G·Aᵀ·(A·Aᵀ)⁻¹ in single precision, the r×r system in double.
  private static func compressedGradient(
    _ module: AdapterModuleInput, a: [Float], gamma: Double, isRandom: Bool
  ) throws(GoraError) -> AdapterFactors {
    let (rows, columns, rank) = (module.rows, module.columns, module.rank)
    let gradient = module.gradient ?? []
    precondition(gradient.count == rows * columns)
    let energy = BlockedSum.squares(gradient)
    guard energy.isFinite else { throw GoraError(.data, "the gradient has a NaN or an infinity") }

    // G·Aᵀ [out, r]
    var projected = [Float](repeating: 0, count: rows * rank)
    Matmul.sgemm(
      transposeB: true, m: rows, n: rank, k: columns, a: gradient, lda: columns, b: a, ldb: columns, c: &projected,
      ldc: rank)
    let gram = SmallGram(a, rows: rank, columns: columns)
    // Row-major [out, r] is column-major [r, out]: one right-hand side an output.
    var solution = projected.map(Double.init)
    guard LAPACK.solveSPD(gram.values, n: rank, &solution, columns: rows) else {
      throw GoraError(.data, "the rows of A are linearly dependent")
    }
    // ‖G·P‖² = ⟨G·Aᵀ·(A·Aᵀ)⁻¹, G·Aᵀ⟩
    let captured = zip(solution, projected).reduce(0) { $0 + $1.0 * Double($1.1) }
    let step: Double
    if isRandom {
      step = gamma * (Double(columns) / Double(rank)).squareRoot()
    } else {
      step = captured > 0 ? gamma * (energy / captured).squareRoot() : 0
    }
    // γ = 0 gives +0 throughout, not −0.
    let b = solution.map { step == 0 ? 0 : Float(-step / module.scaling * $0) }
    return AdapterFactors(
      a: a, b: b,
      diagnostics: InitialisationDiagnostics(
        gamma: gamma, rank: rank, scaling: module.scaling, gram: gram, b: b, projected: projected, captured: captured,
        energy: energy, weight: module.weight))
  }
}

/// A·Aᵀ [r, r] in double precision.
struct SmallGram {
  let values: [Double]

  init(_ a: [Float], rows: Int, columns: Int) {
    var values = [Double](repeating: 0, count: rows * rows)
    let lines = (0..<rows).map { Array(a[$0 * columns..<($0 + 1) * columns]) }
    for i in 0..<rows {
      for j in 0...i {
        let product = BlockedSum.products(lines[i], lines[j])
        values[i * rows + j] = product
        values[j * rows + i] = product
      }
    }
    self.values = values
  }
}

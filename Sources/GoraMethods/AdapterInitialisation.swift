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
  /// ‖W‖, for the diagnostics.
  package var weightNorm: Double
  /// The mean gradient; present where the method's `needsGradient` says so.
  package var gradient: [Float]?

  package init(
    name: String, rows: Int, columns: Int, rank: Int, scaling: Double, weight: [Float]? = nil, weightNorm: Double = 0,
    gradient: [Float]? = nil
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
    self.weightNorm = weightNorm
    self.gradient = gradient
  }
}

/// A fresh adapter: A [rank, in] and B [out, rank], row-major.
package struct AdapterFactors: Sendable, Equatable {
  package var a: [Float]
  package var b: [Float]
  /// γ of the step that B makes; 0 where B makes none.
  package var gamma = 0.0
  /// What B keeps of the gradient; nil where the method did not compress it.
  package var capture: GradientCapture?

  /// How the start relates to the gradient.
  package var diagnostics: InitialisationDiagnostics? { capture.map { InitialisationDiagnostics(gamma: gamma, $0) } }

  /// The start with a step of γ, from one with γ = 1: ΔW₀ is linear in γ.
  package func stepping(_ gamma: Double) -> AdapterFactors {
    precondition(self.gamma == 1 && gamma >= 0)
    var factors = self
    factors.gamma = gamma
    // γ = 0 gives +0 throughout, not −0.
    factors.b = gamma == 0 ? [Float](repeating: 0, count: b.count) : b.map { Float(gamma * Double($0)) }
    return factors
  }

  /// The same update from `factor`·A and B/`factor`.
  package func balanced(_ factor: Double) -> AdapterFactors {
    if factor == 1 { return self }
    var factors = self
    factors.a = a.map { Float(factor * Double($0)) }
    factors.b = b.map { Float(Double($0) / factor) }
    return factors
  }
}

/// A way to start an adapter.
package enum InitialisationMethod: Sendable, Equatable {
  /// B = 0 (Hu et al. 2021).
  case lora(a: DownProjection)
  /// B the compressed gradient (GoRA, arXiv 2502.12171): ΔW₀ = −c·G·P, where P projects on A's row space and c = γ·√(in/r), so
  /// that E‖ΔW₀‖ = γ‖G‖. With `exactNorm`, and for every A whose row space is not random, c = γ‖G‖/‖G·P‖, which is exact.
  case gora(a: DownProjection, gamma: Double, exactNorm: Bool = false)
  /// The authors' SVD variant: G's first r left singular vectors and the r right ones after those, LoRA-GA's other half.
  case goraSVD(stableGamma: Double)
  /// The weight's own first r triplets (PiSSA, arXiv 2404.02948).
  case pissa
  /// G's first r right singular vectors and the r left ones after those (LoRA-GA, arXiv 2407.05000, official code: "ArB2r").
  case loraGA(stableGamma: Double)

  /// γ of gora, and that of gora-svd and lora-ga, where none is given.
  package static let standardGamma = 0.05
  package static let standardStableGamma = 16.0

  package var needsGradient: Bool {
    switch self {
    case .lora(let a): a == .gradientSVD
    case .gora, .goraSVD, .loraGA: true
    case .pissa: false
    }
  }

  package var needsWeight: Bool {
    switch self {
    case .lora(let a), .gora(let a, _, _): a == .weightSVD
    case .pissa: true
    case .goraSVD, .loraGA: false
    }
  }

  /// Whether the product that the factors make at the start is taken from the weight, so that the model begins as it was:
  /// ΔW = s·(B·A − B₀·A₀).
  package var isResidual: Bool {
    switch self {
    case .lora, .gora: false
    case .goraSVD, .pissa, .loraGA: true
    }
  }

  /// The adapter of one module. Its random numbers depend on the seed and the module's name alone.
  /// - Throws: status 65 where the gradient is not finite, a decomposition fails, or 2r singular vectors are wanted of a smaller
  ///   matrix.
  package func factors(for module: AdapterModuleInput, seed: UInt64) throws(GoraError) -> AdapterFactors {
    var random = Random(seed: seed, stream: "gora-init/\(module.name)")
    switch self {
    case .lora(let projection):
      return AdapterFactors(
        a: try projection.matrix(for: module, random: &random),
        b: [Float](repeating: 0, count: module.rows * module.rank))
    case .gora(let projection, let gamma, let exactNorm):
      let a = try projection.matrix(for: module, random: &random)
      return try Self.compressedGradient(module, a: a, exactNorm: exactNorm || !projection.isIsotropic).stepping(gamma)
    case .goraSVD(let stableGamma):
      return try Self.gradientDirections(module, firstLeft: true, stableGamma: stableGamma, random: &random)
    case .loraGA(let stableGamma):
      return try Self.gradientDirections(module, firstLeft: false, stableGamma: stableGamma, random: &random)
    case .pissa:
      let triplets = try SingularTriplets(
        leading: module.rank, of: module.weight ?? [], rows: module.rows, columns: module.columns, random: &random)
      // s·B·A is the weight's first r triplets, each factor with the root of its singular value.
      let roots = triplets.values.map { ($0 / module.scaling).squareRoot() }
      return AdapterFactors(
        a: scaledRows(triplets.right, roots), b: transposed(scaledRows(triplets.left, roots), rows: module.rank))
    }
  }

  /// B₀ = −(c/s)·G·Aᵀ·(A·Aᵀ)⁻¹ for γ = 1: the product with G in single precision, the r×r system in double.
  private static func compressedGradient(
    _ module: AdapterModuleInput, a: [Float], exactNorm: Bool
  ) throws(GoraError) -> AdapterFactors {
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
    guard LAPACK.solveSPD(gram(a, rows: rank, columns: columns), n: rank, &solution, columns: rows) else {
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

  /// A·Aᵀ [r, r] in double precision.
  private static func gram(_ a: [Float], rows: Int, columns: Int) -> [Double] {
    var values = [Double](repeating: 0, count: rows * rows)
    let lines = (0..<rows).map { Array(a[$0 * columns..<($0 + 1) * columns]) }
    values.withUnsafeMutableBufferPointer { values in
      nonisolated(unsafe) let values = values
      // Line i and line r−1−i together are as much work as any other pair.
      parallelParts((rows + 1) / 2) { pair in
        for i in [pair, rows - 1 - pair] {
          for j in 0...i {
            let product = FixedSum.products(lines[i], lines[j])
            values[i * rows + j] = product
            values[j * rows + i] = product
          }
        }
      }
    }
    return values
  }

  /// A and B from 2r different singular directions of G, orthonormal but for one length: s·B₀·A₀ then has the size of a layer's
  /// output in training at any width ("stable output": both factors times out^¼/√γₛ, γₛ = 16 by default).
  private static func gradientDirections(
    _ module: AdapterModuleInput, firstLeft: Bool, stableGamma: Double, random: inout Random
  ) throws(GoraError) -> AdapterFactors {
    let (rows, columns, rank) = (module.rows, module.columns, module.rank)
    guard 2 * rank <= min(rows, columns) else {
      throw GoraError(
        .data, "rank \(rank) needs \(2 * rank) singular directions, the gradient [\(rows), \(columns)] has \(min(rows, columns))",
        hint: "plan a smaller --max-rank")
    }
    let triplets = try SingularTriplets(
      leading: 2 * rank, of: module.gradient ?? [], rows: rows, columns: columns, random: &random)
    let length = Double(rows).squareRoot().squareRoot() / stableGamma.squareRoot()
    let lengths = [Double](repeating: length, count: rank)
    let left = firstLeft ? triplets.left.prefix(rank * rows) : triplets.left.dropFirst(rank * rows)
    let right = firstLeft ? triplets.right.dropFirst(rank * columns) : triplets.right.prefix(rank * columns)
    return AdapterFactors(
      a: scaledRows(Array(right), lengths), b: transposed(scaledRows(Array(left), lengths), rows: rank))
  }
}

/// Row i of a row-major matrix times `factors[i]`.
private func scaledRows(_ matrix: [Float], _ factors: [Double]) -> [Float] {
  let columns = matrix.count / factors.count
  return matrix.indices.map { Float(Double(matrix[$0]) * factors[$0 / columns]) }
}

/// A row-major matrix [rows, columns] as [columns, rows].
private func transposed(_ matrix: [Float], rows: Int) -> [Float] {
  let columns = matrix.count / rows
  return matrix.indices.map { matrix[$0 % rows * columns + $0 / rows] }
}

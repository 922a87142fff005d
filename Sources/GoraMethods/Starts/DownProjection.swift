import GoraCore

/// How A [r, in] starts.
package enum DownProjection: String, CaseIterable, Sendable {
  /// U(−1/√in, 1/√in): Kaiming uniform with a = √5, as in PEFT and in the paper's final version.
  case kaiming
  /// N(0, 1/in).
  case gaussian
  /// Orthonormal rows, uniform over such.
  case orthogonal
  /// N(0, 2/(in + r)) (Glorot & Bengio 2010).
  case xavier
  /// N(0, 0.02²).
  case normal
  /// U[0, 1), of the authors' code: its rows share the direction of their mean.
  case uniform
  /// The gradient's first r right singular vectors.
  case gradientSVD = "gradient-svd"
  /// The weight's first r right singular vectors.
  case weightSVD = "weight-svd"

  /// Whether A's row space is independent of the gradient and uniform on average, so that E‖G·P‖² = (r/in)·‖G‖².
  package var isIsotropic: Bool {
    switch self {
    case .kaiming, .gaussian, .orthogonal, .xavier, .normal: true
    case .uniform, .gradientSVD, .weightSVD: false
    }
  }

  /// What it is made from.
  var needs: Set<StartEvidence> {
    switch self {
    case .kaiming, .gaussian, .orthogonal, .xavier, .normal, .uniform: []
    case .gradientSVD: [.gradient]
    case .weightSVD: [.weight]
    }
  }

  /// A [rank, in], row-major.
  ///
  /// Singular vectors are not scaled by their values (the authors' code has had both): the row space, hence P, is the same. Their
  /// rows have length 1/√3, which is √E‖row‖² of `kaiming`, so that both train alike at the same rate.
  /// - Throws: status 65 where a decomposition fails.
  func matrix(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> [Float] {
    let columns = module.columns
    let count = module.rank * columns
    func normal(_ deviation: Double) -> [Float] { (0..<count).map { _ in Float(random.normal() * deviation) } }
    switch self {
    case .kaiming:
      let bound = 1 / Double(columns).squareRoot()
      return (0..<count).map { _ in Float((2 * random.uniform() - 1) * bound) }
    case .gaussian: return normal(1 / Double(columns).squareRoot())
    case .orthogonal: return LAPACK.orthonormalRows(normal(1), rows: module.rank, columns: columns)
    case .xavier: return normal((2 / Double(columns + module.rank)).squareRoot())
    case .normal: return normal(0.02)
    case .uniform: return (0..<count).map { _ in Float(random.uniform()) }
    case .gradientSVD: return try principal(module.gradient ?? [], of: module, random: &random)
    case .weightSVD: return try principal(module.weight ?? [], of: module, random: &random)
    }
  }

  private func principal(
    _ matrix: [Float], of module: AdapterModuleInput, random: inout Random
  ) throws(GoraError) -> [Float] {
    let triplets = try SingularTriplets(
      leading: module.rank, of: matrix, rows: module.rows, columns: module.columns, random: &random)
    let length = Float(1 / 3.0.squareRoot())
    return triplets.right.map { $0 * length }
  }
}

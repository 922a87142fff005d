import GoraCore

/// How A [r, in] starts.
package enum DownProjection: String, CaseIterable, Sendable {
  /// U(−1/√in, 1/√in): Kaiming uniform with a = √5, as in PEFT and in the paper's final version.
  case kaiming
  /// N(0, 1/in).
  case gaussian
  /// Orthonormal rows, uniform over such.
  case orthogonal
  /// The gradient's first r right singular vectors.
  case gradientSVD = "gradient-svd"
  /// The weight's first r right singular vectors.
  case weightSVD = "weight-svd"

  /// Whether A's row space is independent of the gradient and uniform on average, so that E‖PG‖² = (r/in)·‖G‖².
  package var isRandom: Bool {
    switch self {
    case .kaiming, .gaussian, .orthogonal: true
    case .gradientSVD, .weightSVD: false
    }
  }

  /// A [rank, in], row-major.
  ///
  /// The singular vectors are not scaled by their values (the authors' code has had both): the row space, hence P, is the
  /// same, and rows of length 1 train like the orthogonal start's.
  /// - Throws: status 65 where a decomposition fails.
  func matrix(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> [Float] {
    let columns = module.columns
    let count = module.rank * columns
    switch self {
    case .kaiming:
      let bound = 1 / Double(columns).squareRoot()
      return (0..<count).map { _ in Float((2 * random.uniform() - 1) * bound) }
    case .gaussian:
      let deviation = 1 / Double(columns).squareRoot()
      return (0..<count).map { _ in Float(random.normal() * deviation) }
    case .orthogonal:
      return try Self.orthonormal((0..<count).map { _ in Float(random.normal()) }, rows: module.rank, columns: columns)
    case .gradientSVD: return try Self.principal(module.gradient ?? [], of: module, random: &random)
    case .weightSVD: return try Self.principal(module.weight ?? [], of: module, random: &random)
    }
  }

  /// The first right singular vectors of M [out, in] by subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4),
  /// 16 rounds as in the authors' code, with spare directions.
  private static func principal(
    _ matrix: [Float], of module: AdapterModuleInput, random: inout Random
  ) throws(GoraError) -> [Float] {
    let (rows, columns) = (module.rows, module.columns)
    precondition(matrix.count == rows * columns)
    let largest = matrix.reduce(Float(0)) { max($0, $1.magnitude) }
    guard largest > 0, largest.isFinite else {
      throw GoraError(.data, "the matrix whose singular vectors are wanted is zero or not finite")
    }
    // Near 1, so that no product underflows.
    let m = matrix.map { $0 / largest }
    let width = min(module.rank + 16, min(rows, columns))
    var basis = try orthonormal(
      (0..<width * columns).map { _ in Float(random.normal()) }, rows: width, columns: columns)
    var image = [Float](repeating: 0, count: width * rows)
    func project() {
      // image [width, out] = basis [width, in]·Mᵀ
      Matmul.sgemm(
        transposeB: true, m: width, n: rows, k: columns, a: basis, lda: columns, b: m, ldb: columns, c: &image, ldc: rows)
    }
    for _ in 0..<16 {
      project()
      let left = try orthonormal(image, rows: width, columns: rows)
      Matmul.sgemm(m: width, n: columns, k: rows, a: left, lda: rows, b: m, ldb: columns, c: &basis, ldc: columns)
      basis = try orthonormal(basis, rows: width, columns: columns)
    }
    project()
    // image = U·S·Vᵀ, so that M's right singular vectors are Uᵀ·basis.
    guard let (u, _, _) = LAPACK.svd(image, rows: width, columns: rows) else { throw noConvergence }
    let inner = min(width, rows)
    var vectors = [Float](repeating: 0, count: module.rank * columns)
    Matmul.sgemm(
      transposeA: true, m: module.rank, n: columns, k: width, a: u, lda: inner, b: basis, ldb: columns, c: &vectors,
      ldc: columns)
    return vectors
  }

  private static func orthonormal(_ matrix: [Float], rows: Int, columns: Int) throws(GoraError) -> [Float] {
    guard let result = LAPACK.orthonormalRows(matrix, rows: rows, columns: columns) else { throw noConvergence }
    return result
  }

  private static var noConvergence: GoraError { GoraError(.data, "the matrix decomposition did not converge") }
}

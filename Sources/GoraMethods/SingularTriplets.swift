import GoraCore

/// Singular triplets of a matrix M [rows, columns]: values[i]·left[i]·right[i]ᵀ are a part of it, the largest or the smallest.
struct SingularTriplets {
  /// Uᵀ [rank, rows], row-major.
  let left: [Float]
  /// Descending.
  let values: [Double]
  /// Vᵀ [rank, columns], row-major.
  let right: [Float]

  private static let spare = 16
  /// As in the authors' code; fewer where the subspace no longer gains.
  private static let rounds = 16

  /// The largest, by subspace iteration with spare directions (Halko, Martinsson & Tropp 2011, algorithm 4.4), exact where the
  /// subspace is the whole space. All products are in single precision, over M where it lies, in strips: the same bits for any
  /// number of threads.
  /// - Parameter random: draws the first subspace.
  /// - Throws: status 65 where the matrix is zero or not finite, or a decomposition does not converge.
  init(leading rank: Int, of matrix: [Float], rows: Int, columns: Int, random: inout Random) throws(GoraError) {
    precondition(matrix.count == rows * columns && rank <= min(rows, columns))
    let size = try Self.size(of: matrix)
    // M/size has entries near 1, so that no product underflows.
    let scale = Float(1 / size)
    let width = min(rank + Self.spare, min(rows, columns))
    var basis = LAPACK.orthonormalRows(
      (0..<width * columns).map { _ in Float(random.normal()) }, rows: width, columns: columns)
    var image = [Float](repeating: 0, count: width * rows)
    func project() {
      // image [width, rows] = basis [width, columns]·Mᵀ
      Matmul.sgemm(
        transposeB: true, m: width, n: rows, k: columns, alpha: scale, a: basis, lda: columns, b: matrix, ldb: columns,
        c: &image, ldc: rows, cut: .fixed)
    }
    project()
    var caught = FixedSum.squares(image)
    for _ in 0..<Self.rounds {
      let directions = LAPACK.orthonormalRows(image, rows: width, columns: rows)
      Matmul.sgemm(
        m: width, n: columns, k: rows, alpha: scale, a: directions, lda: rows, b: matrix, ldb: columns, c: &basis, ldc: columns,
        cut: .fixed)
      basis = LAPACK.orthonormalRows(basis, rows: width, columns: columns)
      project()
      let before = caught
      caught = FixedSum.squares(image)
      if caught <= before * (1 + 1e-6) { break }
    }
    // image = X·S·Yᵀ; M ≈ imageᵀ·basis = Y·S·(Xᵀ·basis).
    guard let (x, s, y) = LAPACK.svd(image, rows: width, columns: rows) else { throw noConvergence }
    values = s.prefix(rank).map { Double($0) * size }
    var vectors = [Float](repeating: 0, count: rank * columns)
    Matmul.sgemm(
      transposeA: true, m: rank, n: columns, k: width, a: x, lda: width, b: basis, ldb: columns, c: &vectors, ldc: columns,
      cut: .fixed)
    var images = Array(y.prefix(rank * rows))
    Self.turn(&images, &vectors, rank)
    left = images
    right = vectors
  }

  /// The smallest, by a whole decomposition.
  /// - Throws: status 65 where the matrix is zero or not finite, or the decomposition does not converge.
  init(trailing rank: Int, of matrix: [Float], rows: Int, columns: Int) throws(GoraError) {
    precondition(matrix.count == rows * columns && rank <= min(rows, columns))
    let size = try Self.size(of: matrix)
    let scale = Float(1 / size)
    guard let (u, s, vt) = LAPACK.svd(matrix.map { $0 * scale }, rows: rows, columns: columns) else { throw noConvergence }
    values = s.suffix(rank).map { Double($0) * size }
    var images = Array(transposed(u, rows: rows).suffix(rank * rows))
    var vectors = Array(vt.suffix(rank * columns))
    Self.turn(&images, &vectors, rank)
    left = images
    right = vectors
  }

  /// The root of the entries' mean square: over it, no product of theirs underflows.
  private static func size(of matrix: [Float]) throws(GoraError) -> Double {
    let size = (FixedSum.squares(matrix) / Double(max(1, matrix.count))).squareRoot()
    guard size.isFinite, size > 1e-30 else {
      throw GoraError(.data, "the matrix whose singular vectors are wanted is zero or not finite")
    }
    return size
  }

  /// A pair of singular vectors may be turned round together: here the right one's largest element is positive, the first of equals.
  private static func turn(_ left: inout [Float], _ right: inout [Float], _ rank: Int) {
    let (rows, columns) = (left.count / rank, right.count / rank)
    for i in 0..<rank {
      var largest: Float = 0
      for element in right[i * columns..<(i + 1) * columns] where abs(element) > abs(largest) { largest = element }
      guard largest < 0 else { continue }
      for j in i * columns..<(i + 1) * columns { right[j].negate() }
      for j in i * rows..<(i + 1) * rows { left[j].negate() }
    }
  }
}

var noConvergence: GoraError { GoraError(.data, "the matrix decomposition did not converge") }

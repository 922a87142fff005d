import GoraCore

/// The largest singular values of a matrix, estimated (Halko, Martinsson & Tropp 2011, algorithm 4.4).
///
/// Products are cut into strips of a fixed width: the same bits for any number of threads.
package struct RandomisedSVD: Sendable, Equatable {
  /// q, the directions followed, at most the matrix's smaller side; no spare ones, as in the authors' code.
  package var rank: Int
  /// Multiplications with MᵀM after the first product.
  package var powerIterations = 8
  package var seed: UInt64 = 0

  package static let standardRank = 32

  /// - Throws: status 64 where the rank is not from 1 to 2^20.
  package init(rank: Int = standardRank, seed: UInt64 = 0) throws(GoraError) {
    guard 1...(1 << 20) ~= rank else { throw GoraError(.usage, "--svd-rank is \(rank); expected 1 to \(1 << 20)") }
    self.rank = rank
    self.seed = seed
  }

  /// The first q singular values of M [rows × columns], descending.
  ///
  /// - Parameters:
  ///   - matrix: row-major, finite, its entries neither huge nor tiny.
  ///   - stream: names the random numbers of the start.
  /// - Throws: status 65 where a decomposition fails.
  package func singularValues(
    of matrix: UnsafePointer<Float>, rows: Int, columns: Int, stream: String
  ) throws(GoraError) -> [Float] {
    let q = min(rank, rows, columns)
    if q == 0 { return [] }
    var random = Random(seed: seed, stream: stream)
    // q directions as rows: in the input's space [q, columns], in the output's [q, rows].
    var basis = (0..<q * columns).map { _ in Float(random.normal()) }
    var image = LAPACK.orthonormalRows(outputs(of: basis, q, matrix, rows, columns), rows: q, columns: rows)
    for _ in 0..<powerIterations {
      basis = LAPACK.orthonormalRows(inputs(of: image, q, matrix, rows, columns), rows: q, columns: columns)
      image = LAPACK.orthonormalRows(outputs(of: basis, q, matrix, rows, columns), rows: q, columns: rows)
    }
    basis = inputs(of: image, q, matrix, rows, columns)
    guard let values = LAPACK.singularValues(basis, rows: q, columns: columns) else { throw noConvergence }
    return values
  }

  /// X·Mᵀ [q, rows] of X [q, columns].
  private func outputs(of x: [Float], _ q: Int, _ m: UnsafePointer<Float>, _ rows: Int, _ columns: Int) -> [Float] {
    var product = [Float](repeating: 0, count: q * rows)
    Matmul.sgemm(
      transposeB: true, m: q, n: rows, k: columns, a: x, lda: columns, b: m, ldb: columns, c: &product, ldc: rows, cut: .fixed)
    return product
  }

  /// Y·M [q, columns] of Y [q, rows].
  private func inputs(of y: [Float], _ q: Int, _ m: UnsafePointer<Float>, _ rows: Int, _ columns: Int) -> [Float] {
    var product = [Float](repeating: 0, count: q * columns)
    Matmul.sgemm(m: q, n: columns, k: rows, a: y, lda: rows, b: m, ldb: columns, c: &product, ldc: columns, cut: .fixed)
    return product
  }
}

import GoraCore

/// Folding an adapter into the weight it adapts.
package enum Merge {
  /// weight += scaling·B·A, for weight [rows, columns], B [rows, rank], A [rank, columns], all row-major.
  package static func add(
    a: [Float], b: [Float], scaling: Double, to weight: inout [Float], rows: Int, columns: Int, rank: Int
  ) {
    precondition(a.count == rank * columns && b.count == rows * rank && weight.count == rows * columns)
    guard rank > 0 else { return }
    Matmul.sgemm(
      m: rows, n: columns, k: rank, alpha: Float(scaling), a: b, lda: rank, b: a, ldb: columns, beta: 1, c: &weight,
      ldc: columns, cut: .fixed)
  }
}

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

  /// ‖Vᵢ‖₂ of the rows of V [rows, columns]: DoRA's magnitudes where it starts as V.
  package static func rowNorms(_ v: [Float], rows: Int, columns: Int) -> [Float] {
    (0..<rows).map { row in
      Float(v[row * columns..<(row + 1) * columns].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot())
    }
  }

  /// V = diag(m/‖V‖)·V: the weight of DoRA (PEFT `lora/variants.py`); rows of zeros stay.
  package static func rescale(_ v: inout [Float], to magnitude: [Float], columns: Int) {
    let norms = rowNorms(v, rows: magnitude.count, columns: columns)
    for (row, norm) in norms.enumerated() where norm > 0 {
      let factor = magnitude[row] / norm
      for i in row * columns..<(row + 1) * columns { v[i] *= factor }
    }
  }
}

import CGoraKernels

/// LAPACK through OpenBLAS; matrices column-major unless said otherwise.
package enum LAPACK {
  /// Solves S·X = R for symmetric positive definite S [n, n] and R [n, columns] (column-major); X replaces `r`.
  /// - Returns: false where S is not positive definite.
  package static func solveSPD(_ s: [Double], n: Int, _ r: inout [Double], columns: Int) -> Bool {
    if n == 0 || columns == 0 { return true }
    var factor = s
    guard gora_dpotrf(Int32(n), &factor, Int32(n)) == 0 else { return false }
    return gora_dpotrs(Int32(n), Int32(columns), factor, Int32(n), &r, Int32(n)) == 0
  }

  /// X [n, n] with S·X + X·T = C, for symmetric positive semidefinite S and T; all column-major. Where an eigenvalue of S and one of T
  /// are both 0 the part of X between them is 0, and so is X where the iteration does not converge.
  package static func solveSylvester(_ s: [Double], _ t: [Double], _ c: [Double], n: Int) -> [Double] {
    var (u, v) = (s, t)
    var left = [Double](repeating: 0, count: n)
    var right = left
    guard n > 0, gora_dsyev(Int32(n), &u, Int32(n), &left) == 0, gora_dsyev(Int32(n), &v, Int32(n), &right) == 0 else {
      return [Double](repeating: 0, count: n * n)
    }
    // In the eigenvectors' bases the equation is one of numbers: (λᵢ + μⱼ)·xᵢⱼ = cᵢⱼ.
    var x = product(transposed(u, n), product(c, v, n), n)
    for j in 0..<n {
      for i in 0..<n {
        let sum = left[i] + right[j]
        x[j * n + i] = sum > 0 ? x[j * n + i] / sum : 0
      }
    }
    return product(u, product(x, transposed(v, n), n), n)
  }

  private static func transposed(_ x: [Double], _ n: Int) -> [Double] { x.indices.map { x[$0 % n * n + $0 / n] } }

  private static func product(_ x: [Double], _ y: [Double], _ n: Int) -> [Double] {
    var result = [Double](repeating: 0, count: n * n)
    for j in 0..<n {
      for k in 0..<n {
        let factor = y[j * n + k]
        for i in 0..<n { result[j * n + i] += x[k * n + i] * factor }
      }
    }
    return result
  }

  /// Thin SVD of a row-major matrix [rows, columns]: M = U·diag(S)·Vᵀ with U [rows, k], Vᵀ [k, columns] row-major, k = min.
  /// - Returns: nil where the iteration did not converge.
  package static func svd(_ matrix: [Float], rows: Int, columns: Int) -> (u: [Float], s: [Float], vt: [Float])? {
    // Row-major [rows, columns] is column-major [columns, rows], whose left vectors are V: U and Vᵀ change places.
    let k = min(rows, columns)
    var a = matrix
    var s = [Float](repeating: 0, count: k)
    var vt = [Float](repeating: 0, count: k * columns)
    var u = [Float](repeating: 0, count: rows * k)
    let info = gora_sgesdd(Int32(columns), Int32(rows), &a, Int32(columns), &s, &vt, Int32(columns), &u, Int32(k), true)
    return info == 0 ? (u, s, vt) : nil
  }

  /// Singular values alone, descending; the matrix is overwritten where the caller gives it away.
  package static func singularValues(_ matrix: consuming [Float], rows: Int, columns: Int) -> [Float]? {
    var s = [Float](repeating: 0, count: min(rows, columns))
    var none: [Float] = [0]
    var nothing: [Float] = [0]
    let info = gora_sgesdd(
      Int32(columns), Int32(rows), &matrix, Int32(columns), &s, &none, Int32(columns), &nothing, Int32(min(rows, columns)), false)
    return info == 0 ? s : nil
  }

  /// Orthonormal rows spanning the rows of a row-major matrix [rows, columns], rows ≤ columns; R's diagonal made positive.
  package static func orthonormalRows(_ matrix: [Float], rows: Int, columns: Int) -> [Float] {
    var q = matrix
    var diagonal = [Float](repeating: 0, count: rows)
    gora_sgeqrf_q(Int32(columns), Int32(rows), &q, Int32(columns), &diagonal)
    for i in 0..<rows where diagonal[i] < 0 {
      for j in 0..<columns { q[i * columns + j] = -q[i * columns + j] }
    }
    return q
  }
}

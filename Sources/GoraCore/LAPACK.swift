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
    func times(_ x: [Double], _ y: [Double]) -> [Double] { product(x, y, rows: n, inner: n, columns: n) }
    var x = times(transposed(u, rows: n), times(c, v))
    for j in 0..<n {
      for i in 0..<n {
        let sum = left[i] + right[j]
        x[j * n + i] = sum > 0 ? x[j * n + i] / sum : 0
      }
    }
    return times(u, times(x, transposed(v, rows: n)))
  }

  /// Xᵀ of X [rows, columns].
  package static func transposed(_ x: [Double], rows: Int) -> [Double] {
    let columns = rows == 0 ? 0 : x.count / rows
    return x.indices.map { x[$0 % columns * rows + $0 / columns] }
  }

  /// X·Y [rows, columns] of X [rows, inner] and Y [inner, columns].
  package static func product(_ x: [Double], _ y: [Double], rows: Int, inner: Int, columns: Int) -> [Double] {
    var result = [Double](repeating: 0, count: rows * columns)
    result.withUnsafeMutableBufferPointer { result in
      x.withUnsafeBufferPointer { x in
        for j in 0..<columns {
          for k in 0..<inner {
            let factor = y[j * inner + k]
            for i in 0..<rows { result[j * rows + i] += x[k * rows + i] * factor }
          }
        }
      }
    }
    return result
  }

  /// Thin QR: M [rows, columns] = Q·R with orthonormal columns in Q [rows, k] and R [k, columns] upper triangular, k = min.
  package static func qr(_ matrix: consuming [Double], rows: Int, columns: Int) -> (q: [Double], r: [Double]) {
    let k = min(rows, columns)
    var r = [Double](repeating: 0, count: k * columns)
    gora_dgeqrf(Int32(rows), Int32(columns), &matrix, &r)
    return (Array(matrix.prefix(rows * k)), r)
  }

  /// Thin SVD in double: M [rows, columns] = U·diag(S)·Vᵀ with U [rows, k] and Vᵀ [k, columns], k = min.
  /// - Returns: nil where the iteration did not converge.
  package static func svd(_ matrix: consuming [Double], rows: Int, columns: Int) -> (u: [Double], s: [Double], vt: [Double])? {
    let k = min(rows, columns)
    var s = [Double](repeating: 0, count: k)
    var u = [Double](repeating: 0, count: rows * k)
    var vt = [Double](repeating: 0, count: k * columns)
    return gora_dgesdd(Int32(rows), Int32(columns), &matrix, &s, &u, &vt) == 0 ? (u, s, vt) : nil
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

import GoraCore
import GoraModels

/// The step that an adapter's gradients stand for, g = s·B·g̃_A + s·g̃_B·A [out, in], nearest to the weight's own gradient G of
/// g_A = s·Bᵀ·G [r, in] and g_B = s·G·Aᵀ [out, r] (LoRA-Pro, theorem 2.1):
///
/// g̃_A = (Bᵀ·B)⁻¹·g_A/s² + X·A, g̃_B = (I − B·(Bᵀ·B)⁻¹·Bᵀ)·g_B·(A·Aᵀ)⁻¹/s² − B·X, for any X; that one is taken for which they are nearest to
/// g_A and g_B: Bᵀ·B·X + X·A·Aᵀ = −(Bᵀ·B)⁻¹·g_A·Aᵀ/s² (theorem 2.3). Systems [r, r] are solved in double precision.
struct EquivalentGradient {
  private let adapter: LowRankAdapter
  private let (rank, rows, columns): (Int, Int, Int)
  /// Bᵀ [r, out].
  private let bT: FloatBuffer
  /// A·Aᵀ and Bᵀ·B with the ridge.
  private let aa: [Double]
  private let bb: [Double]
  private let inverseSquare: Double

  /// Of the factors as they are: they stay so until the gradients are adjusted.
  init(_ adapter: LowRankAdapter) {
    self.adapter = adapter
    (rank, rows, columns) = (adapter.rank, adapter.b.shape[0], adapter.a.shape[1])
    bT = FloatBuffer(capacity: rank * rows)
    transpose(adapter.b.vector, rows: rows, columns: rank, into: bT.pointer)
    aa = ridgedGram(adapter.a.vector, rows: rank, columns: columns)
    bb = ridgedGram(bT.pointer, rows: rank, columns: rows)
    inverseSquare = 1 / (Double(adapter.scaling) * Double(adapter.scaling))
  }

  /// Puts g̃_A in the place of g_A [r, in] and g̃_B in that of g_B [out, r].
  /// - Parameter nearest: whether X is the one above; else it is 0.
  func adjust(a gradientA: FloatBuffer, b gradientB: FloatBuffer, nearest: Bool = true) {
    let a = adapter.a.vector
    // P = (BᵀB)⁻¹·g_A, column-major [r, in]: a right-hand side an input.
    var p = [Double](repeating: 0, count: rank * columns)
    for i in 0..<rank { for j in 0..<columns { p[j * rank + i] = Double(gradientA.pointer[i * columns + j]) } }
    p = solved(bb, p, n: rank)
    // Q = g_B·(AAᵀ)⁻¹, row-major [out, r], which is column-major [r, out].
    let q = solved(aa, (0..<rows * rank).map { Double(gradientB.pointer[$0]) }, n: rank)
    // R = (BᵀB)⁻¹·Bᵀ·Q [r, r], column-major.
    var r = solved(bb, products(bT, q, count: rows), n: rank)
    var x = [Double](repeating: 0, count: rank * rank)
    if nearest {
      // C = −P·Aᵀ/s², column-major.
      var c = [Double](repeating: 0, count: rank * rank)
      for j in 0..<rank {
        for i in 0..<rank {
          var sum = 0.0
          for k in 0..<columns { sum += p[k * rank + i] * Double(a[j * columns + k]) }
          c[j * rank + i] = -inverseSquare * sum
        }
      }
      x = LAPACK.solveSylvester(bb, aa, c, n: rank)
    }
    // g̃_A = P/s² + X·A; g̃_B = Q/s² − B·(R/s² + X).
    for i in 0..<rank {
      for j in 0..<columns {
        var value = inverseSquare * p[j * rank + i]
        for k in 0..<rank { value += x[k * rank + i] * Double(a[k * columns + j]) }
        gradientA.pointer[i * columns + j] = Float(value)
      }
    }
    for i in 0..<rank * rank { r[i] = inverseSquare * r[i] + x[i] }
    for i in 0..<rows {
      for j in 0..<rank {
        var value = inverseSquare * q[i * rank + j]
        for k in 0..<rank { value -= Double(bT.pointer[k * rows + i]) * r[j * rank + k] }
        gradientB.pointer[i * rank + j] = Float(value)
      }
    }
  }

  /// X·Y [r, r], column-major, of X [r, count] row-major and Y [count, r] row-major.
  private func products(_ x: FloatBuffer, _ y: [Double], count: Int) -> [Double] {
    var result = [Double](repeating: 0, count: rank * rank)
    for i in 0..<rank {
      for k in 0..<count {
        let factor = Double(x.pointer[i * count + k])
        for j in 0..<rank { result[j * rank + i] += factor * y[k * rank + j] }
      }
    }
    return result
  }
}

/// x [rows, columns] as [columns, rows].
func transpose(_ x: UnsafePointer<Float>, rows: Int, columns: Int, into y: UnsafeMutablePointer<Float>) {
  for i in 0..<rows { for j in 0..<columns { y[j * rows + i] = x[i * columns + j] } }
}

/// X·Xᵀ + 1e-8·I [rows, rows] of X [rows, columns]: what PEFT's code and LoRA-Pro's invert.
func ridgedGram(_ x: UnsafePointer<Float>, rows: Int, columns: Int) -> [Double] {
  var gram = FixedSum.gram(x, rows: rows, columns: columns)
  for i in 0..<rows { gram[i * rows + i] += 1e-8 }
  return gram
}

/// S⁻¹·R for symmetric positive definite S [n, n] and R [n, any], column-major; not a number throughout where S is none such, so that no
/// checkpoint takes what follows.
func solved(_ s: [Double], _ r: [Double], n: Int) -> [Double] {
  var x = r
  return LAPACK.solveSPD(s, n: n, &x, columns: r.count / n) ? x : [Double](repeating: .nan, count: r.count)
}

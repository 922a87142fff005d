/// Dense matrices in double precision, written for clarity: what the fast code is held against.
struct Dense {
  var values: [Double]
  let rows: Int
  let columns: Int

  init(_ values: [Double], _ rows: Int, _ columns: Int) {
    self.values = values
    self.rows = rows
    self.columns = columns
  }

  init(_ values: [Float], _ rows: Int, _ columns: Int) { self.init(values.map(Double.init), rows, columns) }

  subscript(i: Int, j: Int) -> Double { values[i * columns + j] }
  var floats: [Float] { values.map { Float($0) } }
  var norm: Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
  func scaled(_ s: Double) -> Dense { Dense(values.map { $0 * s }, rows, columns) }
  func inner(_ other: Dense) -> Double { zip(values, other.values).reduce(0) { $0 + $1.0 * $1.1 } }

  var transposed: Dense {
    var out = [Double](repeating: 0, count: values.count)
    for i in 0..<rows { for j in 0..<columns { out[j * rows + i] = values[i * columns + j] } }
    return Dense(out, columns, rows)
  }

  static func + (a: Dense, b: Dense) -> Dense { Dense(zip(a.values, b.values).map { $0 + $1 }, a.rows, a.columns) }
  static func - (a: Dense, b: Dense) -> Dense { a + b.scaled(-1) }

  static func * (a: Dense, b: Dense) -> Dense {
    var out = [Double](repeating: 0, count: a.rows * b.columns)
    a.values.withUnsafeBufferPointer { x in
      b.values.withUnsafeBufferPointer { y in
        for i in 0..<a.rows {
          for k in 0..<a.columns {
            let f = x[i * a.columns + k]
            for j in 0..<b.columns { out[i * b.columns + j] += f * y[k * b.columns + j] }
          }
        }
      }
    }
    return Dense(out, a.rows, b.columns)
  }

  /// Newton–Schulz: X ← X·(2I − A·X), from X = Aᵀ/‖A‖²; converges to the pseudo-inverse.
  func pseudoInverse() -> Dense {
    var x = transposed.scaled(1 / (norm * norm))
    for _ in 0..<60 { x = x.scaled(2) - x * (self * x) }
    return x
  }
}

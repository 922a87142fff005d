import GoraCore
import Testing

/// What the decompositions promise, checked by multiplying them out in double.
@Suite struct LAPACKTests {
  /// X·Y of row-major matrices.
  static func product(_ x: [Float], _ rows: Int, _ inner: Int, _ y: [Float], _ columns: Int) -> [Double] {
    var result = [Double](repeating: 0, count: rows * columns)
    for i in 0..<rows {
      for j in 0..<columns {
        for l in 0..<inner { result[i * columns + j] += Double(x[i * inner + l]) * Double(y[l * columns + j]) }
      }
    }
    return result
  }

  static func transposed(_ x: [Float], _ rows: Int, _ columns: Int) -> [Float] {
    (0..<rows * columns).map { x[$0 % rows * columns + $0 / rows] }
  }

  /// Largest distance of X·Xᵀ from the identity.
  static func distanceFromOrthonormal(_ x: [Float], _ rows: Int, _ columns: Int) -> Double {
    let gram = product(x, rows, columns, transposed(x, rows, columns), rows)
    return gram.enumerated().map { abs($1 - ($0 / rows == $0 % rows ? 1 : 0)) }.max() ?? 0
  }

  /// S·X + X·T = C, multiplied out; S of rank 1 less, so that only T makes it solvable.
  @Test(arguments: [1, 2, 9, 32]) func sylvester(_ n: Int) throws {
    try Matmul.open()
    let (x, y, c) = (numbers(n * n, "s"), numbers(n * n, "t"), numbers(n * n, "c").map(Double.init))
    func gram(_ m: [Float]) -> [Double] { Self.product(m, n, n, Self.transposed(m, n, n), n) }
    var singular = x
    if n > 1 { for j in 0..<n { singular[j] = 0 } }
    let (left, right) = (gram(singular), gram(y))
    let solution = LAPACK.solveSylvester(left, right, c, n: n)
    var worst = 0.0
    for j in 0..<n {
      for i in 0..<n {
        var sum = 0.0
        for k in 0..<n { sum += left[k * n + i] * solution[j * n + k] + solution[k * n + i] * right[j * n + k] }
        worst = max(worst, abs(sum - c[j * n + i]))
      }
    }
    // The smallest eigenvalue of a random Gram matrix of 32 is some 1e-3 of the largest: 13 digits less 4.
    #expect(worst < 1e-8, "\(worst)")
  }

  @Test(arguments: [[1, 1], [1, 7], [7, 1], [5, 3], [3, 5], [17, 17], [40, 24], [24, 40]]) func svd(_ shape: [Int]) throws {
    try Matmul.open()
    let (rows, columns) = (shape[0], shape[1])
    let k = min(rows, columns)
    let matrix = numbers(rows * columns, "svd")
    let (u, s, vt) = try #require(LAPACK.svd(matrix, rows: rows, columns: columns))
    #expect(u.count == rows * k && s.count == k && vt.count == k * columns)
    #expect(zip(s, s.dropFirst()).allSatisfy(>=) && s.allSatisfy { $0 >= 0 })
    let scaled = u.indices.map { u[$0] * s[$0 % k] }
    let again = Self.product(scaled, rows, k, vt, columns)
    #expect(relativeError(matrix, again) < 2e-6)
    #expect(Self.distanceFromOrthonormal(vt, k, columns) < 5e-6)
    #expect(Self.distanceFromOrthonormal(Self.transposed(u, rows, k), k, rows) < 5e-6)
    let values = try #require(LAPACK.singularValues(matrix, rows: rows, columns: columns))
    #expect(relativeError(values, s.doubles) < 2e-6)
  }

  /// diag(3, 2) in two known rotations: the values are 3 and 2, whatever the vectors' signs.
  @Test func knownSingularValues() throws {
    let values = try #require(LAPACK.singularValues([0, 2, 0, -3, 0, 0], rows: 2, columns: 3))
    #expect(relativeError(values, [3, 2]) < 1e-6)
  }

  @Test(arguments: [[1, 1], [1, 9], [4, 4], [5, 30], [24, 40]]) func orthonormalRows(_ shape: [Int]) throws {
    let (rows, columns) = (shape[0], shape[1])
    let matrix = numbers(rows * columns, "qr")
    let q = LAPACK.orthonormalRows(matrix, rows: rows, columns: columns)
    #expect(Self.distanceFromOrthonormal(q, rows, columns) < 3e-6)
    // M = L·Q with a lower triangle whose diagonal is positive: the same span, row by row.
    let l = Self.product(matrix, rows, columns, Self.transposed(q, rows, columns), rows)
    for i in 0..<rows {
      #expect(l[i * rows + i] > 0)
      for j in (i + 1)..<max(rows, i + 1) { #expect(abs(l[i * rows + j]) < 2e-5) }
    }
    #expect(relativeError(matrix, Self.product(l.map { Float($0) }, rows, rows, q, columns)) < 3e-6)
  }

  @Test(arguments: [1, 2, 5, 20]) func solveSPD(_ n: Int) {
    let m = numbers(n * n, "spd").doubles
    var s = [Double](repeating: 0, count: n * n)
    for i in 0..<n {
      for j in 0..<n {
        for l in 0..<n { s[i * n + j] += m[i * n + l] * m[j * n + l] }
        if i == j { s[i * n + j] += 0.5 }
      }
    }
    let columns = 3
    let exact = numbers(n * columns, "x").doubles
    var r = [Double](repeating: 0, count: n * columns)
    for c in 0..<columns {
      for i in 0..<n { for j in 0..<n { r[c * n + i] += s[i * n + j] * exact[c * n + j] } }
    }
    let untouched = s
    #expect(LAPACK.solveSPD(s, n: n, &r, columns: columns))
    #expect(s == untouched)
    for (x, expected) in zip(r, exact) { #expect(abs(x - expected) < 1e-10) }
  }

  @Test func solveSPDRefusesIndefinite() {
    var r = [1.0, 1]
    #expect(!LAPACK.solveSPD([1, 2, 2, 1], n: 2, &r, columns: 1))
    var none: [Double] = []
    #expect(LAPACK.solveSPD([], n: 0, &none, columns: 0))
  }
}

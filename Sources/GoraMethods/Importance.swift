import GoraCore

/// How much a weight matters to the loss, from the weight W and its mean gradient G (both [out, in]).
package enum ImportanceMetric: String, CaseIterable, Sendable {
  /// Mean of |W⊙G| (the paper's).
  case sensitivity
  /// Mean of |G|.
  case gradientMean = "gradient-mean"
  /// ‖G‖_F.
  case gradientFrobenius = "gradient-frobenius"
  /// ‖W⊙G‖_F.
  case sensitivityFrobenius = "sensitivity-frobenius"
  /// Mean over output rows of ‖(W⊙G)_row‖₂.
  case sensitivityRows = "sensitivity-rows"
  /// ‖G‖_*, the sum of singular values.
  case gradientNuclear = "gradient-nuclear"
  /// ‖W⊙G‖_*.
  case sensitivityNuclear = "sensitivity-nuclear"

  /// Whether the weight itself is needed, not only its gradient.
  package var needsWeight: Bool {
    switch self {
    case .sensitivity, .sensitivityFrobenius, .sensitivityRows, .sensitivityNuclear: true
    case .gradientMean, .gradientFrobenius, .gradientNuclear: false
    }
  }

  /// The importance of one weight; the same bits for any number of threads.
  ///
  /// - Parameters:
  ///   - weight: [rows × columns], row-major; nil is enough where `needsWeight` is false.
  ///   - gradient: of the same shape.
  /// - Throws: status 65 where the result is not finite (a NaN or infinity in the input).
  package func importance(weight: [Float]?, gradient: [Float], rows: Int, columns: Int) throws(GoraError) -> Double {
    let count = rows * columns
    precondition(gradient.count == count && (weight?.count ?? count) == count && (weight != nil || !needsWeight))
    guard count > 0 else { return 0 }
    let w = weight ?? []
    let value: Double
    switch self {
    case .sensitivity: value = BlockedSum.absolute(w, gradient) / Double(count)
    case .gradientMean: value = BlockedSum.absolute(gradient) / Double(count)
    case .gradientFrobenius: value = BlockedSum.squares(gradient).squareRoot()
    case .sensitivityFrobenius: value = BlockedSum.squares(w, gradient, 0..<count).squareRoot()
    case .sensitivityRows:
      value =
        (0..<rows).reduce(0) { $0 + BlockedSum.squares(w, gradient, $1 * columns..<($1 + 1) * columns).squareRoot() }
        / Double(rows)
    case .gradientNuclear: value = try Self.nuclearNorm(gradient, rows: rows, columns: columns)
    case .sensitivityNuclear:
      var product = gradient
      for i in 0..<count { product[i] *= w[i] }
      value = try Self.nuclearNorm(product, rows: rows, columns: columns)
    }
    guard value.isFinite else {
      throw GoraError(
        .data, "\(rawValue) is \(value): the gradient\(needsWeight ? " or the weight" : "") has a NaN or an infinity")
    }
    return value
  }

  private static func nuclearNorm(_ matrix: [Float], rows: Int, columns: Int) throws(GoraError) -> Double {
    // A scale near 1: gradients of 1e-20 must not underflow inside the decomposition.
    let largest = matrix.reduce(Float(0)) { max($0, $1.magnitude) }
    guard largest > 0, largest.isFinite else { return Double(largest) }
    let scaled = matrix.map { $0 / largest }
    guard scaled.allSatisfy(\.isFinite) else { return .nan }
    guard let values = LAPACK.singularValues(scaled, rows: rows, columns: columns) else {
      throw GoraError(.data, "the singular value decomposition did not converge")
    }
    return values.reduce(0) { $0 + Double($1) } * Double(largest)
  }
}

/// Sums in double precision in one fixed order: lanes within a block, then block after block.
enum BlockedSum {
  private static let block = 8192

  /// Σ|x|
  static func absolute(_ x: [Float]) -> Double { sum(x, x, 0..<x.count) { a, _ in magnitude(a) } }

  /// Σ|x·y|; a product of two floats is exact in double.
  static func absolute(_ x: [Float], _ y: [Float]) -> Double { sum(x, y, 0..<x.count) { a, b in magnitude(a * b) } }

  /// Σx²
  static func squares(_ x: [Float]) -> Double { sum(x, x, 0..<x.count) { a, _ in a * a } }

  /// Σ(x·y)² over a range.
  static func squares(_ x: [Float], _ y: [Float], _ range: Range<Int>) -> Double {
    sum(x, y, range) { a, b in
      let product = a * b
      return product * product
    }
  }

  /// Σx·y
  static func products(_ x: [Float], _ y: [Float]) -> Double { sum(x, y, 0..<x.count) { a, b in a * b } }

  @inline(__always)
  private static func magnitude(_ x: SIMD8<Double>) -> SIMD8<Double> { x.replacing(with: -x, where: x .< 0) }

  @inline(__always)
  private static func sum(
    _ x: [Float], _ y: [Float], _ range: Range<Int>, _ term: (SIMD8<Double>, SIMD8<Double>) -> SIMD8<Double>
  ) -> Double {
    x.withUnsafeBufferPointer { x in
      y.withUnsafeBufferPointer { y in
        var total = 0.0
        var from = range.lowerBound
        while from < range.upperBound {
          let to = min(from + block, range.upperBound)
          var lanes = SIMD8<Double>()
          var i = from
          while i + 8 <= to {
            let a = UnsafeRawPointer(x.baseAddress! + i).loadUnaligned(as: SIMD8<Float>.self)
            let b = UnsafeRawPointer(y.baseAddress! + i).loadUnaligned(as: SIMD8<Float>.self)
            lanes += term(SIMD8<Double>(a), SIMD8<Double>(b))
            i += 8
          }
          var rest = SIMD8<Float>()
          var other = SIMD8<Float>()
          for lane in 0..<(to - i) {
            rest[lane] = x[i + lane]
            other[lane] = y[i + lane]
          }
          lanes += term(SIMD8<Double>(rest), SIMD8<Double>(other))
          total += lanes.sum()
          from = to
        }
        return total
      }
    }
  }
}

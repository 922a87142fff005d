/// Sums in double precision in one fixed order: lanes within a block, then block after block.
enum BlockedSum {
  private static let block = 8192

  /// Σx²
  static func squares(_ x: [Float]) -> Double { products(x, x) }

  /// Σx·y; a product of two floats is exact in double.
  static func products(_ x: [Float], _ y: [Float]) -> Double {
    x.withUnsafeBufferPointer { x in
      y.withUnsafeBufferPointer { y in
        var total = 0.0
        var from = 0
        while from < x.count {
          let to = min(from + block, x.count)
          var lanes = SIMD8<Double>()
          var i = from
          while i + 8 <= to {
            let a = UnsafeRawPointer(x.baseAddress! + i).loadUnaligned(as: SIMD8<Float>.self)
            let b = UnsafeRawPointer(y.baseAddress! + i).loadUnaligned(as: SIMD8<Float>.self)
            lanes += SIMD8<Double>(a) * SIMD8<Double>(b)
            i += 8
          }
          var rest = SIMD8<Float>()
          var other = SIMD8<Float>()
          for lane in 0..<(to - i) {
            rest[lane] = x[i + lane]
            other[lane] = y[i + lane]
          }
          lanes += SIMD8<Double>(rest) * SIMD8<Double>(other)
          total += lanes.sum()
          from = to
        }
        return total
      }
    }
  }
}

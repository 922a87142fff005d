import CGoraKernels

/// Sums in double precision over fixed blocks, added up in order: the same bits for any number of threads.
package enum FixedSum {
  private static let block = 1 << 18
  private static let productBlock = 8192

  /// Σx²
  package static func squares(_ x: [Float]) -> Double {
    x.withUnsafeBufferPointer { x in
      guard let start = x.baseAddress else { return 0 }
      return blocks(of: x.count) { gora_sum_squares(start + $0.lowerBound, $0.count) }
    }
  }

  /// ‖W‖² of a stored matrix, widened block by block.
  package static func squares(_ matrix: WeightMatrix) -> Double {
    let rows = max(1, block / max(1, matrix.columns))
    return blocks(of: matrix.rows, by: rows) { range in
      withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count * matrix.columns) { wide in
        guard let start = wide.baseAddress else { return 0 }
        matrix.widen(range, into: start)
        return gora_sum_squares(start, range.count * matrix.columns)
      }
    }
  }

  /// X·Xᵀ [rows, rows] of X [rows, columns], row-major.
  package static func gram(_ x: UnsafePointer<Float>, rows: Int, columns: Int) -> [Double] {
    var values = [Double](repeating: 0, count: rows * rows)
    values.withUnsafeMutableBufferPointer { values in
      nonisolated(unsafe) let (values, x) = (values, x)
      // Line i and line r−1−i together are as much work as any other pair.
      parallelParts((rows + 1) / 2) { pair in
        for i in [pair, rows - 1 - pair] {
          for j in 0...i {
            let product = product(x + i * columns, x + j * columns, count: columns)
            values[i * rows + j] = product
            values[j * rows + i] = product
          }
        }
      }
    }
    return values
  }

  /// Σx·y on the calling thread; a product of two floats is exact in double.
  package static func product(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, count: Int) -> Double {
    var total = 0.0
    var from = 0
    while from < count {
      let to = min(from + productBlock, count)
      var lanes = SIMD8<Double>()
      var i = from
      while i + 8 <= to {
        let a = UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self)
        let b = UnsafeRawPointer(y + i).loadUnaligned(as: SIMD8<Float>.self)
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

  private static func blocks(of count: Int, by size: Int = block, _ sum: (Range<Int>) -> Double) -> Double {
    var partial = [Double](repeating: 0, count: (count + size - 1) / size)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(partial.count) { partial[$0] = sum($0 * size..<min(count, ($0 + 1) * size)) }
    }
    return partial.reduce(0, +)
  }
}

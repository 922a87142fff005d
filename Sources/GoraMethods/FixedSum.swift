import CGoraKernels
import GoraCore

/// Sums in double precision over fixed blocks, added up in order: the same bits for any number of threads.
package enum FixedSum {
  private static let block = 1 << 18

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

  private static func blocks(of count: Int, by size: Int = block, _ sum: (Range<Int>) -> Double) -> Double {
    var partial = [Double](repeating: 0, count: (count + size - 1) / size)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(partial.count) { partial[$0] = sum($0 * size..<min(count, ($0 + 1) * size)) }
    }
    return partial.reduce(0, +)
  }
}

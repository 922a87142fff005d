import CGoraKernels
import GoraCore

/// A weight W and its mean gradient G, both [out, in] and looked at where they lie.
///
/// Sums over them run on the pool in fixed blocks of whole rows and are added up in order: the same bits for any number of threads.
package struct WeightGradient: @unchecked Sendable {
  package let weight: WeightMatrix
  /// [rows × columns], row-major; valid for as long as the caller says.
  package let gradient: UnsafePointer<Float>

  package init(weight: WeightMatrix, gradient: UnsafePointer<Float>) {
    self.weight = weight
    self.gradient = gradient
  }

  var rows: Int { weight.rows }
  var columns: Int { weight.columns }
  var count: Int { rows * columns }

  /// avg|W⊙G|, the paper's importance; 0 for an empty weight.
  package var meanAbsoluteProduct: Double {
    count == 0 ? 0 : sumOfPairs { w, g, count in gora_abs_product_sum(w, g, count) } / Double(count)
  }

  /// Σ over blocks of `term(G, count)`.
  func sumOfGradients(_ term: (UnsafePointer<Float>, Int) -> Double) -> Double {
    sum { range in term(gradient + range.lowerBound * columns, range.count * columns) }
  }

  /// Σ over blocks of `term(W, G, count)`.
  func sumOfPairs(_ term: (UnsafePointer<Float>, UnsafePointer<Float>, Int) -> Double) -> Double {
    sum { range in withRows(range, term) }
  }

  /// Σ over the rows of `term(W_row, G_row, columns)`.
  func sumOfRowPairs(_ term: (UnsafePointer<Float>, UnsafePointer<Float>, Int) -> Double) -> Double {
    sum { range in
      withRows(range) { w, g, count in
        var total = 0.0
        for at in stride(from: 0, to: count, by: columns) { total += term(w + at, g + at, columns) }
        return total
      }
    }
  }

  /// factor·(W⊙G), or factor·G, as a matrix of its own [rows × columns].
  func scaled(by factor: Double, weighted: Bool) -> [Float] {
    [Float](unsafeUninitializedCapacity: count) { out, initialized in
      initialized = count
      guard let start = out.baseAddress else { return }
      nonisolated(unsafe) let target = start
      parallelParts(blocks) { index in
        let range = self.range(index)
        let own = target + range.lowerBound * columns
        if weighted {
          withRows(range) { w, g, count in gora_scaled_product(w, g, factor, own, count) }
        } else {
          gora_scaled(gradient + range.lowerBound * columns, factor, own, range.count * columns)
        }
      }
    }
  }

  private var rowsInBlock: Int { max(1, 65_536 / max(1, columns)) }
  private var blocks: Int { (rows + rowsInBlock - 1) / rowsInBlock }
  private func range(_ block: Int) -> Range<Int> { block * rowsInBlock..<min(rows, (block + 1) * rowsInBlock) }

  /// Rows of W, widened where they are not f32 already, and of G.
  private func withRows<Result>(
    _ range: Range<Int>, _ body: (UnsafePointer<Float>, UnsafePointer<Float>, Int) -> Result
  ) -> Result {
    let offset = range.lowerBound * columns
    let count = range.count * columns
    if case .f32(let values) = weight.storage { return body(values + offset, gradient + offset, count) }
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, count)) { wide in
      let start = wide.baseAddress!
      weight.widen(range, into: start)
      return body(start, gradient + offset, count)
    }
  }

  private func sum(_ term: (Range<Int>) -> Double) -> Double {
    var partial = [Double](repeating: 0, count: blocks)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(blocks) { index in partial[index] = term(range(index)) }
    }
    return partial.reduce(0, +)
  }
}

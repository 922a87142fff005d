import CGoraKernels
import GoraCore

/// A weight W and its mean gradient G, both [out, in] and looked at where they lie.
///
/// Sums over them run on the pool in fixed blocks of whole rows and are added up in order: the same bits for any number of threads.
package struct WeightGradient: @unchecked Sendable {
  package let weight: WeightMatrix
  /// [rows × columns], row-major; valid for as long as the caller says.
  package let gradient: UnsafePointer<Float>
  /// The row that `gradient` begins with: 0, or where only some rows of G are at hand the first of them.
  private let firstRow: Int

  package init(weight: WeightMatrix, gradient: UnsafePointer<Float>, firstRow: Int = 0) {
    self.weight = weight
    self.gradient = gradient
    self.firstRow = firstRow
  }

  var rows: Int { weight.rows }
  var columns: Int { weight.columns }
  var count: Int { rows * columns }

  /// avg|W⊙G|, the paper's importance; 0 for an empty weight.
  package var meanAbsoluteProduct: Double {
    count == 0 ? 0 : absoluteProducts(of: 0..<blocks.count).reduce(0, +) / Double(count)
  }

  /// Σ|W⊙G| of each of these blocks: of all of them, added up in order and over `count`, it is `meanAbsoluteProduct`.
  /// - Parameter preparing: called before a block's rows of G are read, on the thread that reads them.
  package func absoluteProducts(of part: Range<Int>, preparing: (_ rows: Range<Int>) -> Void = { _ in }) -> [Double] {
    let blocks = blocks
    var partial = [Double](repeating: 0, count: part.count)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(part.count) { index in
        let rows = blocks.rows(of: part.lowerBound + index)
        preparing(rows)
        partial[index] = withRows(rows) { w, g, count in gora_abs_product_sum(w, g, count) }
      }
    }
    return partial
  }

  /// Σ over blocks of `term(G, count)`.
  func sumOfGradients(_ term: (UnsafePointer<Float>, Int) -> Double) -> Double {
    sum { range in term(values(from: range.lowerBound), range.count * columns) }
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
      parallelParts(blocks.count) { index in
        let range = blocks.rows(of: index)
        let own = target + range.lowerBound * columns
        if weighted {
          withRows(range) { w, g, count in gora_scaled_product(w, g, factor, own, count) }
        } else {
          gora_scaled(values(from: range.lowerBound), factor, own, range.count * columns)
        }
      }
    }
  }

  package var blocks: RowBlocks { RowBlocks(rows: rows, columns: columns) }

  private func values(from row: Int) -> UnsafePointer<Float> { gradient + (row - firstRow) * columns }

  /// Rows of W, widened where they are not f32 already, and of G.
  private func withRows<Result>(
    _ range: Range<Int>, _ body: (UnsafePointer<Float>, UnsafePointer<Float>, Int) -> Result
  ) -> Result {
    let own = values(from: range.lowerBound)
    let count = range.count * columns
    if case .f32(let values) = weight.storage { return body(values + range.lowerBound * columns, own, count) }
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, count)) { wide in
      let start = wide.baseAddress!
      weight.widen(range, into: start)
      return body(start, own, count)
    }
  }

  private func sum(_ term: (Range<Int>) -> Double) -> Double {
    let blocks = blocks
    var partial = [Double](repeating: 0, count: blocks.count)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(blocks.count) { index in partial[index] = term(blocks.rows(of: index)) }
    }
    return partial.reduce(0, +)
  }
}

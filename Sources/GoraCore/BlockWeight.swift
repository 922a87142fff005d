import CGoraKernels

/// A frozen matrix in ggml's quantised blocks where it lies, row-major; its rows may lie in another order.
package struct BlockWeight: @unchecked Sendable {
  private let type: gora_block_type
  private let bytes: UnsafeRawPointer
  private let columns: Int
  private let rowBytes: Int
  private let rowOrder: RowOrder?

  /// - Parameters:
  ///   - bytes: rows of whole blocks; they must outlive the value.
  ///   - rowOrder: where the rows lie; nil: in their order.
  package init(_ dtype: DType, _ bytes: UnsafeRawPointer, columns: Int, rowOrder: RowOrder? = nil) {
    precondition(columns % dtype.block.elements == 0)
    type =
      switch dtype {
      case .q80: GORA_Q8_0
      case .q40: GORA_Q4_0
      case .q41: GORA_Q4_1
      case .q50: GORA_Q5_0
      case .q51: GORA_Q5_1
      case .q4k: GORA_Q4_K
      case .q5k: GORA_Q5_K
      case .q6k: GORA_Q6_K
      default: preconditionFailure("\(dtype) has no blocks")
      }
    self.bytes = bytes
    self.columns = columns
    rowBytes = columns / dtype.block.elements * dtype.block.bytes
    self.rowOrder = rowOrder
  }

  /// Writes the elements of a range of the flattened matrix.
  /// - Parameter rounds: to bf16, to the nearest.
  package func decode(_ range: Range<Int>, rounds: Bool = false, into out: UnsafeMutablePointer<Float>) {
    pieces(range) { gora_blocks_decode(type, bytes, $0, $1, rounds, out + $2) }
  }

  /// Writes them in bf16, to the nearest.
  package func decode(_ range: Range<Int>, into out: UnsafeMutablePointer<UInt16>) {
    pieces(range) { gora_blocks_decode_bf16(type, bytes, $0, $1, out + $2) }
  }

  /// y = W·x of the rows that lie in a range, each put where it belongs in y: decoded in registers, so that reading the blocks is all the
  /// reading there is.
  /// - Parameter rounds: whether W is rounded to bf16
  package func multiply(
    stored range: Range<Int>, rounds: Bool, _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    place(range, into: y, accumulates: accumulates) { gora_blocks_multiply(type, $0, rounds, x, $1, range.count, columns) }
  }

  /// The same for W rounded to bf16 and x in it, where the CPU multiplies bf16 itself.
  package func multiply(
    stored range: Range<Int>, _ x: UnsafePointer<UInt16>, into y: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    place(range, into: y, accumulates: accumulates) { gora_blocks_multiply_bf16(type, $0, x, $1, range.count, columns) }
  }

  @inline(__always)
  private func place(
    _ range: Range<Int>, into y: UnsafeMutablePointer<Float>, accumulates: Bool,
    _ multiply: (UnsafeRawPointer, UnsafeMutablePointer<Float>) -> Void
  ) {
    let start = bytes + range.lowerBound * rowBytes
    if rowOrder == nil, !accumulates { return multiply(start, y + range.lowerBound) }
    withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count) { sums in
      guard let first = sums.baseAddress else { return }
      multiply(start, first)
      for (place, sum) in zip(range, sums) {
        let row = rowOrder?.row(at: place) ?? place
        y[row] = accumulates ? y[row] + sum : sum
      }
    }
  }

  /// The pieces of a range that lie together: where each begins, its length, and where it goes.
  @inline(__always)
  private func pieces(_ range: Range<Int>, _ body: (_ from: Int, _ count: Int, _ out: Int) -> Void) {
    guard let rowOrder else { return body(range.lowerBound, range.count, 0) }
    var at = range.lowerBound
    while at < range.upperBound {
      let (row, column) = at.quotientAndRemainder(dividingBy: columns)
      let count = min(columns - column, range.upperBound - at)
      body(rowOrder.place(of: row) * columns + column, count, at - range.lowerBound)
      at += count
    }
  }
}

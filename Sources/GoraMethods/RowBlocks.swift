/// The blocks of whole rows in which sums over a weight [rows, columns] are taken: the same for any number of threads or processes.
package struct RowBlocks: Sendable, Equatable {
  package let rows: Int
  /// Rows of each block but the last.
  private let height: Int

  package init(rows: Int, columns: Int) {
    self.rows = rows
    height = max(1, 65_536 / max(1, columns))
  }

  package var count: Int { (rows + height - 1) / height }

  /// The rows of some blocks.
  package func rows(of blocks: Range<Int>) -> Range<Int> {
    min(rows, blocks.lowerBound * height)..<min(rows, blocks.upperBound * height)
  }

  package func rows(of block: Int) -> Range<Int> { rows(of: block..<block + 1) }
}

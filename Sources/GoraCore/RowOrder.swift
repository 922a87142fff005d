/// Rows of queries or keys that lie in another order than Hugging Face's: within each head the two rows that the rotary embedding turns
/// together, j and headSize/2 + j, are neighbours.
package struct RowOrder: Sendable, Equatable {
  /// Rows of one head, an even number.
  package let headSize: Int

  package init(headSize: Int) {
    precondition(headSize > 0 && headSize % 2 == 0)
    self.headSize = headSize
  }

  /// Where the row lies that Hugging Face has at `row`.
  package func place(of row: Int) -> Int {
    let (head, within) = (row / headSize, row % headSize)
    let half = headSize / 2
    return head * headSize + (within < half ? 2 * within : 2 * (within - half) + 1)
  }
  /// The row that Hugging Face has there: the inverse.
  package func row(at place: Int) -> Int {
    let (head, within) = (place / headSize, place % headSize)
    return head * headSize + within / 2 + (within % 2 == 0 ? 0 : headSize / 2)
  }
}

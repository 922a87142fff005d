import GoraCore
import GoraMethods

/// Which process sums which rows of a weight: whole `RowBlocks`, about as many each. From one weight to the next the processes take turns, so
/// that weights of few blocks do not all fall to the same one.
struct RowShares {
  let blocks: RowBlocks
  /// By process; those of all are the weight's blocks.
  let parts: [Range<Int>]

  /// - Parameter index: of the weight among all that are summed.
  init(_ blocks: RowBlocks, index: Int, processes: Int = ProcessGroup.size) {
    self.blocks = blocks
    parts = (0..<processes).map { rank in
      let turn = (rank + index) % processes
      return blocks.count * turn / processes..<blocks.count * (turn + 1) / processes
    }
  }

  /// The rows of a process.
  func rows(of rank: Int) -> Range<Int> { blocks.rows(of: parts[rank]) }
}

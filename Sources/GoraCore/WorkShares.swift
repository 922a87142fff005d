/// Which process does which of several pieces of work.
package struct WorkShares: Sendable, Equatable {
  /// Of each piece.
  package let owners: [Int]

  /// By falling cost, each piece goes to the process that has least so far; of equals the first.
  package init(costs: [Int], processes: Int = ProcessGroup.size) {
    var owners = [Int](repeating: 0, count: costs.count)
    var loads = [Int](repeating: 0, count: processes)
    for piece in costs.indices.sorted(by: { (-costs[$0], $0) < (-costs[$1], $1) }) {
      let least = loads.indices.min { loads[$0] < loads[$1] } ?? 0
      owners[piece] = least
      loads[least] += costs[piece]
    }
    self.owners = owners
  }

  private init(owners: [Int]) { self.owners = owners }

  /// The shares of what the pieces are made of.
  /// - Parameter pieces: the items of each; all together are 0 ..< their number.
  package func items(of pieces: [[Int]]) -> WorkShares {
    var owners = [Int](repeating: 0, count: pieces.reduce(0) { $0 + $1.count })
    for (owner, items) in zip(self.owners, pieces) {
      for item in items { owners[item] = owner }
    }
    return WorkShares(owners: owners)
  }

  /// The pieces of this process, in order.
  package var own: [Int] { owners.indices.filter { owners[$0] == ProcessGroup.rank } }

  /// Pieces of each process.
  package var counts: [Int] { (0..<ProcessGroup.size).map { rank in owners.count { $0 == rank } } }

  /// What all processes have found of their pieces, on each of them, in the order of the pieces.
  /// - Parameter found: values of each piece; those of others' are not looked at.
  package func gathered<Value: BitwiseCopyable>(_ found: [[Value]]) -> [[Value]] {
    if ProcessGroup.isAlone { return found }
    let counts = ProcessGroup.allGather(own.map { Int64(found[$0].count) })
    let values = ProcessGroup.allGather(own.flatMap { found[$0] })
    var next = [(piece: Int, value: Int)](repeating: (0, 0), count: counts.count)
    return owners.map { rank in
      let from = next[rank].value
      next[rank].value += Int(counts[rank][next[rank].piece])
      next[rank].piece += 1
      return Array(values[rank][from..<next[rank].value])
    }
  }
}

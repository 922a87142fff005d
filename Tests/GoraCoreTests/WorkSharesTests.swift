import Testing

@testable import GoraCore

/// `Tests/mpi/run` has processes that gather.
@Suite struct WorkSharesTests {
  /// The costliest first, each to the one with least: here as even as it can be.
  @Test(arguments: [
    ([5, 4, 3, 2, 1], 2, [0, 1, 1, 0, 0]), ([1, 9, 1], 2, [1, 0, 1]), ([7, 7, 7, 7], 3, [0, 1, 2, 0]), ([], 3, []),
    ([0, 0], 2, [0, 0]), ([3], 4, [0]),
  ])
  func owners(costs: [Int], processes: Int, expected: [Int]) {
    #expect(WorkShares(costs: costs, processes: processes).owners == expected)
  }

  @Test func items() {
    let shares = WorkShares(costs: [5, 9, 6], processes: 2)
    #expect(shares.owners == [1, 0, 1])
    #expect(shares.items(of: [[4, 0], [2], [1, 3]]).owners == [1, 1, 0, 1, 1])
  }

  /// Alone all is one's own, and told at once.
  @Test func alone() {
    let shares = WorkShares(costs: [3, 1, 2])
    #expect(shares.own == [0, 1, 2] && shares.counts == [3])
    #expect(shares.gathered([[1, 2], [], [3]] as [[Int32]]) == [[1, 2], [], [3]])
    var told: [Int] = []
    let count = SharedCount(pieces: shares.counts)
    count.add(7) { told.append($0) }
    count.add { told.append($0) }
    #expect(told == [7, 1])
    count.finish { _ in Issue.record("told twice") }
  }
}

import Testing

@testable import GoraStages

@Suite struct PromptGroupsTests {
  /// Every prompt once, long ones first in a group; no group of more than so many batches, none more than a batch larger than another, and one at
  /// most that is not of whole batches.
  @Test(arguments: [(0, 16), (1, 16), (16, 16), (192, 16), (193, 16), (1319, 16), (30, 1), (164, 4), (100, 128)])
  func sizes(count: Int, batchSize: Int) {
    let lengths = (0..<count).map { 20 + $0 * 37 % 91 }
    let groups = PromptGroups(lengths: lengths, temperatures: lengths.map { _ in 0 }, batchSize: batchSize).groups
    let most = PromptGroups.batches * batchSize
    #expect(groups.joined().sorted() == Array(0..<count))
    #expect(groups.count == (count + most - 1) / most)
    let sizes = groups.map(\.count)
    #expect((sizes.max() ?? 0) - (sizes.min() ?? 0) <= batchSize && (sizes.max() ?? 0) <= most)
    #expect(sizes.count { $0 % batchSize > 0 } <= 1)
    for group in groups { #expect(zip(group, group.dropFirst()).allSatisfy { lengths[$0] >= lengths[$1] }) }
  }

  /// Batches in turn; what is sampled at another temperature is another group.
  @Test func order() {
    let lengths = [3, 5, 4, 9] + [Int](repeating: 2, count: 24)
    #expect(
      PromptGroups(lengths: lengths, temperatures: lengths.map { _ in 0 }, batchSize: 2).groups.map { Array($0.prefix(4)) }
        == [[3, 1, 4, 5], [2, 0, 6, 7]])
    let groups = PromptGroups(lengths: [3, 5, 4, 9], temperatures: [0.7, 0, 0.7, 0], batchSize: 16).groups
    #expect(groups == [[3, 1], [2, 0]])
  }
}

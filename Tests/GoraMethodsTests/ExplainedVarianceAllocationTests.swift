import GoraCore
import Testing

@testable import GoraMethods

@Suite struct ExplainedVarianceAllocationTests {
  private func module(_ name: String, rows: Int = 8, columns: Int = 8) -> RankCandidate {
    RankCandidate(name: name, rows: rows, columns: columns, advantage: 0)
  }

  /// R·n = 6 of twelve ratios, counted by hand.
  @Test func theLargestRatiosWin() throws {
    let modules = ["a", "b", "c"].map { module($0) }
    let ratios = [[0.5, 0.2, 0.05, 0.01], [0.3, 0.25, 0.22, 0.18], [0.19, 0.06, 0.05, 0.04]]
    let allocation = ExplainedVarianceAllocation(referenceRank: 2, maxRank: 4)
    #expect(try allocation.ranks(for: modules, ratios: ratios) == [2, 3, 1])
    // No more than ρ·R components of a module are pooled.
    #expect(try ExplainedVarianceAllocation(referenceRank: 2, maxRank: 2).ranks(for: modules, ratios: ratios) == [2, 2, 2])
    #expect(
      try ExplainedVarianceAllocation(referenceRank: 1, maxRank: 3).ranks(for: modules, ratios: ratios) == [1, 2, 0])
  }

  /// Modules that share their inputs: what is left over goes to the first of them, as in PEFT.
  @Test func equalRatiosGoToTheFirst() throws {
    let modules = ["q", "k", "v", "o"].map { module($0) }
    let shared = [0.4, 0.2]
    let allocation = ExplainedVarianceAllocation(referenceRank: 1, maxRank: 2)
    #expect(try allocation.ranks(for: modules, ratios: [shared, shared, shared, [0.1, 0.05]]) == [2, 1, 1, 0])
    #expect(try allocation.ranks(for: modules, ratios: [[0.1, 0.05], shared, shared, shared]) == [0, 2, 1, 1])
  }

  /// A weight of two outputs takes no third rank.
  @Test func ranksFitTheirWeights() throws {
    let modules = [module("a", rows: 2), module("b")]
    #expect(
      try ExplainedVarianceAllocation(referenceRank: 2, maxRank: 4).ranks(
        for: modules, ratios: [[0.3, 0.2, 0.15, 0.15], [0.1, 0.05, 0.02, 0.01]]) == [2, 2])
  }

  @Test func tooFewComponentsAreNamed() throws {
    let allocation = ExplainedVarianceAllocation(referenceRank: 2, maxRank: 4)
    for (ratios, hint) in [([0.5, 0.2], "--input-components 4"), ([], "--metric explained-variance")] {
      let error = #expect(throws: GoraError.self) { try allocation.ranks(for: [module("a")], ratios: [ratios]) }
      #expect(error?.status == .data && error?.hint?.contains(hint) == true)
    }
    // Inputs of two have no more than two.
    #expect(try allocation.ranks(for: [module("a", columns: 2)], ratios: [[0.5, 0.2]]) == [2])
  }
}

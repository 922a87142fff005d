import GoraCore
import Testing

@testable import GoraMethods

@Suite struct RankAllocationTests {
  /// Attention and MLP shapes of a grouped-query model, with log-normal importances.
  private func modules(_ random: inout Random, count: Int) -> [RankCandidate] {
    let shapes = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (4096, 14336), (96, 40)]
    return (0..<count).map { i in
      let shape = random.element(of: shapes)
      var importance = 1.0
      let power = random.normal()
      for _ in 0..<4 { importance *= 1 + 0.3 * abs(power) }
      return RankCandidate(
        name: "layers.\(i)", rows: shape.0, columns: shape.1,
        importance: 1e-7 * (power > 0 ? importance : 1 / importance) * (0.5 + random.uniform()))
    }
  }

  /// The paper's formula as the reference script has it, in one line of arithmetic.
  @Test func ranksEqualThePapersFormula() throws {
    var random = Random(seed: 3, stream: "formula")
    for trial in 0..<200 {
      let modules = modules(&random, count: 1 + random.below(60))
      let rank = [4, 8, 32][trial % 3]
      let allocation = try RankAllocation(referenceRank: rank)
      let b = modules.reduce(0.0) { $0 + Double(rank) * Double($1.rows + $1.columns).squareRoot() }
      let total = modules.reduce(0) { $0 + $1.importance }
      let expected = modules.map { m in
        let x = b * m.importance / total / Double(m.rows + m.columns).squareRoot()
        let rounded = x.rounded(.toNearestOrEven)
        return min(Int(min(max(rounded, Double(rank / 2)), Double(4 * rank))), min(m.rows, m.columns))
      }
      #expect(try allocation.ranks(for: modules) == expected)
    }
  }

  @Test func linearFeatureKeepsTheBudgetForAnyImportances() throws {
    // Σ r_i·x_i = R·Σ x_i holds before rounding and clipping; with ranks in the thousands rounding is all that is left of it.
    var random = Random(seed: 4, stream: "linear")
    for _ in 0..<20 {
      let modules = (0..<30).map {
        RankCandidate(
          name: "m\($0)", rows: 1_000_000 + random.below(1_000_000), columns: 1_000_000 + random.below(1_000_000),
          importance: 0.1 + random.uniform())
      }
      var allocation = try RankAllocation(referenceRank: 10_000, minRank: 0, maxRank: 900_000)
      allocation.feature = .linear
      let parameters = RankAllocation.parameters(ranks: try allocation.ranks(for: modules), modules)
      let lora = RankAllocation.parameters(rank: 10_000, modules)
      #expect(abs(parameters - lora) <= modules.reduce(0) { $0 + $1.parametersPerRank } / 2)
    }
  }

  @Test func orderOfTheModulesDoesNotMatter() throws {
    var random = Random(seed: 5, stream: "order")
    for budget in BudgetRule.allCases {
      for feature in BudgetFeature.allCases {
        let modules = modules(&random, count: 40)
        var allocation = try RankAllocation(referenceRank: 8)
        allocation.budget = budget
        allocation.feature = feature
        let ranks = try allocation.ranks(for: modules)
        var order = Array(modules.indices)
        random.shuffle(&order)
        #expect(try allocation.ranks(for: order.map { modules[$0] }) == order.map { ranks[$0] })
      }
    }
  }

  @Test func moreImportanceNeverMeansLessRank() throws {
    var random = Random(seed: 6, stream: "monotone")
    for rounding in RankRounding.allCases {
      for budget in BudgetRule.allCases {
        let modules = modules(&random, count: 50)
        var allocation = try RankAllocation(referenceRank: 8)
        allocation.rounding = rounding
        allocation.budget = budget
        let ranks = try allocation.ranks(for: modules)
        for i in modules.indices {
          for j in modules.indices
          where modules[i].rows == modules[j].rows && modules[i].columns == modules[j].columns
            && modules[i].importance > modules[j].importance
          {
            #expect(ranks[i] >= ranks[j], "\(rounding) \(budget)")
          }
        }
      }
    }
  }

  @Test func boundsHoldAndSmallWeightsCapThem() throws {
    var random = Random(seed: 7, stream: "bounds")
    for budget in BudgetRule.allCases {
      var modules = modules(&random, count: 30)
      modules[0].rows = 3
      modules[1].columns = 20
      modules[1].importance = 1
      var allocation = try RankAllocation(referenceRank: 16, minRank: 6, maxRank: 40)
      allocation.budget = budget
      for (rank, module) in zip(try allocation.ranks(for: modules), modules) {
        let cap = min(module.rows, module.columns)
        #expect(rank >= min(6, cap) && rank <= min(40, cap))
      }
    }
  }

  @Test func exactBudgetEndsWithinOneRankStepOfLoRA() throws {
    var random = Random(seed: 8, stream: "exact")
    for trial in 0..<100 {
      let modules = modules(&random, count: 2 + random.below(60))
      var allocation = try RankAllocation(referenceRank: [4, 8, 24][trial % 3])
      allocation.budget = .exact
      allocation.rounding = RankRounding.allCases[trial % 3]
      allocation.feature = BudgetFeature.allCases[trial / 3 % 3]
      let ranks = try allocation.ranks(for: modules)
      let off =
        RankAllocation.parameters(ranks: ranks, modules)
        - RankAllocation.parameters(rank: allocation.referenceRank, modules)
      let step = modules.map(\.parametersPerRank).max() ?? 0
      #expect(off <= 0 && -off < step, "off by \(off) of a step of \(step)")
    }
  }

  @Test func tiesGoByName() throws {
    // Three equal modules whose ideal rank is 8 each, and one that clipping cuts from above: what it loses goes to b, then c.
    let modules =
      ["d", "c", "b"].map { RankCandidate(name: $0, rows: 10, columns: 90, importance: 1) }
      + [RankCandidate(name: "a", rows: 4, columns: 46, importance: 1)]
    var allocation = try RankAllocation(referenceRank: 8, minRank: 1, maxRank: 10)
    allocation.feature = .linear
    allocation.budget = .exact
    // Open: 7, 7, 7 and 4 (capped by its rows): 2300 of 2800; five steps of 100 are left for three equals.
    #expect(try allocation.ranks(for: modules) == [8, 9, 9, 4])
  }

  @Test func importancesThatCannotBeSharedAreRefused() throws {
    let allocation = try RankAllocation(referenceRank: 8)
    for bad in [0, -1, Double.nan, .infinity] {
      let modules = [RankCandidate(name: "a", rows: 8, columns: 8, importance: bad)]
      #expect(throws: GoraError.self) { try allocation.ranks(for: modules) }
    }
  }

  @Test(arguments: [(0, nil, nil), (8, 9, nil), (8, nil, 7), (8, -1, nil)] as [(Int, Int?, Int?)])
  func contradictingBoundsAreUsageErrors(_ rank: Int, _ min: Int?, _ max: Int?) {
    #expect { try RankAllocation(referenceRank: rank, minRank: min, maxRank: max) } throws: {
      ($0 as? GoraError)?.status == .usage
    }
  }

  @Test func parametersOfPlainLoRAOnLlama8B() {
    let attention = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
    let mlp = [(14336, 4096), (14336, 4096), (4096, 14336)]
    func modules(_ shapes: [(Int, Int)]) -> [RankCandidate] {
      (0..<32).flatMap { layer in
        shapes.enumerated().map {
          RankCandidate(name: "layers.\(layer).\($0)", rows: $1.0, columns: $1.1, importance: 1)
        }
      }
    }
    #expect(RankAllocation.parameters(rank: 8, modules(attention)) == 6_815_744)
    #expect(RankAllocation.parameters(rank: 8, modules(attention + mlp)) == 20_971_520)
    #expect(RankAllocation.parameters(rank: 12, modules(attention)) == 10_223_616)
  }
}

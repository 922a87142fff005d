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
        advantage: 1e-7 * (power > 0 ? importance : 1 / importance) * (0.5 + random.uniform()))
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
      let total = modules.reduce(0) { $0 + $1.advantage }
      let expected = modules.map { m in
        let x = b * m.advantage / total / Double(m.rows + m.columns).squareRoot()
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
          advantage: 0.1 + random.uniform())
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
            && modules[i].advantage > modules[j].advantage
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
      modules[1].advantage = 1
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
      ["d", "c", "b"].map { RankCandidate(name: $0, rows: 10, columns: 90, advantage: 1) }
      + [RankCandidate(name: "a", rows: 4, columns: 46, advantage: 1)]
    var allocation = try RankAllocation(referenceRank: 8, minRank: 1, maxRank: 10)
    allocation.feature = .linear
    allocation.budget = .exact
    // Open: 7, 7, 7 and 4 (capped by its rows): 2300 of 2800; five steps of 100 are left for three equals.
    #expect(try allocation.ranks(for: modules) == [8, 9, 9, 4])
  }

  @Test func advantagesThatCannotBeSharedAreRefused() throws {
    let allocation = try RankAllocation(referenceRank: 8)
    for bad in [0, -1, Double.nan, .infinity] {
      let modules = [RankCandidate(name: "a", rows: 8, columns: 8, advantage: bad)]
      #expect(throws: GoraError.self) { try allocation.ranks(for: modules) }
    }
  }

  @Test(arguments: [(0, nil, nil), (8, 9, nil), (8, nil, 7), (8, -1, nil)] as [(Int, Int?, Int?)])
  func contradictingBoundsAreUsageErrors(_ rank: Int, _ min: Int?, _ max: Int?) {
    #expect { try RankAllocation(referenceRank: rank, minRank: min, maxRank: max) } throws: {
      ($0 as? GoraError)?.status == .usage
    }
  }

  /// Llama-3.1-8B, 32 layers: q, k, v, o, and the three of the MLP.
  private static let attention = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]
  private static let mlp = [(14336, 4096), (14336, 4096), (4096, 14336)]

  private static func llama8B(_ shapes: [(Int, Int)], advantage: (Int, Int) -> Double = { _, _ in 1 }) -> [RankCandidate] {
    (0..<32).flatMap { layer in
      shapes.enumerated().map {
        RankCandidate(name: "layers.\(layer).\($0)", rows: $1.0, columns: $1.1, advantage: advantage(layer, $0))
      }
    }
  }

  @Test func parametersOfPlainLoRAOnLlama8B() {
    #expect(RankAllocation.parameters(rank: 8, Self.llama8B(Self.attention)) == 6_815_744)
    #expect(RankAllocation.parameters(rank: 8, Self.llama8B(Self.attention + Self.mlp)) == 20_971_520)
    #expect(RankAllocation.parameters(rank: 12, Self.llama8B(Self.attention)) == 10_223_616)
  }

  private static func idealParameters(_ allocation: RankAllocation, _ modules: [RankCandidate]) throws -> Double {
    zip(try allocation.idealRanks(for: modules), modules).reduce(0) { $0 + $1.0 * Double($1.1.parametersPerRank) }
  }

  /// With √ the total is R·(Σ√x)·(Σ a√x), for equal advantages 6.72 M, and with ranks rounded to 7 and 9 it is 6.62 M, where plain
  /// LoRA has 6.82 M.
  @Test func equalAdvantagesOnLlama8BUnderTheSquareRoot() throws {
    let allocation = try RankAllocation(referenceRank: 8)
    let modules = Self.llama8B(Self.attention)
    let roots = [8192, 5120, 5120, 8192].reduce(0) { $0 + Double($1).squareRoot() }
    #expect(abs(try Self.idealParameters(allocation, modules) / (8 * 32 * roots * roots / 4) - 1) < 1e-12)
    #expect(Int(8 * 32 * roots * roots / 4) == 6_723_760)
    let ranks = try allocation.ranks(for: modules)
    #expect(ranks == [7, 9, 9, 7] * 32)
    #expect(RankAllocation.parameters(ranks: ranks, modules) == 6_619_136)
  }

  /// Σ r_i·x_i = R·Σ x_i before rounding and bounds, whatever the advantages.
  @Test func linearFeatureMeetsTheBudgetBeforeRounding() throws {
    var random = Random(seed: 9, stream: "linear")
    for _ in 0..<20 {
      let modules = Self.llama8B(Self.attention + Self.mlp) { _, _ in random.uniform() * random.uniform() }
      var allocation = try RankAllocation(referenceRank: 8)
      allocation.feature = .linear
      #expect(abs(try Self.idealParameters(allocation, modules) / 20_971_520 - 1) < 1e-12)
    }
  }

  /// The authors' code in whole numbers: t = round(b·a), rank = t // (in + out).
  @Test func scriptsPresetIsTheirIntegerArithmetic() throws {
    var random = Random(seed: 10, stream: "scripts")
    var allocation = try RankAllocation(referenceRank: 8, minRank: 4, maxRank: 32)
    allocation.feature = AllocationPreset.scripts.feature
    allocation.rounding = AllocationPreset.scripts.rounding
    allocation.budgetRounding = AllocationPreset.scripts.budgetRounding
    var cutOff = 0
    for trial in 0..<50 {
      // Equal advantages come to whole numbers, where a quotient that is a trifle short would lose a rank.
      let modules = Self.llama8B(Self.attention) { _, _ in trial == 0 ? 1 : random.uniform() }
      let total = modules.reduce(0) { $0 + $1.advantage }
      let budget = modules.reduce(0) { $0 + 8 * $1.parametersPerRank }
      let expected = modules.map { module in
        let part = Int((Double(budget) * module.advantage / total).rounded(.toNearestOrEven))
        return min(32, max(4, part / module.parametersPerRank))
      }
      let found = try allocation.ranks(for: modules)
      #expect(found == expected)
      if trial == 0 { #expect(found == Self.attention.map { $0.0 == 1024 ? 10 : 6 } * 32) }
      var nearest = allocation
      nearest.rounding = .nearest
      cutOff += zip(found, try nearest.ranks(for: modules)).count { $0 < $1 }
    }
    #expect(cutOff > 1000)
  }

  @Test func wholeRanksAreNotCutOff() throws {
    // 3 · (8/3) and the like: one share in n, times n.
    for count in 1...200 {
      let modules = (0..<count).map { RankCandidate(name: "\($0)", rows: 64, columns: 36, advantage: 0.1) }
      for feature in BudgetFeature.allCases {
        for rounding in RankRounding.allCases {
          var allocation = try RankAllocation(referenceRank: 8)
          allocation.feature = feature
          allocation.rounding = rounding
          #expect(try allocation.ranks(for: modules) == [Int](repeating: 8, count: count))
        }
      }
    }
  }

  @Test func rankZeroIsGivenWhereItIsAllowed() throws {
    let modules = [1000, 10, 1].map { RankCandidate(name: "\($0)", rows: 50, columns: 50, advantage: Double($0)) }
    #expect(try RankAllocation(referenceRank: 4, minRank: 0).ranks(for: modules) == [12, 0, 0])
    #expect(try RankAllocation(referenceRank: 4).ranks(for: modules) == [12, 2, 2])
  }
}

private func * (values: [Int], times: Int) -> [Int] { (0..<times).flatMap { _ in values } }

@Suite struct RankCorrelationTests {
  @Test func ordersAreCompared() throws {
    #expect(RankCorrelation.spearman([1, 2, 3, 4], [10, 20, 30, 400]) == 1)
    #expect(RankCorrelation.spearman([1, 2, 3], [3, 2, 1]) == -1)
    // Without ties: 1 − 6·Σd²/(n(n² − 1)) = 1 − 6·(1 + 1 + 0 + 0 + 0)/120.
    #expect(abs(try #require(RankCorrelation.spearman([1, 2, 3, 4, 5], [2, 1, 3, 4, 5])) - 0.9) < 1e-15)
    // Places 0.5, 0.5, 2 against 0, 1, 2: covariance 1.5 over √(1.5·2).
    #expect(abs(try #require(RankCorrelation.spearman([7, 7, 9], [1, 2, 3])) - 1.5 / 3.0.squareRoot()) < 1e-15)
    #expect(RankCorrelation.spearman([1, 1], [1, 2]) == nil)
    #expect(RankCorrelation.spearman([], []) == nil)
  }
}

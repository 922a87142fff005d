import Glibc
import GoraCore

/// f of the budget formula, a function of in + out.
package enum BudgetFeature: String, CaseIterable, Sendable {
  /// √(in + out), the paper's.
  case sqrt
  /// in + out, what the authors' scripts use.
  case linear
  /// ln(1 + in + out).
  case log1p

  package func callAsFunction(_ size: Int) -> Double {
    switch self {
    case .sqrt: Double(size).squareRoot()
    case .linear: Double(size)
    case .log1p: Glibc.log1p(Double(size))
    }
  }
}

/// How an ideal rank becomes a whole one.
package enum RankRounding: String, CaseIterable, Sendable {
  /// Half to even.
  case nearest
  case floor
  case ceil

  var rule: FloatingPointRoundingRule {
    switch self {
    case .nearest: .toNearestOrEven
    case .floor: .down
    case .ceil: .up
    }
  }
}

/// What happens to the parameters that clipping and rounding leave over.
package enum BudgetRule: String, CaseIterable, Sendable {
  /// Nothing (the paper).
  case open
  /// They are spent, or taken back.
  case exact
}

/// A module that wants rank.
package struct RankCandidate: Sendable, Equatable {
  package var name: String
  package var rows: Int
  package var columns: Int
  /// Its share of the budget; only the ratios of advantages count.
  package var advantage: Double

  package init(name: String, rows: Int, columns: Int, advantage: Double) {
    self.name = name
    self.rows = rows
    self.columns = columns
    self.advantage = advantage
  }

  /// Parameters of one rank: a row of A [r, in] and a column of B [out, r].
  package var parametersPerRank: Int { rows + columns }
}

/// Ranks from advantages: r_i = clip(round(b·a_i / f(in_i+out_i)), r_min, r_max), b = R·Σ f(in_j+out_j)
/// (GoRA, arXiv 2502.12171; f and rounding as options because the paper's versions and code differ).
package struct RankAllocation: Sendable, Equatable {
  package let referenceRank: Int
  package let minRank: Int
  package let maxRank: Int
  package var feature = BudgetFeature.sqrt
  package var rounding = RankRounding.nearest
  /// How a module's part of the budget, b·a_i, is rounded before the division; nil leaves it as it is.
  package var budgetRounding: RankRounding?
  package var budget = BudgetRule.open

  /// - Parameters:
  ///   - minRank: R/2, but at least 1, where nil.
  ///   - maxRank: 4R where nil.
  /// - Throws: status 64 unless 0 ≤ minRank ≤ referenceRank ≤ maxRank and 1 ≤ referenceRank.
  package init(referenceRank: Int, minRank: Int? = nil, maxRank: Int? = nil) throws(GoraError) {
    guard 1...Self.largestRank ~= referenceRank else {
      throw GoraError(.usage, "--rank is \(referenceRank); expected 1 to \(Self.largestRank)")
    }
    self.referenceRank = referenceRank
    self.minRank = minRank ?? max(1, referenceRank / 2)
    self.maxRank = maxRank ?? 4 * referenceRank
    guard 0...referenceRank ~= self.minRank else {
      throw GoraError(.usage, "--min-rank is \(self.minRank); expected 0 to --rank, \(referenceRank)")
    }
    guard referenceRank...4 * Self.largestRank ~= self.maxRank else {
      throw GoraError(
        .usage, "--max-rank is \(self.maxRank); expected --rank, \(referenceRank), to \(4 * Self.largestRank)")
    }
  }

  /// The budget's where none is given.
  package static let standardRank = 8

  /// Beyond every weight's size; keeps products within 64 bits.
  package static let largestRank = 1 << 20

  /// One rank a module, in the order of `modules`; independent of that order otherwise.
  /// - Throws: status 65 where the advantages are negative, not finite or all zero.
  package func ranks(for modules: [RankCandidate]) throws(GoraError) -> [Int] {
    let ideal = try idealRanks(for: modules)
    var ranks = zip(ideal, modules).map { ideal, module in
      let bounds = self.bounds(of: module)
      return Int(min(max(rounded(ideal), Double(bounds.lowerBound)), Double(bounds.upperBound)))
    }
    if budget == .exact { settle(&ranks, ideal: ideal, modules: modules) }
    return ranks
  }

  /// Eight that came out a billionth short is eight, also where ranks are cut off.
  private func rounded(_ ideal: Double) -> Double {
    let whole = ideal.rounded()
    return abs(ideal - whole) <= 1e-9 * max(1, whole) ? whole : ideal.rounded(rounding.rule)
  }

  /// b·a_i / f(in_i+out_i): what a module would get if ranks were not whole and not bounded.
  func idealRanks(for modules: [RankCandidate]) throws(GoraError) -> [Double] {
    let advantages = try Advantage.sumNormalised(modules.map(\.advantage))
    let features = modules.map { feature($0.rows + $0.columns) }
    let total = Double(referenceRank) * features.sorted().reduce(0, +)
    return zip(advantages, features).map { advantage, feature in
      let part = total * advantage
      return (budgetRounding.map { part.rounded($0.rule) } ?? part) / feature
    }
  }

  /// The rank of a plain LoRA: R everywhere, less only where a weight is smaller than that.
  package func uniformRanks(for modules: [RankCandidate]) -> [Int] {
    modules.map { min(referenceRank, min($0.rows, $0.columns)) }
  }

  private func bounds(of module: RankCandidate) -> ClosedRange<Int> {
    let cap = min(module.rows, module.columns)
    return min(minRank, cap)...min(maxRank, cap)
  }

  /// Takes ranks back while the parameters exceed plain LoRA's, then gives while one more rank fits.
  ///
  /// As in Webster's method of apportionment, the next rank goes where ideal/(rank + ½) is largest and comes from where
  /// ideal/(rank − ½) is smallest, so that equal shapes stay ordered by importance. Ties go by name.
  private func settle(_ ranks: inout [Int], ideal: [Double], modules: [RankCandidate]) {
    var left = RankAllocation.parameters(rank: referenceRank, modules)
    for (rank, module) in zip(ranks, modules) { left -= rank * module.parametersPerRank }
    let order = modules.indices.sorted { modules[$0].name < modules[$1].name }

    while left < 0 {
      var choice: (index: Int, claim: Double)?
      for i in order where ranks[i] > bounds(of: modules[i]).lowerBound {
        let claim = ideal[i] / (Double(ranks[i]) - 0.5)
        // Of equals the last name gives first: the reverse of who receives.
        if choice.map({ claim <= $0.claim }) ?? true { choice = (i, claim) }
      }
      guard let (i, _) = choice else { break }
      ranks[i] -= 1
      left += modules[i].parametersPerRank
    }
    while left > 0 {
      var choice: (index: Int, claim: Double)?
      for i in order where ranks[i] < bounds(of: modules[i]).upperBound && modules[i].parametersPerRank <= left {
        let claim = ideal[i] / (Double(ranks[i]) + 0.5)
        if choice.map({ claim > $0.claim }) ?? true { choice = (i, claim) }
      }
      guard let (i, _) = choice else { break }
      ranks[i] += 1
      left -= modules[i].parametersPerRank
    }
  }

  /// Trainable parameters of a plain LoRA: R·Σ(in + out).
  package static func parameters(rank: Int, _ modules: [RankCandidate]) -> Int {
    rank * modules.reduce(0) { $0 + $1.parametersPerRank }
  }

  /// Trainable parameters of a plan: Σ r_i·(in_i + out_i).
  package static func parameters(ranks: [Int], _ modules: [RankCandidate]) -> Int {
    zip(ranks, modules).reduce(0) { $0 + $1.0 * $1.1.parametersPerRank }
  }
}

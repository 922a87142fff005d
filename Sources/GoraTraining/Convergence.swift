/// When importances have settled, so that more micro-batches would not change the ranks (GoRA's adaptive N).
package struct Convergence: Sendable {
  package struct Rule: Sendable, Equatable {
    /// Largest relative change of any module's importance that counts as none.
    package var tolerance: Double
    /// Consecutive steps with no more change than that.
    package var patience: Int
    /// Steps to take in any case.
    package var minimumSteps: Int

    package init(tolerance: Double, patience: Int, minimumSteps: Int) {
      self.tolerance = tolerance
      self.patience = patience
      self.minimumSteps = minimumSteps
    }

    /// The authors' answers to their reviewers: under 1 % for two consecutive steps.
    package static let paper = Rule(tolerance: 0.01, patience: 2, minimumSteps: 3)
    /// The defaults of the authors' code: 10 %, once.
    package static let official = Rule(tolerance: 0.1, patience: 1, minimumSteps: 3)
  }

  /// |I_t − I_{t−1}| / I_{t−1} over the modules.
  package struct Change: Sendable, Equatable {
    package var maximum: Double
    package var mean: Double
  }

  private let rule: Rule?
  private var previous: [Double] = []
  private var steps = 0
  private var calm = 0

  /// - Parameter rule: nil measures changes and never stops.
  package init(_ rule: Rule?) { self.rule = rule }

  /// Takes the importances of one more step, in an order that does not change.
  ///
  /// There is no absolute floor: importances of 1e-20 count as those of 1 do. From exactly 0 to another value the change is 1, and so
  /// is that of the first step.
  package mutating func add(_ importances: [Double]) -> Change {
    precondition(previous.isEmpty || previous.count == importances.count)
    var (total, maximum) = (0.0, 0.0)
    for (i, now) in importances.enumerated() {
      let before = previous.isEmpty ? 0 : previous[i]
      let change = before == 0 ? (now == 0 ? 0 : 1) : abs(now - before) / abs(before)
      total += change
      maximum = max(maximum, change)
    }
    if let rule { calm = steps > 0 && maximum <= rule.tolerance ? calm + 1 : 0 }
    previous = importances
    steps += 1
    return Change(maximum: maximum, mean: importances.isEmpty ? 0 : total / Double(importances.count))
  }

  /// Whether the last `patience` steps changed no importance by more than the tolerance, and enough steps were taken.
  package var isReached: Bool {
    guard let rule else { return false }
    return steps >= rule.minimumSteps && calm >= rule.patience
  }
}

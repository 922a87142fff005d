import Glibc
import GoraCore

/// How importances become shares, as `gora-score --normalise` spells it.
package enum Normalisation: String, CaseIterable, Sendable {
  /// a_i = I_i / Σ I_j (the paper).
  case sum
  /// a_i = exp(J_i) / Σ exp(J_j), J = (I − min)/(max − min)/T.
  case softmax
}

/// The share of each module in the rank budget, from its importance (GoRA, arXiv 2502.12171).
///
/// Sums run in ascending order, so that the result does not depend on the order of the modules.
package struct Advantage: Sendable, Equatable {
  package var normalisation = Normalisation.sum
  /// T of the softmax.
  package var temperature = standardTemperature
  /// Whether √I stands for I.
  package var takesSquareRoot = false

  package static let standardTemperature = 0.5

  /// The paper's.
  package init() {}

  /// - Throws: status 64 where T is not positive.
  package init(
    _ normalisation: Normalisation, temperature: Double = standardTemperature, takesSquareRoot: Bool = false
  ) throws(GoraError) {
    guard temperature > 0, temperature.isFinite else {
      throw GoraError(.usage, "--temperature is \(temperature); expected a positive number")
    }
    self.normalisation = normalisation
    self.temperature = temperature
    self.takesSquareRoot = takesSquareRoot
  }

  /// The mean of the shares by several metrics, each normalised by itself; they sum to 1.
  /// - Parameter importances: a metric each, a module each.
  /// - Throws: status 65 where importances are not finite or cannot be shared out.
  package func shares(_ importances: [[Double]]) throws(GoraError) -> [Double] {
    var mean = [Double](repeating: 0, count: importances.first?.count ?? 0)
    for importances in importances {
      for (i, share) in try shares(importances).enumerated() { mean[i] += share }
    }
    return mean.map { $0 / Double(importances.count) }
  }

  /// The shares by one metric.
  package func shares(_ importances: [Double]) throws(GoraError) -> [Double] {
    var values = importances
    if takesSquareRoot {
      if let bad = importances.first(where: { !($0 >= 0) }) {
        throw GoraError(.data, "an importance is \(bad), which has no square root", hint: "leave --sqrt out")
      }
      values = importances.map { $0.squareRoot() }
    }
    switch normalisation {
    case .sum: return try Self.sumNormalised(values)
    case .softmax: return try Self.softmax(values, temperature: temperature)
    }
  }

  /// a_i = I_i / Σ I_j.
  /// - Throws: status 65 where an importance is negative or not finite, or all are zero.
  package static func sumNormalised(_ importances: [Double]) throws(GoraError) -> [Double] {
    if let bad = importances.first(where: { !$0.isFinite || $0 < 0 }) {
      throw GoraError(
        .data, "an importance is \(bad); shares in a sum need finite numbers from 0",
        hint: bad < 0 ? "gora-score --normalise softmax takes negative importances" : nil)
    }
    let total = importances.sorted().reduce(0, +)
    guard total > 0, total.isFinite else {
      throw GoraError(
        .data, "the importances sum to \(total); ranks cannot be shared out",
        hint: "look for gradients that are all zero, or plan a plain LoRA with --uniform")
    }
    return importances.map { $0 / total }
  }

  /// Equal importances, where the formula would divide by zero, get equal shares.
  private static func softmax(_ importances: [Double], temperature: Double) throws(GoraError) -> [Double] {
    if let bad = importances.first(where: { !$0.isFinite }) {
      throw GoraError(.data, "an importance is \(bad); expected a finite number")
    }
    guard let least = importances.min(), let most = importances.max() else { return [] }
    // At most 0, so that no temperature overflows.
    let powers = importances.map { most > least ? exp(($0 - most) / (most - least) / temperature) : 1 }
    let total = powers.sorted().reduce(0, +)
    return powers.map { $0 / total }
  }
}

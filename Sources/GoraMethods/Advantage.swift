import GoraCore

/// The share of each module in the total importance.
package enum Advantage {
  /// a_i = I_i / Σ I_j (GoRA, arXiv 2502.12171).
  ///
  /// The sum runs in ascending order, so that the result does not depend on the order of the modules.
  /// - Throws: status 65 where an importance is negative or not finite, or all are zero.
  package static func sumNormalised(_ importances: [Double]) throws(GoraError) -> [Double] {
    if let bad = importances.first(where: { !$0.isFinite || $0 < 0 }) {
      throw GoraError(.data, "an importance is \(bad); expected a finite number from 0")
    }
    let total = importances.sorted().reduce(0, +)
    guard total > 0, total.isFinite else {
      throw GoraError(
        .data, "the importances sum to \(total); ranks cannot be shared out",
        hint: "look for gradients that are all zero, or plan a plain LoRA with --uniform")
    }
    return importances.map { $0 / total }
  }
}

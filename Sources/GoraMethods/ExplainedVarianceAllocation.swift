import GoraCore

/// EVA's ranks (Paischer et al. 2024, arXiv 2410.07170, section 3.3; PEFT's `_get_rank_distribution`): the explained variance ratios of all
/// modules' components are pooled, and each module gets as many ranks as it has components among the R·n largest.
package struct ExplainedVarianceAllocation: Sendable, Equatable {
  /// R.
  package let referenceRank: Int
  /// ρ·R, the components of each module that are pooled.
  package let maxRank: Int

  package init(referenceRank: Int, maxRank: Int) {
    self.referenceRank = referenceRank
    self.maxRank = maxRank
  }

  /// One rank a module, from 0.
  ///
  /// Equal ratios, as of modules that share their inputs, go to the earlier component, then to the earlier module.
  /// - Parameter ratios: of each module's components, falling.
  /// - Throws: status 65 where a module has fewer components than `maxRank` and its size ask for.
  package func ranks(for modules: [RankCandidate], ratios: [[Double]]) throws(GoraError) -> [Int] {
    var pool: [(ratio: Double, component: Int, module: Int)] = []
    for (i, (module, ratios)) in zip(modules, ratios).enumerated() {
      if ratios.isEmpty {
        throw GoraError(
          .data, "\"\(module.name)\" has no explained variance ratios",
          hint: "gora-grad --collect gradients,inputs, then gora-score --metric explained-variance")
      }
      guard ratios.count >= min(maxRank, module.columns) else {
        throw GoraError(
          .data, "\"\(module.name)\" has \(ratios.count) components, ranks up to \(maxRank) need as many",
          hint: "gora-grad --input-components \(maxRank), or --max-rank \(ratios.count)")
      }
      for (component, ratio) in ratios.prefix(min(maxRank, module.rows, module.columns)).enumerated() {
        pool.append((ratio, component, i))
      }
    }
    pool.sort { a, b in
      if a.ratio != b.ratio { return a.ratio > b.ratio }
      return a.component != b.component ? a.component < b.component : a.module < b.module
    }
    var ranks = [Int](repeating: 0, count: modules.count)
    for entry in pool.prefix(referenceRank * modules.count) { ranks[entry.module] += 1 }
    return ranks
  }
}

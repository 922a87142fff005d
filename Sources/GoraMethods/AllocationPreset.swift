/// The allocations that are in print, GoRA's, that of its authors' scripts and EVA's, and the recipe of docs/starts.md.
package enum AllocationPreset: String, CaseIterable, Sendable {
  /// f = √(in + out), ranks rounded to nearest (arXiv 2502.12171), from R/2 to 4R; scale α/√r.
  case paper
  /// f = in + out, as their scripts leave it; a module's part of the budget is rounded to nearest, its rank then cut off.
  case scripts
  /// `ExplainedVarianceAllocation`, up to ρ·R with ρ = 2; scale α/R (arXiv 2410.07170, as PEFT has it).
  case eva
  /// The same rank everywhere, from a `HeadStart`.
  case headStart = "head-start"

  package var feature: BudgetFeature { self == .scripts ? .linear : .sqrt }
  package var rounding: RankRounding { self == .scripts ? .floor : .nearest }
  package var budgetRounding: RankRounding? { self == .scripts ? .nearest : nil }
  package var alpha: Double { 16 }
  /// Whether the components of all modules compete, instead of modules for shares of a budget; the formula's settings mean nothing then.
  package var poolsExplainedVariance: Bool { self == .eva }
  /// Whether no scores are looked at.
  package var isUniform: Bool { self == .headStart }
  /// What gora-init is to start such a plan with, where that is not GoRA.
  package var start: (any AdapterStart.Type)? { self == .headStart ? HeadStart.self : nil }
  /// The bounds of a rank, where they are not those of the formula.
  package var minRank: Int? { self == .eva ? 0 : nil }
  package func maxRank(reference: Int) -> Int? { self == .eva ? 2 * reference : nil }
  /// Whether the scale is the same for every rank, α/R.
  package var keepsOneScale: Bool { self == .eva }
}

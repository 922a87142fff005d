/// The allocations that are in print: the paper's and that of its authors' scripts.
///
/// Both bound ranks by R/2 and 4R, and scale by α/√r with α = 16.
package enum AllocationPreset: String, CaseIterable, Sendable {
  /// f = √(in + out), ranks rounded to nearest (arXiv 2502.12171).
  case paper
  /// f = in + out, as their scripts leave it; a module's part of the budget is rounded to nearest, its rank then cut off.
  case scripts

  package var feature: BudgetFeature { self == .paper ? .sqrt : .linear }
  package var rounding: RankRounding { self == .paper ? .nearest : .floor }
  package var budgetRounding: RankRounding? { self == .paper ? nil : .nearest }
  package var alpha: Double { 16 }
}

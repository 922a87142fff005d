/// One threshold over the singular values of all modules' updates (PARA, arXiv 2604.27796): what a module has above it stays, so that ranks
/// follow the spectra. A value counts as it is, whether its component costs many parameters or few: with the largest values the error is the
/// least that so many components leave.
package enum SpectrumThreshold {
  /// What a module asks for.
  package struct Module: Sendable {
    /// Singular values of its ΔW, descending, above 0.
    package var values: [Double]
    /// Parameters of one component: out + in.
    package var cost: Int

    package init(values: [Double], cost: Int) {
      self.values = values
      self.cost = cost
    }
  }

  /// How many values of each module lie above the lowest threshold that keeps all parameters within the budget. Equal values stay or go
  /// together, so that the order of the modules does not matter.
  package static func ranks(_ modules: [Module], budget: Int) -> [Int] {
    let pool = modules.flatMap { module in module.values.map { (value: $0, cost: module.cost) } }.sorted { $0.value > $1.value }
    var left = budget
    // The first value that no longer fits; 0: all do.
    var threshold = 0.0
    for (value, cost) in pool {
      left -= cost
      if left < 0 {
        threshold = value
        break
      }
    }
    return modules.map { module in module.values.prefix { $0 > threshold }.count }
  }
}

/// The factor s in ΔW = s·B·A.
package enum AdapterScaling: String, CaseIterable, Sendable {
  /// α/√r (Kalajdzievski 2023; the paper's choice).
  case rslora
  /// α/r (Hu et al. 2021).
  case lora

  package func factor(alpha: Double, rank: Int) -> Double {
    switch self {
    case .rslora: alpha / Double(rank).squareRoot()
    case .lora: alpha / Double(rank)
    }
  }
}

import GoraCore

/// The best approximation of −G of rank r, with its first singular value made 1 (LoRA-One, arXiv 2502.01235, by the authors' code: roots
/// of the singular values over the first one in both factors, each over √γ). The weight stays as it is.
package struct LoRAOneStart: AdapterStart {
  package static let name = "lora-one"
  package static let options: Set<StartOption> = [.stableGamma]
  package static let isResidual = false
  /// γ.
  package static let standardStableGamma = 128.0

  private let stableGamma: Double

  package init(_ settings: StartSettings = StartSettings()) {
    stableGamma = settings.stableGamma ?? Self.standardStableGamma
  }

  package var needs: Set<StartEvidence> { [.gradient] }
  package var record: [(key: String, value: StartValue)] { [("stable_gamma", .number(stableGamma))] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let triplets = try module.gradientTriplets(module.rank, random: &random)
    let roots = triplets.values.map { ($0 / triplets.values[0] / stableGamma).squareRoot() }
    return AdapterFactors(left: triplets.left, right: triplets.right, timesA: roots, timesB: roots.map { -$0 })
  }
}

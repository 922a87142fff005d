import GoraCore

/// The SVD variant of GoRA's authors: LoRA-GA with the other half for each factor, B the first r left singular vectors of G and A the
/// r right ones after those.
package struct GoRASVDStart: AdapterStart {
  package static let name = "gora-svd"
  package static let options: Set<StartOption> = [.stableGamma]
  package static let isResidual = true

  private let start: LoRAGAStart
  private let stableGamma: Double

  package init(_ settings: StartSettings = StartSettings()) {
    var inner = StartSettings()
    inner.direction = .a2rBr
    inner.stableGamma = settings.stableGamma
    start = LoRAGAStart(inner)
    stableGamma = settings.stableGamma ?? LoRAGAStart.standardStableGamma
  }

  package var needs: Set<StartEvidence> { start.needs }
  package var record: [(key: String, value: StartValue)] { [("stable_gamma", .number(stableGamma))] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    try start.factors(for: module, random: &random)
  }
}

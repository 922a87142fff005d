import GoraCore

/// A and B from N(0, 0.02²), with E = 0 between them (AdaLoRA, Zhang et al. 2023, arXiv 2303.10512; PEFT `tuners/adalora/layer.py`).
package struct AdaLoRAStart: AdapterStart {
  package static let name = "adalora"
  package static let isResidual = false
  package static let leavesProductToKind = true

  package init(_ settings: StartSettings) {}

  package var needs: Set<StartEvidence> { [] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    func normal(_ count: Int) -> [Float] { (0..<count).map { _ in Float(0.02 * random.normal()) } }
    return AdapterFactors(a: normal(module.rank * module.columns), b: normal(module.rows * module.rank))
  }
}

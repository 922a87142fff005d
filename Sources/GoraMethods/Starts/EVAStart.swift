import GoraCore

/// A the first principal components of the module's inputs, B = 0 (EVA, Paischer et al. 2024, arXiv 2410.07170, as PEFT has it without
/// whitening): of all A of that rank it sees the most of the inputs' variance.
package struct EVAStart: AdapterStart {
  package static let name = "eva"
  package static let isResidual = false

  package init(_ settings: StartSettings = StartSettings()) {}

  package var needs: Set<StartEvidence> { [.inputs] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    AdapterFactors(a: module.components ?? [], b: [Float](repeating: 0, count: module.rows * module.rank))
  }
}

import GoraCore

/// The weight's own last r triplets, what matters least in it, as PiSSA takes the first (MiLoRA, arXiv 2406.09044). The decomposition
/// is a whole one, O(out·in·min(out, in)) on one thread.
package struct MiLoRAStart: AdapterStart {
  package static let name = "milora"
  package static let isResidual = true

  package init(_ settings: StartSettings = StartSettings()) {}

  package var needs: Set<StartEvidence> { [.weight] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let triplets = try SingularTriplets(
      trailing: module.rank, of: module.weight ?? [], rows: module.rows, columns: module.columns)
    return AdapterFactors(triplets, scaling: module.scaling)
  }
}

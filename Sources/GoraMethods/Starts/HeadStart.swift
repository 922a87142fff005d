import GoraCore

/// Where a few steps of all the weights led, cut to the rank: with D the displacement of W after the steps of `gora-grad --explore`,
/// s·B·A = U_r·S_r·V_rᵀ, its best approximation of that rank (Eckart & Young 1936), and both factors alike, A = √(S_r/s)·V_rᵀ and
/// B = U_r·√(S_r/s). W stays as it is. Derivation and measurements: docs/starts.md.
package struct HeadStart: AdapterStart {
  package static let name = "head-start"
  package static let isResidual = false

  package init(_ settings: StartSettings = StartSettings()) {}

  package var needs: Set<StartEvidence> { [.displacement] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let triplets = try SingularTriplets(
      leading: module.rank, of: module.displacement ?? [], rows: module.rows, columns: module.columns, random: &random)
    let roots = triplets.values.map { ($0 / module.scaling).squareRoot() }
    return AdapterFactors(left: triplets.left, right: triplets.right, timesA: roots, timesB: roots)
  }
}

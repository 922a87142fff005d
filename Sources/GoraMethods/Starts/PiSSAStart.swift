import GoraCore

/// The weight's own first r triplets, each factor with the root of the singular value (PiSSA, arXiv 2404.02948).
package struct PiSSAStart: AdapterStart {
  package static let name = "pissa"
  package static let isResidual = true

  package init(_ settings: StartSettings = StartSettings()) {}

  package var needs: Set<StartEvidence> { [.weight] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let triplets = try SingularTriplets(
      leading: module.rank, of: module.weight ?? [], rows: module.rows, columns: module.columns, random: &random)
    return AdapterFactors(triplets, scaling: module.scaling)
  }
}

extension AdapterFactors {
  /// s·B·A is the triplets' part of the matrix, each factor with the root of the singular value over s.
  init(_ triplets: SingularTriplets, scaling: Double) {
    let roots = triplets.values.map { ($0 / scaling).squareRoot() }
    self.init(left: triplets.left, right: triplets.right, timesA: roots, timesB: roots)
  }
}

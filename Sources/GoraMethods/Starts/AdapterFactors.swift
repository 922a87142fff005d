import GoraCore

/// A fresh adapter: A [rank, in] and B [out, rank], row-major.
package struct AdapterFactors: Sendable, Equatable {
  package var a: [Float]
  package var b: [Float]
  /// γ of the step that B makes; 0 where B makes none.
  package var gamma = 0.0
  /// What B keeps of the gradient; nil where the start did not compress it.
  package var capture: GradientCapture?

  /// How the start relates to the gradient.
  package var diagnostics: InitialisationDiagnostics? { capture.map { InitialisationDiagnostics(gamma: gamma, $0) } }

  /// The start with a step of γ, from one with γ = 1: ΔW₀ is linear in γ.
  package func stepping(_ gamma: Double) -> AdapterFactors {
    precondition(self.gamma == 1 && gamma >= 0)
    var factors = self
    factors.gamma = gamma
    // γ = 0 gives +0 throughout, not −0.
    factors.b = gamma == 0 ? [Float](repeating: 0, count: b.count) : b.map { Float(gamma * Double($0)) }
    return factors
  }

  /// The same update from `factor`·A and B/`factor`.
  package func balanced(_ factor: Double) -> AdapterFactors {
    if factor == 1 { return self }
    var factors = self
    factors.a = a.map { Float(factor * Double($0)) }
    factors.b = b.map { Float(Double($0) / factor) }
    return factors
  }
}

extension AdapterFactors {
  /// From directions: A's rows are those of `right` [rank, in], B's columns the rows of `left` [rank, out], each times its factor.
  init(left: some Sequence<Float>, right: some Sequence<Float>, timesA: [Double], timesB: [Double]) {
    a = scaledRows(Array(right), timesA)
    b = transposed(scaledRows(Array(left), timesB), rows: timesB.count)
  }
}

/// Row i of a row-major matrix times `factors[i]`.
private func scaledRows(_ matrix: [Float], _ factors: [Double]) -> [Float] {
  let columns = matrix.count / factors.count
  return matrix.indices.map { Float(Double(matrix[$0]) * factors[$0 / columns]) }
}

/// A row-major matrix [rows, columns] as [columns, rows].
func transposed(_ matrix: [Float], rows: Int) -> [Float] {
  let columns = matrix.count / rows
  return matrix.indices.map { matrix[$0 % rows * columns + $0 / rows] }
}

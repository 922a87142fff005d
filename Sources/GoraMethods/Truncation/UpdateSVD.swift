import GoraCore

/// The singular triplets of an adapter's update ΔW = s·B·A [out, in], without the matrix itself: B = Q₁·R₁ and Aᵀ = Q₂·R₂, so that the
/// decomposition U·Σ·Vᵀ of s·R₁·R₂ᵀ [r, r] gives Q₁·U and Q₂·V. In double precision: of a start that is taken back, s·(B·A − B₀·A₀), what
/// is left can be a small part of either product.
package struct UpdateSVD: Sendable {
  /// Descending; those that are no more than the rounding of their own computation are left out.
  package let values: [Double]
  /// Q₁·U as [k, out] row-major: row i belongs to `values[i]`.
  private let left: [Double]
  /// Q₂·V as [k, in] row-major.
  private let right: [Double]

  /// - Parameters:
  ///   - a: A [rank, columns], row-major
  ///   - b: B [rows, rank], row-major
  /// - Throws: status 65 where the update is not finite, or the decomposition does not converge.
  package init(a: [Float], b: [Float], scaling: Double, rows: Int, columns: Int, rank: Int) throws(GoraError) {
    precondition(a.count == rank * columns && b.count == rows * rank)
    // Row-major A is Aᵀ to LAPACK, and B is Bᵀ.
    let up = LAPACK.qr(LAPACK.transposed(b.map(Double.init), rows: rank), rows: rows, columns: rank)
    let down = LAPACK.qr(a.map(Double.init), rows: columns, columns: rank)
    let (k, l) = (min(rows, rank), min(columns, rank))
    // No element of s·R₁·R₂ᵀ is larger.
    let size = abs(scaling) * norm(up.r) * norm(down.r)
    guard size.isFinite else { throw GoraError(.data, "the update s·B·A is not finite") }
    var core = LAPACK.product(up.r, LAPACK.transposed(down.r, rows: l), rows: k, inner: rank, columns: l)
    for i in core.indices { core[i] *= scaling }
    guard let (u, s, vt) = LAPACK.svd(core, rows: k, columns: l) else { throw noConvergence }
    let rounding = 0x1p-52 * Double(max(rows, columns)) * size
    values = Array(s.prefix { $0 > rounding })
    let count = values.count
    left = LAPACK.product(up.q, Array(u.prefix(k * count)), rows: rows, inner: k, columns: count)
    let v = LAPACK.transposed(vt, rows: min(k, l))
    right = LAPACK.product(down.q, Array(v.prefix(l * count)), rows: columns, inner: l, columns: count)
  }

  /// The best approximation of that rank (Eckart & Young 1936) with the factor s > 0: B = U·√(Σ/s), A = √(Σ/s)·Vᵀ.
  package func factors(rank: Int, scaling: Double) -> AdapterFactors {
    precondition(rank <= values.count && scaling > 0)
    let (rows, columns) = (values.isEmpty ? 0 : left.count / values.count, values.isEmpty ? 0 : right.count / values.count)
    let roots = values.prefix(rank).map { ($0 / scaling).squareRoot() }
    var b = [Float](repeating: 0, count: rows * rank)
    for i in 0..<rows { for (j, root) in roots.enumerated() { b[i * rank + j] = Float(root * left[j * rows + i]) } }
    return AdapterFactors(a: (0..<rank * columns).map { Float(roots[$0 / columns] * right[$0]) }, b: b)
  }

  /// ‖ΔW − ΔW'‖ of the best approximation of that rank: the root of the sum of the other values' squares.
  package func error(rank: Int) -> Double { norm(values.dropFirst(rank)) }

  /// ‖ΔW‖.
  package var size: Double { norm(values) }
}

/// ‖x‖₂, smallest first.
private func norm(_ x: some BidirectionalCollection<Double>) -> Double {
  x.reversed().reduce(0.0) { $0 + $1 * $1 }.squareRoot()
}

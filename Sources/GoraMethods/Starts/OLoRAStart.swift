import GoraCore

/// B the first r columns of Q and A the first r rows of R, W = Q·R with R's diagonal positive (OLoRA, arXiv 2406.01775; PEFT
/// `olora_init`). They need W's first r columns alone: those of Q are their orthonormal basis, and R's rows are Qᵀ·W.
package struct OLoRAStart: AdapterStart {
  package static let name = "olora"
  package static let isResidual = true

  package init(_ settings: StartSettings = StartSettings()) {}

  package var needs: Set<StartEvidence> { [.weight] }

  package func factors(for module: AdapterModuleInput, random: inout Random) throws(GoraError) -> AdapterFactors {
    let (rows, columns, rank) = (module.rows, module.columns, module.rank)
    let weight = module.weight ?? []
    guard FixedSum.squares(weight).isFinite else { throw GoraError(.data, "the weight has a NaN or an infinity") }
    // The first columns as rows [r, out].
    let first = (0..<rank * rows).map { weight[$0 % rows * columns + $0 / rows] }
    let q = LAPACK.orthonormalRows(first, rows: rank, columns: rows)
    var r = [Float](repeating: 0, count: rank * columns)
    Matmul.sgemm(
      m: rank, n: columns, k: rows, a: q, lda: rows, b: weight, ldb: columns, c: &r, ldc: columns, cut: .fixed)
    // Below the diagonal nothing is left but rounding.
    for i in 0..<rank { for j in 0..<i { r[i * columns + j] = 0 } }
    return AdapterFactors(a: r, b: transposed(q, rows: rank))
  }
}

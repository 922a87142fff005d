import CGoraKernels
import GoraCore
import GoraModels

/// AdamW of each factor in the eigenbasis of its gradients over the rank: SOAP on one side (Vyas et al. 2024, arXiv 2409.11321, section 4.1),
/// the side that is small.
///
/// s·B·A is the same for B·Qᵀ and Q·A with any orthogonal Q [r, r], but the moments of AdamW are not: its steps depend on a basis that
/// nothing chose. With X the factor as [r, n] (A, or Bᵀ) and g its gradient, C the running mean of g·gᵀ [r, r] and Q its eigenvectors, AdamW
/// runs on Q·X. All that is kept is in these coordinates; a step turns them by R, from the old eigenvectors to the new ones, first moments
/// by R, second moments by its squared entries.
final class RankBasisAdam: Optimizer {
  private struct Entry {
    let parameter: Parameter
    let rateFactor: Double
    let rank: Int
    /// n.
    let length: Int
    /// Whether the parameter is X; else it is Xᵀ.
    let isRankFirst: Bool
    /// Of Q·X [r, n].
    let first: FloatBuffer
    let second: FloatBuffer
    /// Of C [r], descending.
    let eigenvalues: FloatBuffer
    /// Q [r, r]: a row an eigenvector.
    let basis: FloatBuffer
  }

  private let entries: [Entry]
  private let settings: AdamW.Settings
  var step = 0
  private let rotated = FloatBuffer()
  private let turned = FloatBuffer()

  init(_ adapters: [LowRankAdapter], _ settings: StepSettings) {
    self.settings = settings.adamW
    entries = adapters.flatMap { adapter in
      [(adapter.a, 1, true), (adapter.b, settings.ratio, false)].map { parameter, factor, isRankFirst in
        let length = parameter.count / adapter.rank
        let basis = FloatBuffer(zeros: adapter.rank * adapter.rank)
        for k in 0..<adapter.rank { basis.pointer[k * adapter.rank + k] = 1 }
        return Entry(
          parameter: parameter, rateFactor: factor, rank: adapter.rank, length: length, isRankFirst: isRankFirst,
          first: FloatBuffer(zeros: parameter.count), second: FloatBuffer(zeros: parameter.count),
          eigenvalues: FloatBuffer(zeros: adapter.rank), basis: basis)
      }
    }
  }

  /// Floats of the state beside moments, and of scratch.
  static func basisFloats(rank: Int) -> Int { rank * (rank + 1) }
  static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int { 2 * (adapters.map { max($0.a.count, $0.b.count) }.max() ?? 0) }

  var parameters: [Parameter] { entries.map(\.parameter) }

  var state: [OptimizerTensor] {
    entries.flatMap { entry in
      let name = entry.parameter.name
      let values =
        entry.parameter.values.map { [OptimizerTensor(name: "value/\(name)", shape: entry.parameter.shape, buffer: $0)] } ?? []
      return values + [
        OptimizerTensor(name: "first_moment/\(name)", shape: [entry.rank, entry.length], buffer: entry.first),
        OptimizerTensor(
          name: "second_moment/\(name)", shape: [entry.rank, entry.length], buffer: entry.second, isNonNegative: true),
        OptimizerTensor(name: "eigenvalues/\(name)", shape: [entry.rank], buffer: entry.eigenvalues, isNonNegative: true),
        OptimizerTensor(name: "basis/\(name)", shape: [entry.rank, entry.rank], buffer: entry.basis),
      ]
    }
  }

  func update(lr: Double, gradientScale: Float) {
    step += 1
    let correction1 = Float(1 - power(Double(settings.beta1), step))
    let correction2 = Float(1 - power(Double(settings.beta2), step))
    for entry in entries {
      guard let values = entry.parameter.values?.pointer, let gradient = entry.parameter.gradient?.pointer else { continue }
      let (r, n, count) = (entry.rank, entry.length, entry.parameter.count)
      let rotated = rotated.reserve(count)
      let step = turned.reserve(count)
      let basis = entry.basis.pointer
      Matmul.sgemm(
        transposeB: !entry.isRankFirst, m: r, n: n, k: r, alpha: gradientScale, a: basis, lda: r, b: gradient,
        ldb: entry.isRankFirst ? n : r, c: rotated, ldc: n, cut: .fixed)
      turn(entry, to: rotated, scratch: step)
      // Of 0 by a rate of 1: the step itself.
      step.update(repeating: 0, count: count)
      parallelRanges(count, grain: 32_768, alignment: 16) { range in
        let i = range.lowerBound
        gora_adamw(
          step + i, rotated + i, entry.first.pointer + i, entry.second.pointer + i, range.count, 1, 1, settings.beta1,
          settings.beta2,
          settings.epsilon, 0, correction1, correction2)
      }
      let rate = Float(lr * entry.rateFactor)
      let kept = 1 - rate * settings.weightDecay
      if entry.isRankFirst {
        Matmul.sgemm(
          transposeA: true, m: r, n: n, k: r, alpha: rate, a: basis, lda: r, b: step, ldb: n, beta: kept, c: values, ldc: n,
          cut: .fixed)
      } else {
        Matmul.sgemm(
          transposeA: true, m: n, n: r, k: r, alpha: rate, a: step, lda: n, b: basis, ldb: r, beta: kept, c: values, ldc: r,
          cut: .fixed)
      }
    }
  }

  /// Takes a gradient in the old coordinates into C, and turns it and all that is kept into the new ones.
  private func turn(_ entry: Entry, to gradient: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
    let (r, n) = (entry.rank, entry.length)
    let keep = Double(settings.beta2)
    var covariance = FixedSum.gram(gradient, rows: r, columns: n).map { (1 - keep) * $0 }
    for k in 0..<r { covariance[k * r + k] += keep * Double(entry.eigenvalues.pointer[k]) }
    // C is symmetric: its left vectors, a column each, are the rows of R. What is not finite stays so without them.
    guard let (vectors, values, _) = LAPACK.svd(covariance, rows: r, columns: r) else { return }
    let turn = vectors.map { Float($0) }
    for k in 0..<r { entry.eigenvalues.pointer[k] = Float(values[k]) }
    func multiply(_ matrix: [Float], _ x: UnsafeMutablePointer<Float>, columns: Int) {
      Matmul.sgemm(m: r, n: columns, k: r, a: matrix, lda: r, b: x, ldb: columns, c: scratch, ldc: columns, cut: .fixed)
      x.update(from: scratch, count: r * columns)
    }
    multiply(turn, gradient, columns: n)
    multiply(turn, entry.first.pointer, columns: n)
    multiply(turn.map { $0 * $0 }, entry.second.pointer, columns: n)
    multiply(turn, entry.basis.pointer, columns: r)
  }
}

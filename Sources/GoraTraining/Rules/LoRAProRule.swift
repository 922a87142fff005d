import CGoraKernels
import GoraCore
import GoraModels

/// Gradients of A and B under which s·B·A moves as near as it can to a step along the weight's own gradient (LoRA-Pro, Wang et al. 2024,
/// arXiv 2407.18242), with Adam's moments kept on that step [out, in], as the authors' code has it: as much state as training the
/// weights themselves.
package enum LoRAProRule: StepRule {
  package static let name = "lora-pro"
  package static let standardRatio = 1.0
  package static let understandsMagnitudes = false

  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { $0 + 2 * $1.b.shape[0] * $1.a.shape[1] }
  }

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    LoRAPro(adapters, ratio: Float(ratio), weightDecay: Float(weightDecay))
  }
}

/// The same gradients, with AdamW on A and B themselves: the light form.
package enum LightLoRAProRule: StepRule {
  package static let name = "lora-pro-light"
  package static let standardRatio = 1.0
  package static let understandsMagnitudes = false

  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int { AdamWRule.stateFloats(adapters) }

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    let adamW = AdamW(AdamWRule.rates(adapters, ratio: ratio), settings: AdamW.Settings(weightDecay: Float(weightDecay)))
    return AdjustedAdamW(adapters, adamW) { adapter in
      guard let a = adapter.a.gradient, let b = adapter.b.gradient else { return }
      EquivalentGradient(adapter).adjust(a: a, b: b)
    }
  }
}

/// The step that an adapter's gradients stand for, g = s·B·g̃_A + s·g̃_B·A [out, in], nearest to the weight's own gradient G of
/// g_A = s·Bᵀ·G [r, in] and g_B = s·G·Aᵀ [out, r] (LoRA-Pro, theorem 2.1):
///
/// g̃_A = (Bᵀ·B)⁻¹·g_A/s² + X·A, g̃_B = (I − B·(Bᵀ·B)⁻¹·Bᵀ)·g_B·(A·Aᵀ)⁻¹/s² − B·X, for any X; that one is taken for which they are nearest to
/// g_A and g_B: Bᵀ·B·X + X·A·Aᵀ = −(Bᵀ·B)⁻¹·g_A·Aᵀ/s² (theorem 2.3). Systems [r, r] are solved in double precision.
struct EquivalentGradient {
  private let adapter: LowRankAdapter
  private let (rank, rows, columns): (Int, Int, Int)
  /// A [r, in] and Bᵀ [r, out].
  private let a: FloatBuffer
  private let bT: FloatBuffer
  /// A·Aᵀ and Bᵀ·B with the ridge.
  private let aa: [Double]
  private let bb: [Double]
  private let inverseSquare: Double

  init(_ adapter: LowRankAdapter) {
    self.adapter = adapter
    (rank, rows, columns) = (adapter.rank, adapter.b.shape[0], adapter.a.shape[1])
    a = FloatBuffer(capacity: rank * columns)
    a.pointer.update(from: adapter.a.vector, count: rank * columns)
    bT = FloatBuffer(capacity: rank * rows)
    transpose(adapter.b.vector, rows: rows, columns: rank, into: bT.pointer)
    aa = gram(a, rows: rank, columns: columns, ridge: ridge)
    bb = gram(bT, rows: rank, columns: rows, ridge: ridge)
    inverseSquare = 1 / (Double(adapter.scaling) * Double(adapter.scaling))
  }

  /// Puts g̃_A in the place of g_A [r, in] and g̃_B in that of g_B [out, r].
  /// - Parameter nearest: whether X is the one above; else it is 0.
  func adjust(a gradientA: FloatBuffer, b gradientB: FloatBuffer, nearest: Bool = true) {
    // P = (BᵀB)⁻¹·g_A, column-major [r, in]: a right-hand side an input.
    var p = [Double](repeating: 0, count: rank * columns)
    for i in 0..<rank { for j in 0..<columns { p[j * rank + i] = Double(gradientA.pointer[i * columns + j]) } }
    _ = LAPACK.solveSPD(bb, n: rank, &p, columns: columns)
    // Q = g_B·(AAᵀ)⁻¹, row-major [out, r], which is column-major [r, out].
    var q = (0..<rows * rank).map { Double(gradientB.pointer[$0]) }
    _ = LAPACK.solveSPD(aa, n: rank, &q, columns: rows)
    // R = (BᵀB)⁻¹·Bᵀ·Q [r, r], column-major.
    var r = products(bT, q, count: rows)
    _ = LAPACK.solveSPD(bb, n: rank, &r, columns: rank)
    var x = [Double](repeating: 0, count: rank * rank)
    if nearest {
      // C = −P·Aᵀ/s², column-major.
      var c = [Double](repeating: 0, count: rank * rank)
      for j in 0..<rank {
        for i in 0..<rank {
          var sum = 0.0
          for k in 0..<columns { sum += p[k * rank + i] * Double(a.pointer[j * columns + k]) }
          c[j * rank + i] = -inverseSquare * sum
        }
      }
      x = LAPACK.solveSylvester(bb, aa, c, n: rank)
    }
    // g̃_A = P/s² + X·A; g̃_B = Q/s² − B·(R/s² + X).
    for i in 0..<rank {
      for j in 0..<columns {
        var value = inverseSquare * p[j * rank + i]
        for k in 0..<rank { value += x[k * rank + i] * Double(a.pointer[k * columns + j]) }
        gradientA.pointer[i * columns + j] = Float(value)
      }
    }
    for i in 0..<rank * rank { r[i] = inverseSquare * r[i] + x[i] }
    for i in 0..<rows {
      for j in 0..<rank {
        var value = inverseSquare * q[i * rank + j]
        for k in 0..<rank { value -= Double(bT.pointer[k * rows + i]) * r[j * rank + k] }
        gradientB.pointer[i * rank + j] = Float(value)
      }
    }
  }

  /// X·Y [r, r], column-major, of X [r, count] row-major and Y [count, r] row-major.
  private func products(_ x: FloatBuffer, _ y: [Double], count: Int) -> [Double] {
    var result = [Double](repeating: 0, count: rank * rank)
    for i in 0..<rank {
      for k in 0..<count {
        let factor = Double(x.pointer[i * count + k])
        for j in 0..<rank { result[j * rank + i] += factor * y[k * rank + j] }
      }
    }
    return result
  }
}

/// Adam on the steps that the gradients of A and B stand for.
private final class LoRAPro: Optimizer {
  private struct Entry {
    let adapter: LowRankAdapter
    let first: FloatBuffer
    let second: FloatBuffer
    var shape: [Int] { [adapter.b.shape[0], adapter.a.shape[1]] }
  }

  private let entries: [Entry]
  private let ratio: Float
  private let weightDecay: Float
  private let settings = AdamW.Settings(weightDecay: 0)
  /// g, then the update, of the adapter at work [out, in].
  private let equivalent = FloatBuffer()
  private let direction = FloatBuffer()
  var step = 0

  init(_ adapters: [LowRankAdapter], ratio: Float, weightDecay: Float) {
    self.ratio = ratio
    self.weightDecay = weightDecay
    entries = adapters.map { adapter in
      let count = adapter.b.shape[0] * adapter.a.shape[1]
      return Entry(adapter: adapter, first: FloatBuffer(zeros: count), second: FloatBuffer(zeros: count))
    }
  }

  var parameters: [Parameter] { entries.flatMap { [$0.adapter.a, $0.adapter.b] } }

  var state: [OptimizerTensor] {
    entries.flatMap { entry in
      let values = [entry.adapter.a, entry.adapter.b].compactMap { parameter in
        parameter.values.map { OptimizerTensor(name: "value/\(parameter.name)", shape: parameter.shape, buffer: $0) }
      }
      // Named by A, which every adapter has one of.
      let name = entry.adapter.a.name.replacing(".lora_A.weight", with: ".equivalent")
      return values + [
        OptimizerTensor(name: "first_moment/\(name)", shape: entry.shape, buffer: entry.first),
        OptimizerTensor(name: "second_moment/\(name)", shape: entry.shape, buffer: entry.second, isSquare: true),
      ]
    }
  }

  func update(lr: Double, gradientScale: Float) {
    step += 1
    let corrections = (Float(1 - power(0.9, step)), Float(1 - power(0.999, step)))
    for entry in entries { update(entry, lr: Float(lr), gradientScale, corrections) }
  }

  private func update(_ entry: Entry, lr: Float, _ scale: Float, _ corrections: (Float, Float)) {
    let adapter = entry.adapter
    guard let a = adapter.a.values, let b = adapter.b.values, let gradientA = adapter.a.gradient,
      let gradientB = adapter.b.gradient
    else { return }
    let (rank, rows, columns) = (adapter.rank, entry.shape[0], entry.shape[1])
    let count = rows * columns
    let s = adapter.scaling
    let systems = EquivalentGradient(adapter)
    systems.adjust(a: gradientA, b: gradientB, nearest: false)
    // g = s·B·g̃_A + s·g̃_B·A
    let g = equivalent.reserve(count)
    let u = direction.reserve(count)
    Matmul.sgemm(
      m: rows, n: columns, k: rank, alpha: s * scale, a: b.pointer, lda: rank, b: gradientA.pointer, ldb: columns, c: g,
      ldc: columns)
    Matmul.sgemm(
      m: rows, n: columns, k: rank, alpha: s * scale, a: gradientB.pointer, lda: rank, b: a.pointer, ldb: columns, beta: 1, c: g,
      ldc: columns)
    // u = m̂/(√v̂ + ε): a step of rate −1 from 0.
    let (first, second, settings) = (entry.first.pointer, entry.second.pointer, settings)
    parallelRanges(count, grain: 32_768, alignment: 16) { range in
      let i = range.lowerBound
      (u + i).update(repeating: 0, count: range.count)
      gora_adamw(
        u + i, g + i, first + i, second + i, range.count, 1, -1, settings.beta1, settings.beta2, settings.epsilon, 0,
        corrections.0, corrections.1)
    }
    // The gradients of A and B for u, and their nearest equivalent.
    Matmul.sgemm(
      transposeA: true, m: rank, n: columns, k: rows, alpha: s, a: b.pointer, lda: rank, b: u, ldb: columns, c: gradientA.pointer,
      ldc: columns)
    Matmul.sgemm(
      transposeB: true, m: rows, n: rank, k: columns, alpha: s, a: u, lda: columns, b: a.pointer, ldb: columns,
      c: gradientB.pointer, ldc: rank)
    systems.adjust(a: gradientA, b: gradientB)
    for (values, gradient, rate) in [(a, gradientA, lr), (b, gradientB, lr * ratio)] {
      let (values, gradient, decay) = (values.pointer, gradient.pointer, 1 - rate * weightDecay)
      for i in 0..<(values == a.pointer ? rank * columns : rows * rank) { values[i] = values[i] * decay - rate * gradient[i] }
    }
  }
}

/// x [rows, columns] as [columns, rows].
private func transpose(_ x: UnsafePointer<Float>, rows: Int, columns: Int, into y: UnsafeMutablePointer<Float>) {
  for i in 0..<rows { for j in 0..<columns { y[j * rows + i] = x[i * columns + j] } }
}

import CGoraKernels
import GoraCore
import GoraFormats
import GoraModels

/// Gradients of A and B under which s·B·A moves as near as it can to a step along the weight's own gradient (LoRA-Pro, Wang et al. 2024,
/// arXiv 2407.18242), with Adam's moments kept on that step [out, in], as the authors' code has it: as much state as training the
/// weights themselves.
package enum LoRAProRule: StepRule {
  package static let name = "lora-pro"
  package static let standardRatio = 1.0
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { kind == LoRAKind.self }

  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { $0 + 2 * $1.b.shape[0] * $1.a.shape[1] }
  }

  /// The step and its direction, of one adapter at a time.
  package static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int {
    2 * (adapters.map { $0.b.shape[0] * $0.a.shape[1] }.max() ?? 0)
  }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    LoRAPro(adapters, ratio: Float(settings.ratio), weightDecay: Float(settings.weightDecay))
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
        OptimizerTensor(name: "second_moment/\(name)", shape: entry.shape, buffer: entry.second, isNonNegative: true),
      ]
    }
  }

  func update(lr: Double, gradientScale: Float) {
    step += 1
    let corrections = (
      Float(1 - power(Double(settings.beta1), step)), Float(1 - power(Double(settings.beta2), step))
    )
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
    for (parameter, values, gradient, rate) in [(adapter.a, a, gradientA, lr), (adapter.b, b, gradientB, lr * ratio)] {
      let (values, gradient, decay) = (values.pointer, gradient.pointer, 1 - rate * weightDecay)
      for i in 0..<parameter.count { values[i] = values[i] * decay - rate * gradient[i] }
    }
  }
}

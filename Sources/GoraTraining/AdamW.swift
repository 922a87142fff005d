import CGoraKernels
import GoraCore
import GoraModels

/// AdamW with decoupled weight decay (Loshchilov & Hutter 2019), PyTorch's order of operations.
package final class AdamW {
  package struct Settings: Sendable, Equatable {
    package var beta1: Float = 0.9
    package var beta2: Float = 0.999
    package var epsilon: Float = 1e-8
    package var weightDecay: Float = 0
    /// Whether norms and biases decay too. Transformers' Trainer leaves them out (`get_decay_parameter_names`).
    package var decaysVectors = true

    package init(weightDecay: Float, decaysVectors: Bool = true) {
      self.weightDecay = weightDecay
      self.decaysVectors = decaysVectors
    }
  }

  /// A trained parameter, its moments, and its rate relative to the schedule's (LoRA+: B's is `--lr-ratio`).
  package struct Entry {
    package let parameter: Parameter
    package let rateFactor: Float
    package let weightDecay: Float
    package let first: FloatBuffer
    package let second: FloatBuffer

    /// What a checkpoint keeps of it.
    package var state: [FloatBuffer] { [parameter.values, first, second].compactMap { $0 } }
  }

  package let entries: [Entry]
  private let settings: Settings
  /// Steps taken.
  package var step = 0

  /// - Parameter parameters: each owns its values and has a gradient.
  package init(_ parameters: [(parameter: Parameter, rateFactor: Float)], settings: Settings) {
    self.settings = settings
    entries = parameters.map {
      Entry(
        parameter: $0.parameter, rateFactor: $0.rateFactor,
        weightDecay: $0.parameter.shape.count > 1 || settings.decaysVectors ? settings.weightDecay : 0,
        first: FloatBuffer(zeros: $0.parameter.count),
        second: FloatBuffer(zeros: $0.parameter.count))
    }
  }

  /// One update at rate `lr` with gradients multiplied by `gradientScale`.
  package func update(lr: Double, gradientScale: Float) {
    step += 1
    let correction1 = Float(1 - power(Double(settings.beta1), step))
    let correction2 = Float(1 - power(Double(settings.beta2), step))
    for entry in entries {
      guard let values = entry.parameter.values?.pointer, let gradient = entry.parameter.gradient?.pointer else { continue }
      let (first, second) = (entry.first.pointer, entry.second.pointer)
      let rate = Float(lr) * entry.rateFactor
      parallelRanges(entry.parameter.count, grain: 32_768, alignment: 16) { range in
        let i = range.lowerBound
        gora_adamw(
          values + i, gradient + i, first + i, second + i, range.count, gradientScale, rate, settings.beta1, settings.beta2,
          settings.epsilon, entry.weightDecay, correction1, correction2)
      }
    }
  }

  /// Whether all values and moments are finite: an update may take them out of range after the last loss that was.
  package var isFinite: Bool {
    entries.allSatisfy { entry in entry.state.allSatisfy { gora_all_finite($0.pointer, entry.parameter.count) } }
  }

  private func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    for _ in 0..<exponent { result *= base }
    return result
  }
}

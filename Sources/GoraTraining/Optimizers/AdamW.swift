import CGoraKernels
import GoraCore
import GoraModels

/// AdamW with decoupled weight decay (Loshchilov & Hutter 2019), PyTorch's order of operations.
package final class AdamW: Optimizer {
  package struct Settings: Sendable, Equatable {
    package var beta1: Float = 0.9
    package var beta2: Float = 0.999
    package var epsilon: Float = 1e-8
    /// Whether ε is added to √v before the bias of v is corrected, as in older programs; PyTorch adds it after.
    package var addsEpsilonFirst = false
    package var weightDecay: Float = 0
    /// Whether weights decay after they have moved, the step with them, as in older programs; PyTorch's decay before.
    package var decaysLast = false
    /// Whether norms and biases decay too. Transformers' Trainer leaves them out (`get_decay_parameter_names`).
    package var decaysVectors = true

    package init(weightDecay: Float, decaysVectors: Bool = true) {
      self.weightDecay = weightDecay
      self.decaysVectors = decaysVectors
    }
  }

  /// A trained parameter, its moments, and its rate relative to the schedule's (LoRA+: B's is `--lr-ratio`).
  private struct Entry {
    let parameter: Parameter
    let rateFactor: Float
    let weightDecay: Float
    let first: FloatBuffer
    let second: FloatBuffer
  }

  private let entries: [Entry]
  private let settings: Settings
  /// Steps taken.
  package var step = 0

  /// - Parameter parameters: each owns its values.
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

  package var parameters: [Parameter] { entries.map(\.parameter) }

  package var state: [OptimizerTensor] {
    entries.flatMap { entry in
      let (name, shape) = (entry.parameter.name, entry.parameter.shape)
      let values = entry.parameter.values.map { [OptimizerTensor(name: "value/\(name)", shape: shape, buffer: $0)] } ?? []
      return values + [
        OptimizerTensor(name: "first_moment/\(name)", shape: shape, buffer: entry.first),
        OptimizerTensor(name: "second_moment/\(name)", shape: shape, buffer: entry.second, isNonNegative: true),
      ]
    }
  }

  package func update(lr: Double, gradientScale: Float) {
    step += 1
    let correction1 = Float(1 - power(Double(settings.beta1), step))
    let correction2 = Float(1 - power(Double(settings.beta2), step))
    let epsilon = settings.addsEpsilonFirst ? settings.epsilon / correction2.squareRoot() : settings.epsilon
    for entry in entries {
      guard let values = entry.parameter.values?.pointer, let gradient = entry.parameter.gradient?.pointer else { continue }
      let (first, second) = (entry.first.pointer, entry.second.pointer)
      var (rate, decay) = (Float(lr) * entry.rateFactor, entry.weightDecay)
      if settings.decaysLast {
        // (p − u)·(1 − rate·decay) is the step of a rate that much lower, with as much decay as before.
        let kept = 1 - rate * decay
        (rate, decay) = (rate * kept, decay / kept)
      }
      parallelRanges(entry.parameter.count, grain: 32_768, alignment: 16) { range in
        let i = range.lowerBound
        gora_adamw(
          values + i, gradient + i, first + i, second + i, range.count, gradientScale, rate, settings.beta1, settings.beta2,
          epsilon, decay, correction1, correction2)
      }
    }
  }
}

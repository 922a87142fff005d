import GoraCore
import GoraModels

/// What a training step does with adapters between their gradients and their next values: which factors learn, what becomes of the
/// gradients, and which optimizer takes them. A new one is a file beside this and a line in `all`.
package protocol StepRule: Sendable {
  /// `--rule` of gora-train.
  static var name: String { get }
  /// B's rate over A's where none is given.
  static var standardRatio: Double { get }
  /// Whether it knows adapters with magnitudes (DoRA).
  static var understandsMagnitudes: Bool { get }
  /// The factors that learn.
  static func learns(_ adapter: LowRankAdapter) -> [Parameter]
  /// Floats of optimizer state, the values themselves left out.
  static func stateFloats(_ adapters: [LowRankAdapter]) -> Int
  /// - Parameter ratio: B's rate over A's.
  static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer
}

extension StepRule {
  package static var understandsMagnitudes: Bool { true }
  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] { adapter.parameters }
}

/// All rules, the default first.
package enum StepRules {
  package static let all: [any StepRule.Type] = [
    AdamWRule.self,
    LoRAFARule.self,
    ProjectedLoRAFARule.self,
    LoRAProRule.self,
    LightLoRAProRule.self,
  ]
}

/// AdamW on A and B (LoRA+ where their rates differ, Hayou et al. 2024).
package enum AdamWRule: StepRule {
  package static let name = "adamw"
  package static let standardRatio = 16.0

  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { sum, adapter in learns(adapter).reduce(sum) { $0 + 2 * $1.count } }
  }

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    AdamW(rates(adapters, ratio: ratio), settings: AdamW.Settings(weightDecay: Float(weightDecay)))
  }

  /// The factors with their relative rates: 1 for A, `ratio` for B and for magnitudes, as PEFT's LoRA+ has it.
  static func rates(_ adapters: [LowRankAdapter], ratio: Double) -> [(parameter: Parameter, rateFactor: Float)] {
    var rates: [(parameter: Parameter, rateFactor: Float)] = []
    for adapter in adapters {
      rates.append((adapter.a, 1))
      rates.append((adapter.b, Float(ratio)))
      if let magnitude = adapter.magnitude { rates.append((magnitude.vector, Float(ratio))) }
    }
    return rates
  }
}

/// AdamW on gradients that are changed first, an adapter at a time.
final class AdjustedAdamW: Optimizer {
  private let adapters: [LowRankAdapter]
  private let adamW: AdamW
  private let adjust: (LowRankAdapter) -> Void

  /// - Parameter adjust: changes the gradients of an adapter's factors, linearly in them.
  init(_ adapters: [LowRankAdapter], _ adamW: AdamW, adjust: @escaping (LowRankAdapter) -> Void) {
    self.adapters = adapters
    self.adamW = adamW
    self.adjust = adjust
  }

  var parameters: [Parameter] { adamW.parameters }
  var state: [OptimizerTensor] { adamW.state }
  var step: Int {
    get { adamW.step }
    set { adamW.step = newValue }
  }

  func update(lr: Double, gradientScale: Float) {
    for adapter in adapters { adjust(adapter) }
    adamW.update(lr: lr, gradientScale: gradientScale)
  }
}

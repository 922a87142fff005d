import GoraCore
import GoraModels

/// AdamW on A and B (LoRA+ where their rates differ, Hayou et al. 2024).
package enum AdamWRule: StepRule {
  package static let name = "adamw"
  package static let standardRatio = 16.0

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    AdamW(rates(adapters, ratio: settings.ratio), settings: settings.adamW)
  }

  /// The factors with their relative rates: 1 for A, `ratio` for B and for vectors, as PEFT's LoRA+ has it.
  static func rates(_ adapters: [LowRankAdapter], ratio: Double) -> [(parameter: Parameter, rateFactor: Float)] {
    var rates: [(parameter: Parameter, rateFactor: Float)] = []
    for adapter in adapters {
      rates.append((adapter.a, 1))
      rates.append((adapter.b, Float(ratio)))
      if let vector = adapter.vector { rates.append((vector, Float(ratio))) }
    }
    return rates
  }
}

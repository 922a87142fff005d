import GoraCore
import GoraModels

/// LoRA-Pro's gradients, with AdamW on A and B themselves: its light form.
package enum LightLoRAProRule: StepRule {
  package static let name = "lora-pro-light"
  package static let standardRatio = 1.0
  package static let understandsMagnitudes = false

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    let adamW = AdamW(AdamWRule.rates(adapters, ratio: ratio), settings: AdamW.Settings(weightDecay: Float(weightDecay)))
    return AdjustedAdamW(adapters, adamW) { adapter in
      guard let a = adapter.a.gradient, let b = adapter.b.gradient else { return }
      EquivalentGradient(adapter).adjust(a: a, b: b)
    }
  }
}

import GoraCore
import GoraFormats
import GoraModels

/// LoRA-Pro's gradients, with AdamW on A and B themselves: its light form.
package enum LightLoRAProRule: StepRule {
  package static let name = "lora-pro-light"
  package static let standardRatio = 1.0
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { kind == LoRAKind.self }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    let adamW = AdamW(AdamWRule.rates(adapters, ratio: settings.ratio), settings: settings.adamW)
    return AdjustedAdamW(adapters, adamW) { adapter in
      guard let a = adapter.a.gradient, let b = adapter.b.gradient else { return }
      EquivalentGradient(adapter).adjust(a: a, b: b)
    }
  }
}

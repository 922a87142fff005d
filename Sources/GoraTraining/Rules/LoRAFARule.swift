import GoraCore
import GoraModels

/// A stays as it starts, B learns by AdamW (LoRA-FA, Zhang et al. 2023, arXiv 2308.03303).
package enum LoRAFARule: StepRule {
  package static let name = "lora-fa"
  package static let standardRatio = AdamWRule.standardRatio

  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] { Array(adapter.parameters.dropFirst()) }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    AdamW(
      adapters.flatMap { learns($0).map { ($0, Float(settings.ratio)) } }, settings: settings.adamW)
  }
}

import GoraCore
import GoraModels

/// AdamW on B, E and A of AdaLoRA, which leaves the least important components of all modules out as the run goes on (Zhang et al. 2023,
/// arXiv 2303.10512, as PEFT's `tuners/adalora` has it).
package enum AdaLoRARule: StepRule {
  package static let name = "adalora"
  package static let standardRatio = 1.0
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { kind == AdaLoRAKind.self }

  /// Two moments and two means of importance for each number that learns, and which components are left.
  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { sum, adapter in learns(adapter).reduce(sum) { $0 + 4 * $1.count } + adapter.rank }
  }

  /// The gradient of diag(E)·A, and Bᵀ, of one adapter at a time.
  package static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.map { $0.a.count + $0.b.count }.max() ?? 0
  }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    guard let ranks = settings.ranks else { preconditionFailure("AdaLoRA without a rank schedule") }
    return AdaLoRA(adapters, settings, ranks)
  }
}

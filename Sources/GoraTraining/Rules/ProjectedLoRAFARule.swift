import GoraCore
import GoraFormats
import GoraModels

/// LoRA-FA with the gradient of B that brings s·B·A nearest to a step along the weight's own gradient, g_B·(A·Aᵀ + 1e-8·I)⁻¹/s², and
/// AdamW with ε = 1e-6 added before the bias is corrected, and decay after the step (PEFT `optimizers/lorafa.py`, another algorithm than the
/// paper's).
package enum ProjectedLoRAFARule: StepRule {
  package static let name = "lora-fa-proj"
  package static let standardRatio = 1.0
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { kind == LoRAKind.self }

  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] { [adapter.b] }

  package static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer {
    var adamW = settings.adamW
    adamW.epsilon = 1e-6
    adamW.addsEpsilonFirst = true
    adamW.decaysLast = true
    return AdjustedAdamW(adapters, AdamW(adapters.map { ($0.b, Float(settings.ratio)) }, settings: adamW)) { adapter in
      guard let gradient = adapter.b.gradient else { return }
      // Row-major [out, r] is column-major [r, out]: one right-hand side an output, and A·Aᵀ is symmetric.
      let solution = solved(
        ridgedGram(adapter.a.vector, rows: adapter.rank, columns: adapter.a.shape[1]),
        (0..<adapter.b.count).map { Double(gradient.pointer[$0]) }, n: adapter.rank)
      let factor = 1 / (Double(adapter.scaling) * Double(adapter.scaling))
      for i in solution.indices { gradient.pointer[i] = Float(factor * solution[i]) }
    }
  }
}

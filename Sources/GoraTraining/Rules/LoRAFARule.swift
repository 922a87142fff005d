import GoraCore
import GoraModels

/// A stays as it starts, B learns by AdamW (LoRA-FA, Zhang et al. 2023, arXiv 2308.03303).
package enum LoRAFARule: StepRule {
  package static let name = "lora-fa"
  package static let standardRatio = AdamWRule.standardRatio

  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] {
    Array(adapter.parameters.dropFirst())
  }
  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    adapters.reduce(0) { sum, adapter in learns(adapter).reduce(sum) { $0 + 2 * $1.count } }
  }

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    AdamW(
      adapters.flatMap { learns($0).map { ($0, Float(ratio)) } }, settings: AdamW.Settings(weightDecay: Float(weightDecay)))
  }
}

/// LoRA-FA with the gradient of B that brings s·B·A nearest to a step along the weight's own gradient, g_B·(A·Aᵀ + 1e-8·I)⁻¹/s², and
/// AdamW with ε = 1e-6 added before the bias is corrected (PEFT `optimizers/lorafa.py`, another algorithm than the paper's).
package enum ProjectedLoRAFARule: StepRule {
  package static let name = "lora-fa-proj"
  package static let standardRatio = 1.0
  package static let understandsMagnitudes = false

  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] { [adapter.b] }
  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int { LoRAFARule.stateFloats(adapters) }

  package static func optimizer(_ adapters: [LowRankAdapter], ratio: Double, weightDecay: Double) -> any Optimizer {
    var settings = AdamW.Settings(weightDecay: Float(weightDecay))
    settings.epsilon = 1e-6
    settings.addsEpsilonFirst = true
    return AdjustedAdamW(adapters, AdamW(adapters.map { ($0.b, Float(ratio)) }, settings: settings)) { adapter in
      guard let gradient = adapter.b.gradient, let a = adapter.a.values else { return }
      let (rank, columns, rows) = (adapter.rank, adapter.a.shape[1], adapter.b.shape[0])
      // Row-major [out, r] is column-major [r, out]: one right-hand side an output, and A·Aᵀ is symmetric.
      var solution = (0..<rows * rank).map { Double(gradient.pointer[$0]) }
      guard LAPACK.solveSPD(gram(a, rows: rank, columns: columns, ridge: ridge), n: rank, &solution, columns: rows) else {
        return
      }
      let factor = 1 / (Double(adapter.scaling) * Double(adapter.scaling))
      for i in solution.indices { gradient.pointer[i] = Float(factor * solution[i]) }
    }
  }
}

/// Added to the diagonal of A·Aᵀ and Bᵀ·B before they are inverted, in PEFT's code and LoRA-Pro's.
let ridge = 1e-8

/// X·Xᵀ + ridge·I [rows, rows] of X [rows, columns], in double precision.
func gram(_ x: FloatBuffer, rows: Int, columns: Int, ridge: Double) -> [Double] {
  let x = x.pointer
  var values = [Double](repeating: 0, count: rows * rows)
  values.withUnsafeMutableBufferPointer { values in
    nonisolated(unsafe) let values = values
    nonisolated(unsafe) let x = x
    parallelParts(rows) { i in
      for j in 0...i {
        var sum = i == j ? ridge : 0
        for k in 0..<columns { sum += Double(x[i * columns + k]) * Double(x[j * columns + k]) }
        values[i * rows + j] = sum
        values[j * rows + i] = sum
      }
    }
  }
  return values
}

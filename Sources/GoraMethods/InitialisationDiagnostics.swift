/// How an initial update ΔW₀ relates to the gradient G it was made from. P projects on A's row space [in, in].
///
/// The reconstruction error ‖ΔW₀ + γG‖ that the paper's rebuttal quotes says nothing about compression (for every random A
/// it is γ‖G‖·√(2(1−√(r/in)))); it is here as `residual`, next to numbers that do.
package struct InitialisationDiagnostics: Sendable, Equatable {
  /// ‖G‖².
  package var gradientEnergy: Double
  /// ‖G·P‖²/‖G‖²: r/in on average for a random A, the first r singular values' share for singular vectors.
  package var captured: Double
  /// −⟨ΔW₀, G⟩/(‖ΔW₀‖·‖G‖): √(r/in) on average for a random A; 0 where either is zero.
  package var cosine: Double
  /// ‖ΔW₀‖/(γ‖G‖): 1 on average; 0 where γ or G is zero.
  package var normRatio: Double
  /// ‖ΔW₀ + γG‖/(γ‖G‖); 0 where γ or G is zero.
  package var residual: Double
  /// ‖ΔW₀‖/‖W‖; nil where the weight was not given.
  package var relativeUpdate: Double?

  /// From r-sized products alone; nothing of the weight's size is formed.
  ///
  /// - Parameters:
  ///   - projected: G·Aᵀ [out, r].
  ///   - captured: ‖G·P‖².
  ///   - energy: ‖G‖².
  init(
    gamma: Double, rank: Int, scaling: Double, gram: SmallGram, b: [Float], projected: [Float], captured: Double,
    energy: Double, weight: [Float]?
  ) {
    // ‖B·A‖² = Σ over rows of b·(A·Aᵀ)·bᵀ
    var square = 0.0
    for row in stride(from: 0, to: b.count, by: rank) {
      for i in 0..<rank {
        var sum = 0.0
        for j in 0..<rank { sum += gram.values[i * rank + j] * Double(b[row + j]) }
        square += Double(b[row + i]) * sum
      }
    }
    let update = scaling * max(0, square).squareRoot()
    // ⟨B·A, G⟩ = ⟨B, G·Aᵀ⟩
    let inner = scaling * BlockedSum.products(b, projected)
    let norm = energy.squareRoot()
    gradientEnergy = energy
    self.captured = energy > 0 ? captured / energy : 0
    cosine = update > 0 && norm > 0 ? -inner / (update * norm) : 0
    normRatio = gamma > 0 && norm > 0 ? update / (gamma * norm) : 0
    residual =
      gamma > 0 && norm > 0
      ? max(0, update * update + 2 * gamma * inner + gamma * gamma * energy).squareRoot() / (gamma * norm) : 0
    relativeUpdate = weight.map { weight in
      let norm = BlockedSum.squares(weight).squareRoot()
      return norm > 0 ? update / norm : 0
    }
  }
}

extension InitialisationDiagnostics {
  /// The mean over modules, ‖G‖² summed; nil for none.
  /// - Parameter weighted: by ‖G‖² (0 where all are 0), otherwise every module alike.
  package static func mean(_ all: [InitialisationDiagnostics], weighted: Bool) -> InitialisationDiagnostics? {
    guard var mean = all.first else { return nil }
    mean.gradientEnergy = all.reduce(0) { $0 + $1.gradientEnergy }
    let total = weighted ? mean.gradientEnergy : Double(all.count)
    func average(_ value: (InitialisationDiagnostics) -> Double) -> Double {
      total > 0 ? all.reduce(0) { $0 + (weighted ? $1.gradientEnergy : 1) * value($1) } / total : 0
    }
    mean.captured = average(\.captured)
    mean.cosine = average(\.cosine)
    mean.normRatio = average(\.normRatio)
    mean.residual = average(\.residual)
    mean.relativeUpdate =
      all.allSatisfy { $0.relativeUpdate != nil } ? average { $0.relativeUpdate ?? 0 } : nil
    return mean
  }
}

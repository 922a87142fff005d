/// What a compressed gradient keeps of G, whatever the size of the step. P projects on A's row space [in, in].
package struct GradientCapture: Sendable, Equatable {
  /// ‖G‖².
  package var energy: Double
  /// ‖G·P‖².
  package var capturedEnergy: Double
  /// c/γ in ΔW₀ = −c·G·P: √(in/r), or ‖G‖/‖G·P‖.
  package var stretch: Double
  /// ‖W‖.
  package var weightNorm: Double
}

/// How an initial update ΔW₀ = −c·G·P relates to the gradient G that it was made from.
///
/// The reconstruction error that the paper's rebuttal quotes (`legacy` here) says nothing about compression: for every random A
/// and every G it is near γ·√(2(1−√(r/in))). It stands next to numbers that do.
package struct InitialisationDiagnostics: Sendable, Equatable {
  /// ‖G‖².
  package var gradientEnergy: Double
  /// ‖G·P‖²/‖G‖²: r/in on average for a random A, the first r singular values' share for singular vectors.
  package var captured: Double
  /// −⟨ΔW₀, G⟩/(‖ΔW₀‖·‖G‖): √captured; 0 where either is zero.
  package var cosine: Double
  /// ‖ΔW₀‖/(γ‖G‖): 1 on average; 0 where γ or G is zero.
  package var normRatio: Double
  /// ‖ΔW₀ + γG‖/(γ‖G‖); 0 where γ or G is zero. Above 1 it is further from −γG than no update at all.
  package var residual: Double
  /// The least residual that any update with this row space can have: √(1 − captured).
  package var bestResidual: Double
  /// ‖ΔW₀ + γG‖/‖G‖, the error that the paper's authors report.
  package var legacy: Double
  /// ‖ΔW₀‖/‖W‖; 0 where W is zero.
  package var relativeUpdate: Double

  /// ‖ΔW₀‖ = c·‖G·P‖ and ⟨ΔW₀, G⟩ = −c·‖G·P‖² give all of it: nothing is computed again.
  package init(gamma: Double, _ capture: GradientCapture) {
    let step = gamma * capture.stretch
    let update = step * capture.capturedEnergy.squareRoot()
    let norm = capture.energy.squareRoot()
    let error = max(
      0, update * update - 2 * gamma * step * capture.capturedEnergy + gamma * gamma * capture.energy
    ).squareRoot()
    gradientEnergy = capture.energy
    captured = norm > 0 ? capture.capturedEnergy / capture.energy : 0
    cosine = update > 0 ? captured.squareRoot() : 0
    normRatio = gamma > 0 && norm > 0 ? update / (gamma * norm) : 0
    residual = gamma > 0 && norm > 0 ? error / (gamma * norm) : 0
    bestResidual = max(0, 1 - captured).squareRoot()
    legacy = norm > 0 ? error / norm : 0
    relativeUpdate = capture.weightNorm > 0 ? update / capture.weightNorm : 0
  }
}

extension InitialisationDiagnostics {
  /// The mean over modules, ‖G‖² summed; nil for none.
  /// - Parameter weighted: by ‖G‖² (0 where all are 0), otherwise every module alike.
  package static func mean(_ all: [InitialisationDiagnostics], weighted: Bool) -> InitialisationDiagnostics? {
    guard var mean = all.first else { return nil }
    mean.gradientEnergy = all.reduce(0) { $0 + $1.gradientEnergy }
    let total = weighted ? mean.gradientEnergy : Double(all.count)
    for value in [
      \InitialisationDiagnostics.captured, \.cosine, \.normRatio, \.residual, \.bestResidual, \.legacy, \.relativeUpdate,
    ] {
      mean[keyPath: value] =
        total > 0 ? all.reduce(0) { $0 + (weighted ? $1.gradientEnergy : 1) * $1[keyPath: value] } / total : 0
    }
    return mean
  }
}

import GoraCore
import GoraModels

/// What a run will hold in memory besides the mapped weights, and how much work a token is.
package struct MemoryEstimate: Sendable, CustomStringConvertible {
  /// Weights in the files: mapped, shared with the page cache, given back under pressure.
  package var mapped: Int
  package var activations: Int
  package var gradients: Int
  /// Trained values and both moments.
  package var optimiser: Int

  /// - Parameters:
  ///   - tokens: that run through the model together.
  ///   - gradients: floats of gradient sums.
  ///   - trained: floats that are trained.
  init(_ loaded: LoadedModel, tokens: Int, gradients: Int, trained: Int, recomputes: Bool) {
    let config = loaded.config
    mapped = loaded.folder.map { folder in folder.names.reduce(0) { $0 + (folder.tensor($1)?.bytes.count ?? 0) } } ?? 0
    let kept =
      recomputes
      ? config.activationBytesPerToken / config.layers + 4 * config.layers * config.hiddenSize : config.activationBytesPerToken
    activations =
      tokens * (kept + config.scratchBytesPerToken)
      + 4 * min(4_194_304, tokens * config.vocabularySize)
    self.gradients = 4 * gradients
    optimiser = 12 * trained
  }

  package var total: Int { activations + gradients + optimiser }

  package var description: String {
    func mib(_ bytes: Int) -> String { "\((bytes + (1 << 19)) >> 20) MiB" }
    var parts = ["activations \(mib(activations))", "gradients \(mib(gradients))"]
    if optimiser > 0 { parts.append("optimiser \(mib(optimiser))") }
    return "memory: about \(mib(total)) (\(parts.joined(separator: ", "))) beside \(mib(mapped)) of mapped weights"
  }
}

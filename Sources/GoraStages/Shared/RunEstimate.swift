import GoraCore
import GoraModels

/// What a run will hold in memory besides the mapped weights, and how long it will take.
package struct RunEstimate: Sendable, CustomStringConvertible {
  /// Weights in the files: mapped, shared with the page cache, given back under pressure.
  package var mapped: Int
  /// Weights in 4 bits, made while loading.
  package var quantized: Int
  package var activations: Int
  package var gradients: Int
  /// Trained values and both moments.
  package var optimiser: Int
  /// Multiplications and additions of the whole run.
  package var operations: Double
  /// f32 products on this machine now, in operations a second.
  package var rate: Double

  /// - Parameters:
  ///   - tokens: that run through the model together.
  ///   - allTokens: of the whole run.
  ///   - gradients: floats of gradient sums.
  ///   - trained: floats that are trained.
  init(_ loaded: LoadedModel, tokens: Int, allTokens: Int, gradients: Int, trained: Int, recomputes: Bool) {
    let config = loaded.config
    func bytes(_ names: [String]) -> Int { names.reduce(0) { $0 + (loaded.folder?.tensor($1)?.bytes.count ?? 0) } }
    mapped = bytes(loaded.folder?.names ?? [])
    quantized = 0
    for weight in loaded.model.linears.map(\.weight) {
      guard case .nf4(let codes) = weight.matrix.storage else { continue }
      quantized += codes.byteCount
      mapped -= bytes([weight.name])
    }
    let kept =
      recomputes
      ? config.activationBytesPerToken / config.layers + 4 * config.layers * config.hiddenSize : config.activationBytesPerToken
    activations =
      tokens * (kept + config.scratchBytesPerToken)
      + 4 * min(4_194_304, tokens * config.vocabularySize)
    self.gradients = 4 * gradients
    optimiser = 12 * trained
    // Two operations a weight and token forward, two for the input's gradient, two where the weight's own is summed.
    let linear = config.linearModules.reduce(0) { $0 + $1.shape[0] * $1.shape[1] }
    let projection = config.vocabularySize * config.hiddenSize
    operations = 2 * Double(allTokens) * Double((recomputes ? 3 : 2) * linear + 2 * projection + gradients)
    rate = Matmul.measuredRate()
  }

  package var total: Int { activations + gradients + optimiser + quantized }

  /// Seconds, at the half of the products' rate that a training step reaches with norms, attention and the rest.
  package var seconds: Double { operations / (0.5 * rate) }

  package var description: String {
    func mib(_ bytes: Int) -> String { "\((bytes + (1 << 19)) >> 20) MiB" }
    var parts = ["activations \(mib(activations))", "gradients \(mib(gradients))"]
    if quantized > 0 { parts.append("4-bit weights \(mib(quantized))") }
    if optimiser > 0 { parts.append("optimiser \(mib(optimiser))") }
    return "memory about \(mib(total)) (\(parts.joined(separator: ", "))) beside \(mib(mapped)) of mapped weights; "
      + "time about \(NumberText.duration(seconds)) at \(NumberText.significant(rate / 1e9)) GFLOP/s"
  }
}

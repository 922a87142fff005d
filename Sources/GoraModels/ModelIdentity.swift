import GoraCore
import GoraFormats

/// Which model a file belongs to: a digest of the weights, and one of the computation that config.json makes of them.
package struct ModelIdentity: Sendable, Equatable {
  package let weights: String
  package let computation: String

  package init(of folder: ModelFolder) throws(GoraError) {
    self.init(of: folder, config: try ModelConfig(of: folder))
  }

  package init(of folder: ModelFolder, config: ModelConfig) {
    weights = folder.identity
    let digest = SHA256()
    digest.update(config.computation)
    computation = String(digest.finish().prefix(16))
  }

  /// As files hold it.
  package var text: String { "\(weights)-\(computation)" }

  /// How the model of a file's text differs from this one; nil where it is the same. Files of gora 0.1.0 hold the weights' part alone.
  package func difference(from text: String) -> String? {
    let parts = text.split(separator: "-", maxSplits: 1)
    if let made = parts.first, made != weights { return "model \(made.prefix(12))…, this one is \(weights.prefix(12))…" }
    if parts.count == 2, parts[1] != computation { return "these weights with another config.json" }
    return nil
  }
}

extension ModelConfig {
  /// What decides the numbers that the weights give, spelled out.
  var computation: String {
    var lines = [
      "sizes \(hiddenSize) \(intermediateSize) \(layers) \(heads) \(keyValueHeads) \(headSize) \(vocabularySize)",
      "biases \(hasQKVBias) \(hasOutputBias) \(hasMLPBias)", "epsilon \(normEpsilon)", "tied \(tiesEmbeddings)",
      "rotary \(rotary.theta) \(rotary.attentionFactor)",
    ]
    switch rotary.kind {
    case .default: break
    case .linear(let factor): lines.append("linear \(factor)")
    case .dynamic(let factor, let positions): lines.append("dynamic \(factor) \(positions)")
    case .llama3(let factor, let low, let high, let original): lines.append("llama3 \(factor) \(low) \(high) \(original)")
    case .yarn(let factor, let fast, let slow, let original, let truncates):
      lines.append("yarn \(factor) \(fast) \(slow) \(original) \(truncates)")
    case .longrope(let short, let long, let original): lines.append("longrope \(short) \(long) \(original)")
    case .proportional(let factor, let fraction): lines.append("proportional \(factor) \(fraction)")
    }
    if windows.contains(where: { $0 != nil }) { lines.append("windows \(windows.map { $0 ?? 0 })") }
    return lines.joined(separator: "\n")
  }
}

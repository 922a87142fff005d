import GoraCore
import GoraFormats

/// Which model a file belongs to: a digest of the weights, and one of the computation that config.json makes of them.
package struct ModelIdentity: Sendable, Equatable {
  package let weights: String
  package let computation: String

  package init(of folder: ModelFolder) throws(GoraError) {
    self.init(of: folder, config: try ModelFamilies.config(of: folder))
  }

  package init(of folder: ModelFolder, config: any ModelConfig) {
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

extension DecoderConfig {
  /// What decides the numbers that the weights give, spelled out.
  package var computation: String {
    var lines = [
      "sizes \(hiddenSize) \(intermediateSize) \(layers) \(heads) \(keyValueHeads) \(headSize) \(vocabularySize)",
      "biases \(hasQKVBias) \(hasOutputBias) \(hasMLPBias)", "epsilon \(normEpsilon)", "tied \(tiesEmbeddings)",
      "rotary \(rotary.theta) \(rotary.attentionFactor)",
    ]
    if activation != .silu { lines.append("activation \(activation.rawValue)") }
    if hasHeadNorms { lines.append("head norms") }
    if hasBranchNorms { lines.append("branch norms") }
    if normOffset != 0 { lines.append("norm offset \(normOffset)") }
    if embeddingScale != 1 { lines.append("embedding scale \(embeddingScale)") }
    if attentionScale != 1 / Float(headSize).squareRoot() { lines.append("attention scale \(attentionScale)") }
    if let attentionSoftCap { lines.append("attention cap \(attentionSoftCap)") }
    if let logitSoftCap { lines.append("logit cap \(logitSoftCap)") }
    lines += rotary.computation
    if let slidingRotary {
      lines.append("sliding rotary \(slidingRotary.theta) \(slidingRotary.attentionFactor)")
      lines += slidingRotary.computation
    }
    if windows.contains(where: { $0 != nil }) { lines.append("windows \(windows.map { $0 ?? 0 })") }
    return lines.joined(separator: "\n")
  }
}

extension RotaryScaling {
  /// What its kind makes of the frequencies.
  fileprivate var computation: [String] {
    switch kind {
    case .default: []
    case .linear(let factor): ["linear \(factor)"]
    case .dynamic(let factor, let positions): ["dynamic \(factor) \(positions)"]
    case .llama3(let factor, let low, let high, let original): ["llama3 \(factor) \(low) \(high) \(original)"]
    case .yarn(let factor, let fast, let slow, let original, let truncates):
      ["yarn \(factor) \(fast) \(slow) \(original) \(truncates)"]
    case .longrope(let short, let long, let original): ["longrope \(short) \(long) \(original)"]
    case .proportional(let factor, let fraction): ["proportional \(factor) \(fraction)"]
    }
  }
}

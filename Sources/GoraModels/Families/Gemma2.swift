import GoraCore
import GoraFormats

/// Gemma 2 (Gemma Team 2024; reference: Transformers' Gemma2ForCausalLM): four norms a layer, whose weights are stored less one,
/// embeddings times √H, an MLP gated by GELU, capped scores and logits, windows on every other layer.
package enum Gemma2: DecoderFamily {
  package static let types = ["gemma2"]

  package static func decoder(reading root: JSONField) throws(GoraError) -> DecoderConfig {
    var config = try base(root, vocabularySize: 256_000, maxPositions: 8192)
    config.attentionSoftCap = try DecoderConfig.softCap(root, "attn_logit_softcapping", default: 50)
    config.logitSoftCap = try DecoderConfig.softCap(root, "final_logit_softcapping", default: 30)
    try config.readRotary(root)
    try setWindows(&config, root) { $0 % 2 == 0 }
    return config
  }

  /// - Parameter slides: whether a layer has a window where there is no `layer_types`.
  static func setWindows(_ config: inout DecoderConfig, _ root: JSONField, slides: (Int) -> Bool) throws(GoraError) {
    guard let window = try DecoderConfig.slidingWindow(root) else {
      throw try (root.member("sliding_window") ?? root).error("\"sliding_window\" is null; expected the window of some layers")
    }
    try config.setWindows(root, window: window, slides: slides)
  }

  /// What Gemma 2 and 3 share.
  static func base(_ root: JSONField, vocabularySize: Int, maxPositions: Int) throws(GoraError) -> DecoderConfig {
    var config = try DecoderConfig(
      decoder: root,
      defaults: DecoderDefaults(
        hiddenSize: 2304, intermediateSize: 9216, layers: 26, heads: 8, keyValueHeads: 4, takesNullKeyValueHeads: false,
        headSize: 256, vocabularySize: vocabularySize, maxPositions: maxPositions, tiesEmbeddings: true, bosToken: 2,
        eosTokens: [1], activation: ("hidden_activation", .geluTanh)))
    if let field = try root.optional("use_bidirectional_attention"), try field.bool {
      throw field.error("attention in both directions (\"use_bidirectional_attention\") is not supported")
    }
    try config.readAttentionBias(root)
    config.hasBranchNorms = true
    config.normOffset = 1
    config.embeddingScale = Float(config.hiddenSize).squareRoot()
    let scalar = try root.member("query_pre_attn_scalar").map { (field) throws(GoraError) in try DecoderConfig.positive(field) }
    config.attentionScale = 1 / (scalar ?? 256).squareRoot()
    return config
  }
}

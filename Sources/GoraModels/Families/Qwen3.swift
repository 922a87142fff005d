import GoraCore
import GoraFormats

/// Qwen3 (reference: Transformers' Qwen3ForCausalLM): as Qwen2 without biases, the heads of queries and keys with norms of their own,
/// their size not bound to the hidden one.
package enum Qwen3: DecoderFamily {
  package static let types = ["qwen3"]

  package static func decoder(reading root: JSONField) throws(GoraError) -> DecoderConfig {
    var config = try DecoderConfig(
      decoder: root,
      defaults: DecoderDefaults(
        intermediateSize: 22_016, keyValueHeads: 32, headSize: 128, vocabularySize: 151_936, maxPositions: 32_768,
        bosToken: nil, eosTokens: []))
    config.hasHeadNorms = true
    try config.readAttentionBias(root)
    try config.readRotary(root)
    try Llama.setUpperWindows(&config, root)
    return config
  }
}

import GoraCore
import GoraFormats

/// Llama 2, 3, 3.1, 3.2, Mistral, Qwen2 and Qwen2.5 (Touvron et al. 2023; reference: Transformers' LlamaForCausalLM,
/// MistralForCausalLM and Qwen2ForCausalLM): RMS norms, rotary embeddings, grouped-query attention, an MLP gated by SiLU.
package enum Llama: DecoderFamily {
  package static let types = ["llama", "mistral", "qwen2"]

  package static func decoder(reading root: JSONField) throws(GoraError) -> DecoderConfig {
    let type = try root.required("model_type").string
    var defaults = DecoderDefaults()
    switch type {
    case "mistral":
      (defaults.intermediateSize, defaults.keyValueHeads, defaults.maxPositions) = (14_336, 8, 131_072)
      defaults.takesNullKeyValueHeads = false
    case "qwen2":
      (defaults.vocabularySize, defaults.intermediateSize, defaults.keyValueHeads) = (151_936, 22_016, 32)
      (defaults.maxPositions, defaults.bosToken, defaults.eosTokens) = (32_768, nil, [])
    default: break
    }
    var config = try DecoderConfig(decoder: root, defaults: defaults)
    try config.readRotary(root)
    switch type {
    case "mistral": try config.setWindows(root, window: DecoderConfig.slidingWindow(root), fullNames: fullNames) { _ in true }
    case "qwen2":
      config.hasQKVBias = true
      try setUpperWindows(&config, root, fullNames: fullNames)
    default:
      try config.readAttentionBias(root)
      config.hasMLPBias = try root.optional("mlp_bias")?.bool ?? false
      if try root.optional("sliding_window") != nil {
        config.notes.append("\"sliding_window\" of config.json is not read for llama, as in Transformers")
      }
      if let types = try root.optional("layer_types"),
        try DecoderConfig.slidingLayers(types, layers: config.layers, fullNames: fullNames).contains(true)
      {
        config.notes.append("\"layer_types\" of config.json is not read for llama, as in Transformers")
      }
    }
    return config
  }

  private static let fullNames = ["full_attention", "attention"]

  /// Windows by Qwen's keys: of the layers that `layer_types` names, or those from `max_window_layers` on; none unless
  /// `use_sliding_window`.
  static func setUpperWindows(
    _ config: inout DecoderConfig, _ root: JSONField, fullNames: [String] = ["full_attention"]
  ) throws(GoraError) {
    let isOn = try root.optional("use_sliding_window")?.bool ?? false
    let first = try root.member("max_window_layers")?.int ?? 28
    try config.setWindows(root, window: isOn ? DecoderConfig.slidingWindow(root) : nil, fullNames: fullNames) { $0 >= first }
  }
}

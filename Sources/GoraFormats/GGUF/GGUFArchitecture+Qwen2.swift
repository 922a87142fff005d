import GoraCore

extension GGUFArchitecture {
  /// Qwen2 and Qwen2.5.
  static let qwen2 = GGUFArchitecture(
    name: "qwen2", modelType: "qwen2", className: "Qwen2ForCausalLM", modules: decoderModules,
    blockModules: attentionModules + gatedModules + [
      ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
    ], interleavesRotaryPairs: false, keys: []
  ) { _ in [] }
}

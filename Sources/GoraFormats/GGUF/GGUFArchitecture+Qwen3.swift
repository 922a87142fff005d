import GoraCore

extension GGUFArchitecture {
  static let qwen3 = GGUFArchitecture(
    name: "qwen3", modelType: "qwen3", className: "Qwen3ForCausalLM", modules: decoderModules,
    blockModules: attentionModules + gatedModules + [
      ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"), ("attn_q_norm", "self_attn.q_norm"),
      ("attn_k_norm", "self_attn.k_norm"),
    ], interleavesRotaryPairs: false, keys: []
  ) { file in
    [JSON.Member("attention_bias", JSON(file.hasBias(of: attentionModules)))]
  }
}

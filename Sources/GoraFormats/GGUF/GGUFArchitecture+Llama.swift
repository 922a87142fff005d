import GoraCore

extension GGUFArchitecture {
  /// Llama, and what llama.cpp's converter takes for it: Mistral, TinyLlama, SmolLM. Mistral's sliding window is not kept in the file;
  /// llama.cpp attends to all positions.
  static let llama = GGUFArchitecture(
    name: "llama", modelType: "llama", className: "LlamaForCausalLM", modules: decoderModules,
    blockModules: attentionModules + gatedModules + [
      ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
      // What old files kept of the rotary embedding.
      ("attn_rot_embd", "self_attn.rotary_emb.inv_freq"),
    ], interleavesRotaryPairs: true, keys: [], otherModelTypes: ["mistral"]
  ) { file in
    [
      JSON.Member("attention_bias", JSON(file.hasBias(of: attentionModules))),
      JSON.Member("mlp_bias", JSON(file.hasBias(of: gatedModules))),
    ]
  }
}

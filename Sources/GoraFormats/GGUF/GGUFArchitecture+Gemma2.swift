import GoraCore

extension GGUFArchitecture {
  /// Gemma 2. What scores are multiplied by is not in the file: llama.cpp goes by the number of layers, of which the model of 27 billion
  /// parameters alone has 46.
  static let gemma2 = GGUFArchitecture(
    name: "gemma2", modelType: "gemma2", className: "Gemma2ForCausalLM", modules: decoderModules,
    blockModules: gemmaModules, interleavesRotaryPairs: false,
    keys: ["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"], normOffset: 1
  ) { (file) throws(GoraError) -> [JSON.Member] in
    func own(_ key: String) -> GGUFField? { file.metadata("gemma2.\(key)") }
    return try gemmaSettings(file, "gemma2", layersOfLargest: 46) + [
      JSON.Member("sliding_window", JSON(try own("attention.sliding_window")?.int ?? 4096)),
      JSON.Member("attn_logit_softcapping", JSON(try own("attn_logit_softcapping")?.double ?? 50)),
      JSON.Member("final_logit_softcapping", JSON(try own("final_logit_softcapping")?.double ?? 30)),
    ]
  }

  /// The modules of a block of Gemma 2 and 3, whose branches have norms at both ends.
  static let gemmaModules =
    attentionModules + gatedModules + [
      ("attn_norm", "input_layernorm"), ("post_attention_norm", "post_attention_layernorm"),
      ("ffn_norm", "pre_feedforward_layernorm"),
      ("post_ffw_norm", "post_feedforward_layernorm"),
    ]

  /// What Gemma 2 and 3 share: GELU, and the divisor of scores, the size of a head, but the mean size over all heads in the largest model.
  static func gemmaSettings(
    _ file: GGUFFile, _ name: String, layersOfLargest: Int
  ) throws(GoraError) -> [JSON.Member] {
    func size(_ key: String) throws(GoraError) -> Int { try file.required("\(name).\(key)").int(in: 1...(1 << 30)) }
    let isLargest = try size("block_count") == layersOfLargest
    let scalar = isLargest ? try size("embedding_length") / size("attention.head_count") : try size("attention.key_length")
    return [
      JSON.Member("hidden_activation", "gelu_pytorch_tanh"), JSON.Member("query_pre_attn_scalar", JSON(scalar)),
      JSON.Member("attention_bias", JSON(file.hasBias(of: attentionModules))),
    ]
  }
}

import GoraCore

extension GGUFArchitecture {
  /// The text models of Gemma 3. Layers with windows, five of six where the file does not say, have a rotary base of their own, and what is
  /// scaled is that of the others.
  static let gemma3 = GGUFArchitecture(
    name: "gemma3", modelType: "gemma3_text", className: "Gemma3ForCausalLM", modules: decoderModules,
    blockModules: gemmaModules + [("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")],
    interleavesRotaryPairs: false,
    keys: ["attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa", "final_logit_softcapping"],
    normOffset: 1
  ) { (file) throws(GoraError) -> [JSON.Member] in
    func own(_ key: String) -> GGUFField? { file.metadata("gemma3.\(key)") }
    let sliding: JSON = .object(["rope_type": "default", "rope_theta": JSON(try own("rope.freq_base_swa")?.double ?? 10_000)])
    return try gemmaSettings(file, "gemma3", layersOfLargest: 62) + [
      JSON.Member("sliding_window", JSON(try file.required("gemma3.attention.sliding_window").int)),
      JSON.Member("sliding_window_pattern", JSON(try own("attention.sliding_window_pattern")?.int ?? 6)),
      JSON.Member(
        "final_logit_softcapping",
        try own("final_logit_softcapping").map { field throws(GoraError) in JSON(try field.double) } ?? nil),
      JSON.Member(
        "rope_parameters", .object(["full_attention": try GGUFConfig(file).rotary, "sliding_attention": sliding])),
    ]
  }
}

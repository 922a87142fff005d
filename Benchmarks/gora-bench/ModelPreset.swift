import GoraFormats

/// The shape of a model that is measured: a Llama decoder, in Hugging Face's terms.
struct ModelPreset: Sendable {
  var name: String
  var hiddenSize: Int
  var layers: Int
  var heads: Int
  var keyValueHeads: Int
  var intermediateSize: Int
  var vocabularySize: Int
  var tiesEmbeddings = true

  static let all = [
    ModelPreset(
      name: "15m", hiddenSize: 288, layers: 6, heads: 6, keyValueHeads: 6, intermediateSize: 768, vocabularySize: 32000),
    ModelPreset(
      name: "110m", hiddenSize: 768, layers: 12, heads: 12, keyValueHeads: 12, intermediateSize: 2048, vocabularySize: 32000),
    // SmolLM2-135M's.
    ModelPreset(
      name: "135m", hiddenSize: 576, layers: 30, heads: 9, keyValueHeads: 3, intermediateSize: 1536, vocabularySize: 49152),
    // Six layers of TinyLlama 1.1B's size, about a quarter of it.
    ModelPreset(
      name: "tinyllama-quarter", hiddenSize: 2048, layers: 6, heads: 32, keyValueHeads: 4, intermediateSize: 5632,
      vocabularySize: 32000),
    ModelPreset(
      name: "llama-3.1-8b", hiddenSize: 4096, layers: 32, heads: 32, keyValueHeads: 8, intermediateSize: 14336,
      vocabularySize: 128_256, tiesEmbeddings: false),
  ]

  static func named(_ name: String) -> ModelPreset? { all.first { $0.name == name } }

  /// A shape that a row names; rows name presets only.
  static func known(_ name: String) -> ModelPreset {
    guard let preset = named(name) else { preconditionFailure("no preset \(name)") }
    return preset
  }

  var headSize: Int { hiddenSize / heads }
  var keyValueSize: Int { keyValueHeads * headSize }

  /// A layer's linears in the order of the forward pass: name, out, in.
  var linears: [(name: String, out: Int, in: Int)] {
    [
      ("self_attn.q_proj", hiddenSize, hiddenSize), ("self_attn.k_proj", keyValueSize, hiddenSize),
      ("self_attn.v_proj", keyValueSize, hiddenSize), ("self_attn.o_proj", hiddenSize, hiddenSize),
      ("mlp.gate_proj", intermediateSize, hiddenSize), ("mlp.up_proj", intermediateSize, hiddenSize),
      ("mlp.down_proj", hiddenSize, intermediateSize),
    ]
  }

  /// All weights with their Hugging Face names, first layer first.
  var tensors: [(name: String, shape: [Int])] {
    var tensors: [(name: String, shape: [Int])] = [("model.embed_tokens.weight", [vocabularySize, hiddenSize])]
    for layer in 0..<layers {
      let prefix = "model.layers.\(layer)"
      tensors.append(("\(prefix).input_layernorm.weight", [hiddenSize]))
      tensors += linears.map { ("\(prefix).\($0.name).weight", [$0.out, $0.in]) }
      tensors.append(("\(prefix).post_attention_layernorm.weight", [hiddenSize]))
    }
    tensors.append(("model.norm.weight", [hiddenSize]))
    if !tiesEmbeddings { tensors.append(("lm_head.weight", [vocabularySize, hiddenSize])) }
    return tensors
  }

  var parameters: Int { tensors.reduce(0) { $0 + $1.shape.reduce(1, *) } }

  /// config.json: what gora and Transformers need to run it.
  func config(dtype: String) -> JSON {
    // Only Llama 3.1 has a vocabulary of this size here, and its stretched rotary embedding with it.
    let isLlama3 = vocabularySize == 128_256
    let rotary: JSON =
      isLlama3
      ? .object([
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
      ]) : .object(["rope_type": "default", "rope_theta": 10_000.0])
    return .object([
      "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": false, "mlp_bias": false,
      "bos_token_id": JSON(isLlama3 ? 128_000 : 1), "eos_token_id": JSON(isLlama3 ? 128_001 : 2), "dtype": JSON(dtype),
      "hidden_act": "silu", "hidden_size": JSON(hiddenSize), "intermediate_size": JSON(intermediateSize),
      "head_dim": JSON(headSize), "num_hidden_layers": JSON(layers), "num_attention_heads": JSON(heads),
      "num_key_value_heads": JSON(keyValueHeads), "initializer_range": 0.02,
      "max_position_embeddings": JSON(isLlama3 ? 131_072 : 4096), "rms_norm_eps": JSON(isLlama3 ? 1e-5 : 1e-6),
      "rope_parameters": rotary, "tie_word_embeddings": JSON(tiesEmbeddings), "use_cache": true,
      "vocab_size": JSON(vocabularySize),
    ])
  }
}

import GoraCore
import GoraFormats

/// What config.json says of a Llama-family decoder, in Hugging Face's terms.
package struct ModelConfig: Sendable, Equatable {
  /// The `model_type`s this engine runs.
  package static let supportedTypes = ["llama", "mistral", "qwen2"]

  package var modelType: String
  package var hiddenSize: Int
  package var intermediateSize: Int
  package var layers: Int
  package var heads: Int
  package var keyValueHeads: Int
  package var headSize: Int
  package var vocabularySize: Int
  package var normEpsilon: Float
  package var tiesEmbeddings: Bool
  /// Biases of q, k, v (qwen2 always; llama with `attention_bias`).
  package var hasQKVBias: Bool
  /// Bias of the attention's output (llama with `attention_bias`).
  package var hasOutputBias: Bool
  package var hasMLPBias: Bool
  package var rotary: RotaryScaling
  package var maxPositions: Int
  package var initializerRange: Double
  package var bosToken: Int32?
  package var eosTokens: [Int32]

  package var querySize: Int { heads * headSize }
  package var keyValueSize: Int { keyValueHeads * headSize }

  /// Reads both spellings of the rotary settings; refuses what the engine does not run, by name.
  package init(reading document: JSONDocument) throws(GoraError) {
    let root = document.root
    let type = try root.required("model_type")
    modelType = try type.string
    guard Self.supportedTypes.contains(modelType) else {
      throw type.error(
        "model_type \"\(modelType)\" is not supported", hint: "supported: \(Self.supportedTypes.joined(separator: ", "))")
    }
    hiddenSize = try root.required("hidden_size").int(in: 1...1_048_576)
    intermediateSize = try root.required("intermediate_size").int(in: 1...4_194_304)
    layers = try root.required("num_hidden_layers").int(in: 1...4096)
    heads = try root.required("num_attention_heads").int(in: 1...65_536)
    keyValueHeads = try root.optional("num_key_value_heads")?.int(in: 1...heads) ?? heads
    guard heads % keyValueHeads == 0 else {
      throw root.error("num_attention_heads \(heads) is not a multiple of num_key_value_heads \(keyValueHeads)")
    }
    if let field = try root.optional("head_dim") {
      headSize = try field.int(in: 2...8192)
    } else {
      guard hiddenSize % heads == 0 else {
        throw root.error("hidden_size \(hiddenSize) is not a multiple of num_attention_heads \(heads) and there is no head_dim")
      }
      headSize = hiddenSize / heads
    }
    guard headSize % 2 == 0 else { throw root.error("head_dim \(headSize) is odd") }
    vocabularySize = try root.required("vocab_size").int(in: 1...16_777_216)
    normEpsilon = Float(try Self.nonNegative(root, "rms_norm_eps") ?? 1e-6)
    tiesEmbeddings = try root.optional("tie_word_embeddings")?.bool ?? false
    let attentionBias = try root.optional("attention_bias")?.bool ?? false
    hasQKVBias = modelType == "qwen2" || (modelType == "llama" && attentionBias)
    hasOutputBias = modelType == "llama" && attentionBias
    hasMLPBias = modelType == "llama" ? try root.optional("mlp_bias")?.bool ?? false : false
    maxPositions = try root.optional("max_position_embeddings")?.int(in: 1...(1 << 30)) ?? 2048
    initializerRange = try Self.nonNegative(root, "initializer_range") ?? 0.02
    if let activation = try root.optional("hidden_act"), try activation.string != "silu" {
      throw activation.error("hidden_act \"\(try activation.string)\" is not supported; expected \"silu\"")
    }
    if try root.optional("quantization_config") != nil {
      throw root.error("quantised checkpoints are not supported", hint: "use the original f32, f16 or bf16 weights")
    }
    rotary = try RotaryScaling(reading: root)
    // A window at least as long as the longest sequence changes nothing.
    let usesWindow = try root.optional("use_sliding_window")?.bool ?? (modelType == "mistral")
    if usesWindow, let window = try root.optional("sliding_window") {
      maxPositions = min(maxPositions, try window.int(in: 1...(1 << 30)))
    }
    let ids = 0...vocabularySize - 1
    if let bos = try root.optional("bos_token_id") { bosToken = Int32(try bos.int(in: ids)) }
    eosTokens = []
    if let eos = try root.optional("eos_token_id") {
      var fields = [eos]
      if case .array = eos.value.content { fields = try eos.elements }
      for field in fields { eosTokens.append(Int32(try field.int(in: ids))) }
    }
  }

  private static func nonNegative(_ root: JSONField, _ key: String) throws(GoraError) -> Double? {
    guard let field = try root.optional(key) else { return nil }
    let value = try field.double
    guard value >= 0 else { throw field.error("\(field.name) is \(field.value.compact()); expected a number from 0") }
    return value
  }
}

/// Every linear layer of a decoder layer, in the order in which the forward pass reaches it.
package enum LinearKind: String, CaseIterable, Sendable {
  case q = "self_attn.q_proj"
  case k = "self_attn.k_proj"
  case v = "self_attn.v_proj"
  case o = "self_attn.o_proj"
  case gate = "mlp.gate_proj"
  case up = "mlp.up_proj"
  case down = "mlp.down_proj"
}

extension ModelConfig {
  /// [out, in] of a layer's linear.
  package func shape(of kind: LinearKind) -> (out: Int, in: Int) {
    switch kind {
    case .q: (querySize, hiddenSize)
    case .k, .v: (keyValueSize, hiddenSize)
    case .o: (hiddenSize, querySize)
    case .gate, .up: (intermediateSize, hiddenSize)
    case .down: (hiddenSize, intermediateSize)
    }
  }

  func hasBias(_ kind: LinearKind) -> Bool {
    switch kind {
    case .q, .k, .v: hasQKVBias
    case .o: hasOutputBias
    case .gate, .up, .down: hasMLPBias
    }
  }

  /// Module paths and shapes of all decoder linears, counted from the configuration alone.
  package var linearModules: [(name: String, shape: [Int])] {
    (0..<layers).flatMap { layer in
      LinearKind.allCases.map { kind in
        let shape = shape(of: kind)
        return ("model.layers.\(layer).\(kind.rawValue)", [shape.out, shape.in])
      }
    }
  }

  /// All weights, in floats.
  package var parameterCount: Int {
    var count = vocabularySize * hiddenSize * (tiesEmbeddings ? 1 : 2) + hiddenSize * (2 * layers + 1)
    for kind in LinearKind.allCases {
      let shape = shape(of: kind)
      count += layers * (shape.out * shape.in + (hasBias(kind) ? shape.out : 0))
    }
    return count
  }
}

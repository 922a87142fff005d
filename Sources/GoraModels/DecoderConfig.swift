import GoraCore
import GoraFormats

/// What config.json says of a decoder, in Hugging Face's terms.
package struct DecoderConfig: ModelConfig, Equatable {
  package var modelType: String
  package var hiddenSize: Int
  package var intermediateSize: Int
  package var layers: Int
  package var heads: Int
  package var keyValueHeads: Int
  package var headSize: Int
  package var vocabularySize: Int
  package var normEpsilon: Float
  /// What norms add to their weights: 1 where these are stored less one (Gemma).
  package var normOffset: Float = 0
  /// Norms of the heads of queries and keys, before they are rotated.
  package var hasHeadNorms = false
  /// Norms of what attention and MLP give, before it is added to the residual stream.
  package var hasBranchNorms = false
  package var activation: GatedActivation
  /// What embeddings are multiplied by.
  package var embeddingScale: Float = 1
  /// What the products of queries and keys are multiplied by.
  package var attentionScale: Float
  /// The scores s are c·tanh(s/c); nil: as they are.
  package var attentionSoftCap: Float?
  /// The logits z are c·tanh(z/c); nil: as they are.
  package var logitSoftCap: Float?
  package var tiesEmbeddings: Bool
  /// Biases of q, k, v (qwen2 always; others with `attention_bias`).
  package var hasQKVBias: Bool
  /// Bias of the attention's output.
  package var hasOutputBias: Bool
  package var hasMLPBias: Bool
  package var rotary: RotaryScaling
  /// Of the layers with windows, where they have settings of their own.
  package var slidingRotary: RotaryScaling?
  /// How many keys a query of each layer sees, its own included; nil: all before it.
  package var windows: [Int?]
  package var maxPositions: Int
  package var initializerRange: Double
  package var bosToken: Int32?
  package var eosTokens: [Int32]
  /// What config.json says that the model does not do, because Transformers' does not either.
  package var notes: [String] = []

  package var querySize: Int { heads * headSize }
  package var keyValueSize: Int { keyValueHeads * headSize }
}

extension DecoderConfig {
  /// Unties embeddings that the weights do not have tied, as Transformers does.
  package mutating func settle(by folder: ModelFolder) {
    if tiesEmbeddings, let embedding = folder.tensor(Self.embeddingName), let head = folder.tensor(Self.headName),
      !head.hasElements(of: embedding)
    {
      tiesEmbeddings = false
      notes.append(
        "config.json ties the embeddings, but \(Self.headName) is not \(Self.embeddingName): not tied, as in Transformers")
    }
  }

  package static let embeddingName = "model.embed_tokens.weight"
  package static let headName = "lm_head.weight"

  package var embedding: (name: String, shape: [Int]) { (Self.embeddingName, [vocabularySize, hiddenSize]) }
  package var positionLimit: Int? { maxPositions }
  package var headWeights: Int { vocabularySize * hiddenSize }

  /// The head that tied embeddings stand for, and what old checkpoints kept of the rotary embedding.
  package func isSpare(_ tensor: String) -> Bool {
    tiesEmbeddings && tensor == Self.headName || tensor.hasSuffix("rotary_emb.inv_freq")
  }

  package func initialValues(of weight: String) -> InitialValues {
    if weight.hasSuffix("norm.weight") { return .constant(1 - normOffset) }
    return weight.hasSuffix(".bias") ? .constant(0) : .normal(deviation: initializerRange)
  }

  package func model(from source: any ParameterSource) throws(GoraError) -> any Model { try Decoder(config: self, from: source) }
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

extension DecoderConfig {
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

  /// Module paths and shapes of all linears, counted from the configuration alone.
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
    if hasBranchNorms { count += 2 * layers * hiddenSize }
    if hasHeadNorms { count += 2 * layers * headSize }
    for kind in LinearKind.allCases {
      let shape = shape(of: kind)
      count += layers * (shape.out * shape.in + (hasBias(kind) ? shape.out : 0))
    }
    return count
  }
}

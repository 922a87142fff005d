import GoraCore
import GoraFormats

/// What config.json says of an encoder-decoder of the T5 kind, in Hugging Face's terms.
package struct T5Config: ModelConfig, Equatable {
  package var modelType: String
  /// `d_model`
  package var hiddenSize: Int
  /// `d_ff`
  package var intermediateSize: Int
  package var encoderLayers: Int
  package var decoderLayers: Int
  package var heads: Int
  /// `d_kv`
  package var headSize: Int
  package var vocabularySize: Int
  package var normEpsilon: Float
  package var activation: T5Activation
  /// Of distances between tokens, `relative_attention_num_buckets`.
  package var buckets: Int
  /// The distance from which on all fall into the last bucket, `relative_attention_max_distance`.
  package var maxDistance: Int
  package var tiesEmbeddings: Bool
  /// The decoder's output is multiplied by 1/√H before the head (T5 1.0).
  package var scalesOutput: Bool
  package var initializerFactor: Double
  /// What the decoder's input begins with.
  package var startToken: Int32
  package var padToken: Int32
  package var eosTokens: [Int32]
  package var notes: [String] = []
  /// Tensors of the checkpoint that repeat the embedding.
  private var copies: Set<String> = []

  /// Width of queries, keys and values, which need not be the hidden size.
  package var innerSize: Int { heads * headSize }
  package var positionLimit: Int? { nil }
  package var bosToken: Int32? { nil }
  package var decoderStart: (id: Int32, pad: Int32)? { (startToken, padToken) }
}

/// A linear of a block by its place, in the order in which the forward pass reaches it.
enum T5LinearKind: CaseIterable {
  case q, k, v, o
  /// Of the decoder's attention to what the encoder gives.
  case crossQ, crossK, crossV, crossO
  /// `wi`, or `wi_0` beside `up`.
  case gate
  case up
  case down
}

extension T5Config {
  static let embeddingName = "shared.weight"
  static let headName = "lm_head.weight"

  package var embedding: (name: String, shape: [Int]) { (Self.embeddingName, [vocabularySize, hiddenSize]) }
  package var headWeights: Int { vocabularySize * hiddenSize }

  /// The linears of a block.
  func kinds(isDecoder: Bool) -> [T5LinearKind] {
    T5LinearKind.allCases.filter { kind in
      switch kind {
      case .crossQ, .crossK, .crossV, .crossO: isDecoder
      case .up: activation.isGated
      case .q, .k, .v, .o, .gate, .down: true
      }
    }
  }

  /// [out, in] of a block's linear.
  func shape(of kind: T5LinearKind) -> [Int] {
    switch kind {
    case .q, .k, .v, .crossQ, .crossK, .crossV: [innerSize, hiddenSize]
    case .o, .crossO: [hiddenSize, innerSize]
    case .gate, .up: [intermediateSize, hiddenSize]
    case .down: [hiddenSize, intermediateSize]
    }
  }

  static func blockName(_ index: Int, isDecoder: Bool) -> String { "\(isDecoder ? "decoder" : "encoder").block.\(index)" }

  /// A linear's path within its block.
  func name(of kind: T5LinearKind, isDecoder: Bool) -> String {
    let feedForward = "layer.\(isDecoder ? 2 : 1).DenseReluDense"
    return switch kind {
    case .q: "layer.0.SelfAttention.q"
    case .k: "layer.0.SelfAttention.k"
    case .v: "layer.0.SelfAttention.v"
    case .o: "layer.0.SelfAttention.o"
    case .crossQ: "layer.1.EncDecAttention.q"
    case .crossK: "layer.1.EncDecAttention.k"
    case .crossV: "layer.1.EncDecAttention.v"
    case .crossO: "layer.1.EncDecAttention.o"
    case .gate: "\(feedForward).\(activation.isGated ? "wi_0" : "wi")"
    case .up: "\(feedForward).wi_1"
    case .down: "\(feedForward).wo"
    }
  }

  /// The encoder's, then the decoder's.
  package var linearModules: [(name: String, shape: [Int])] {
    [(encoderLayers, false), (decoderLayers, true)].flatMap { layers, isDecoder in
      (0..<layers).flatMap { layer in
        kinds(isDecoder: isDecoder).map { kind in
          ("\(Self.blockName(layer, isDecoder: isDecoder)).\(name(of: kind, isDecoder: isDecoder))", shape(of: kind))
        }
      }
    }
  }

  package var parameterCount: Int {
    let norms = 2 * encoderLayers + 3 * decoderLayers + 2
    return headWeights * (tiesEmbeddings ? 1 : 2) + linearWeights + norms * hiddenSize + 2 * buckets * heads
  }

  package var computation: String {
    var lines = [
      "sizes \(hiddenSize) \(intermediateSize) \(encoderLayers) \(decoderLayers) \(heads) \(headSize) \(vocabularySize)",
      "epsilon \(normEpsilon)", "tied \(tiesEmbeddings)", "activation \(activation.name)", "buckets \(buckets) \(maxDistance)",
    ]
    if scalesOutput { lines.append("scaled output") }
    return lines.joined(separator: "\n")
  }

  /// Goes by the head that the checkpoint has, as Transformers does since its fifth version.
  /// - Throws: `.data` where encoder and decoder do not share their embeddings.
  package mutating func settle(by folder: ModelFolder) throws(GoraError) {
    guard let embedding = folder.tensor(Self.embeddingName) else { return }
    for name in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
      guard let copy = folder.tensor(name) else { continue }
      guard copy.hasElements(of: embedding) else {
        throw GoraError(.data, at: copy.location, "is not \(Self.embeddingName); embeddings of their own are not supported")
      }
      copies.insert(name)
    }
    let hasHead = folder.tensor(Self.headName).map { !$0.hasElements(of: embedding) } ?? false
    if tiesEmbeddings == hasHead {
      notes.append(
        hasHead
          ? "config.json ties the embeddings, but \(Self.headName) is not \(Self.embeddingName): not tied, as in Transformers"
          : "config.json does not tie the embeddings, but there is no other \(Self.headName): tied, as in Transformers")
      tiesEmbeddings = !hasHead
    }
  }

  /// Copies of the embedding, and what old checkpoints have of a bias that was never used.
  package func isSpare(_ tensor: String) -> Bool {
    copies.contains(tensor) || tiesEmbeddings && tensor == Self.headName
      || tensor == "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
  }

  /// As `T5PreTrainedModel._init_weights`: queries so small that their products with keys need no factor.
  package func initialValues(of weight: String) -> InitialValues {
    if weight.hasSuffix("norm.weight") { return .constant(Float(initializerFactor)) }
    let variance =
      switch weight.split(separator: ".").dropLast().last {
      case "q": 1 / Double(hiddenSize * headSize)
      case "o": 1 / Double(innerSize)
      case "wo": 1 / Double(intermediateSize)
      case "shared", "lm_head": 1.0
      default: 1 / Double(hiddenSize)
      }
    return .normal(deviation: initializerFactor * variance.squareRoot())
  }

  package func model(from source: any ParameterSource) throws(GoraError) -> any Model { try T5Model(config: self, from: source) }
}

extension T5Config {
  /// Reads what `T5Config` and `MT5Config` of Transformers do, with the defaults of either.
  /// - Throws: `.data` where a value is out of its range, or asks for what is not done.
  init(reading root: JSONField) throws(GoraError) {
    modelType = try root.required("model_type").string
    let isMultilingual = modelType == "mt5"
    try ModelFolder.refuseQuantised(root)
    try Self.requireHead(root)
    func size(_ key: String, alias: String? = nil, _ fallback: Int, in range: ClosedRange<Int>) throws(GoraError) -> Int {
      let value = try root.member(key)?.int(in: range) ?? fallback
      if let alias, let other = try root.optional(alias), try other.int != value {
        throw other.error("\(other.name) is not \"\(key)\", which is \(value)")
      }
      return value
    }
    hiddenSize = try size("d_model", alias: "hidden_size", 512, in: 1...1_048_576)
    intermediateSize = try size("d_ff", isMultilingual ? 1024 : 2048, in: 1...4_194_304)
    encoderLayers = try size("num_layers", alias: "num_hidden_layers", isMultilingual ? 8 : 6, in: 1...4096)
    decoderLayers = try root.optional("num_decoder_layers")?.int(in: 1...4096) ?? encoderLayers
    heads = try size("num_heads", alias: "num_attention_heads", isMultilingual ? 6 : 8, in: 1...65_536)
    headSize = try size("d_kv", alias: "head_dim", 64, in: 1...8192)
    guard heads * headSize <= 1 << 24 else {
      throw root.error("num_heads \(heads) of d_kv \(headSize) are more than \(1 << 24) numbers")
    }
    vocabularySize = try size("vocab_size", isMultilingual ? 250_112 : 32_128, in: 1...16_777_216)
    normEpsilon = Float(try DecoderConfig.nonNegative(root, "layer_norm_epsilon") ?? 1e-6)
    activation =
      try root.member("feed_forward_proj").map { (field) throws(GoraError) in try T5Activation(reading: field) }
      ?? (isMultilingual ? .gated(.geluTanh) : .relu)
    try activation.refuseContradiction(root)
    buckets = try size("relative_attention_num_buckets", 32, in: 4...65_536)
    maxDistance = try size("relative_attention_max_distance", 128, in: 1...(1 << 30))
    guard maxDistance > buckets / 2 else {
      throw root.error(
        "relative_attention_max_distance \(maxDistance) is within the \(buckets / 2) distances that have a bucket of their own")
    }
    // What the key says of 1.0 and 1.1 is whether the output is scaled, where Transformers 5 has not said so by itself; whether they are
    // tied the weights say too.
    tiesEmbeddings = try root.optional("tie_word_embeddings")?.bool ?? true
    let scales = try root.optional("scale_decoder_outputs")?.bool ?? tiesEmbeddings
    scalesOutput = scales && !isMultilingual
    initializerFactor = try DecoderConfig.nonNegative(root, "initializer_factor") ?? 1
    let vocabulary = 0...vocabularySize - 1
    let pad = try root.member("pad_token_id") == nil ? 0 : try root.optional("pad_token_id")?.int(in: vocabulary)
    guard let pad else { throw root.error("\"pad_token_id\" is null; it stands in the decoder's input where nothing is learnt") }
    padToken = Int32(pad)
    startToken = Int32(try root.optional("decoder_start_token_id")?.int(in: vocabulary) ?? pad)
    eosTokens = try root.member("eos_token_id") == nil ? [1] : []
    if let eos = try root.optional("eos_token_id") {
      let fields = if case .array = eos.value.content { try eos.elements } else { [eos] }
      for field in fields { eosTokens.append(Int32(try field.int(in: vocabulary))) }
    }
    if let dropout = try root.member("dropout_rate") == nil ? 0.1 : DecoderConfig.nonNegative(root, "dropout_rate"), dropout > 0 {
      notes.append("dropout_rate \(dropout) of config.json is not applied")
    }
  }

  /// Refuses models with another head than that over the vocabulary.
  private static func requireHead(_ root: JSONField) throws(GoraError) {
    try DecoderConfig.requireCausalAttention(root)
    if let field = try root.optional("is_encoder_decoder"), try !field.bool {
      throw field.error("a t5 without its encoder (\"is_encoder_decoder\": false) is not supported")
    }
    guard let name = try root.optional("architectures")?.elements.first else { return }
    let text = try name.string
    let known =
      ["ForConditionalGeneration", "WithLMHeadModel"].contains { text.hasSuffix($0) } || ["T5Model", "MT5Model"].contains(text)
    guard known else {
      throw name.error(
        "architecture \"\(text)\" has no decoder with a head over the vocabulary",
        hint: "expected T5ForConditionalGeneration or MT5ForConditionalGeneration")
    }
  }
}

import GoraCore
import GoraFormats

extension Llama {
  package static let types = ["llama", "mistral", "qwen2"]
  package static let taskType = "CAUSAL_LM"

  package static func config(reading root: JSONField) throws(GoraError) -> ModelConfig { try ModelConfig(decoder: root) }
}

extension ModelConfig {
  /// What Transformers' configuration class of a `model_type` says where config.json says nothing.
  private struct Defaults {
    var vocabularySize = 32_000
    var intermediateSize = 11_008
    /// nil: as many as heads.
    var keyValueHeads: Int?
    var maxPositions = 2048
    var bosToken: Int32? = 1
    var eosTokens: [Int32] = [2]

    init(_ modelType: String) {
      switch modelType {
      case "mistral": (intermediateSize, keyValueHeads, maxPositions) = (14_336, 8, 131_072)
      case "qwen2":
        (vocabularySize, intermediateSize, keyValueHeads, maxPositions) = (151_936, 22_016, 32, 32_768)
        (bosToken, eosTokens) = (nil, [])
      default: break
      }
    }
  }

  fileprivate init(decoder root: JSONField) throws(GoraError) {
    modelType = try root.required("model_type").string
    try ModelFolder.refuseQuantised(root)
    try Self.requireCausal(root)
    if let field = try root.optional("per_layer_config") {
      throw field.error("layers that differ (\"per_layer_config\") are not supported")
    }
    let defaults = Defaults(modelType)
    func size(_ key: String, _ fallback: Int, in range: ClosedRange<Int>) throws(GoraError) -> Int {
      guard let field = try root.member(key) else { return fallback }
      return try field.int(in: range)
    }
    hiddenSize = try size("hidden_size", 4096, in: 1...1_048_576)
    intermediateSize = try size("intermediate_size", defaults.intermediateSize, in: 1...4_194_304)
    layers = try size("num_hidden_layers", 32, in: 1...4096)
    heads = try size("num_attention_heads", 32, in: 1...65_536)
    keyValueHeads = defaults.keyValueHeads ?? heads
    if let field = try root.member("num_key_value_heads") {
      let isAsMany = field.value.content == .null && modelType != "mistral"
      keyValueHeads = isAsMany ? heads : try field.int(in: 1...heads)
    }
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
    vocabularySize = try size("vocab_size", defaults.vocabularySize, in: 1...16_777_216)
    normEpsilon = Float(try Self.nonNegative(root, "rms_norm_eps") ?? 1e-6)
    tiesEmbeddings = try root.optional("tie_word_embeddings")?.bool ?? false
    let attentionBias = try root.optional("attention_bias")?.bool ?? false
    hasQKVBias = modelType == "qwen2" || (modelType == "llama" && attentionBias)
    hasOutputBias = modelType == "llama" && attentionBias
    hasMLPBias = modelType == "llama" ? try root.optional("mlp_bias")?.bool ?? false : false
    maxPositions = try size("max_position_embeddings", defaults.maxPositions, in: 1...(1 << 30))
    initializerRange = try Self.nonNegative(root, "initializer_range") ?? 0.02
    if let activation = try root.optional("hidden_act"), try !["silu", "swish"].contains(activation.string) {
      throw activation.error("hidden_act \"\(try activation.string)\" is not supported; expected \"silu\" or \"swish\"")
    }
    if let dropout = try Self.nonNegative(root, "attention_dropout"), dropout > 0 {
      notes.append("attention_dropout \(dropout) of config.json is not applied")
    }
    rotary = try RotaryScaling(reading: root, headSize: headSize, maxPositions: maxPositions, notes: &notes)
    windows = try Self.windows(root, modelType: modelType, layers: layers, notes: &notes)
    bosToken = try root.member("bos_token_id") == nil ? defaults.bosToken : nil
    eosTokens = try root.member("eos_token_id") == nil ? defaults.eosTokens : []
    if let bos = try root.optional("bos_token_id") { bosToken = try token(bos) }
    if let eos = try root.optional("eos_token_id") {
      var fields = [eos]
      if case .array = eos.value.content { fields = try eos.elements }
      for field in fields { if let id = try token(field) { eosTokens.append(id) } }
    }
  }

  /// An id of the vocabulary; nil for −1 and others that stand for none.
  private mutating func token(_ field: JSONField) throws(GoraError) -> Int32? {
    let id = try field.int
    if id >= vocabularySize { notes.append("\(field.name) \(id) of config.json is outside the vocabulary and not used") }
    return (0..<vocabularySize).contains(id) ? Int32(id) : nil
  }

  /// Refuses models with another head than that over the vocabulary.
  private static func requireCausal(_ root: JSONField) throws(GoraError) {
    guard let architectures = try root.optional("architectures") else { return }
    let names = try architectures.elements
    for name in names {
      let text = try name.string
      if text.hasSuffix("ForCausalLM") || ["LlamaModel", "MistralModel", "Qwen2Model"].contains(text) { return }
    }
    if let name = names.first {
      throw name.error(
        "architecture \"\(try name.string)\" is not a causal language model",
        hint: "expected one whose name ends in ForCausalLM, with a head over the vocabulary")
    }
  }

  /// The layers' windows: those of the layers that `layer_types` names; without it mistral's of all layers, qwen2's of those from
  /// `max_window_layers` on. llama has none.
  private static func windows(
    _ root: JSONField, modelType: String, layers: Int, notes: inout [String]
  ) throws(GoraError) -> [Int?] {
    let types = try root.optional("layer_types")
    var isSliding: [Bool]?
    if let types { isSliding = try layerKinds(types, layers: layers).map { $0 == "sliding_attention" } }
    if modelType == "llama" {
      if try root.optional("sliding_window") != nil {
        notes.append("\"sliding_window\" of config.json is not read for llama, as in Transformers")
      }
      if isSliding?.contains(true) == true {
        notes.append("\"layer_types\" of config.json is not read for llama, as in Transformers")
      }
      return Array(repeating: nil, count: layers)
    }
    var window: Int?
    let switched = try root.optional("use_sliding_window")?.bool
    if modelType == "mistral" || switched == true {
      window = try root.member("sliding_window") == nil ? 4096 : root.optional("sliding_window")?.int(in: 1...(1 << 30))
    }
    if let types, let isSliding {
      if window == nil, isSliding.contains(true) {
        throw types.error("\"layer_types\" names sliding_attention, but there is no window", hint: "see \"sliding_window\"")
      }
      return isSliding.map { $0 ? window : nil }
    }
    let first = modelType == "qwen2" ? try root.member("max_window_layers")?.int ?? 28 : 0
    return (0..<layers).map { $0 >= first ? window : nil }
  }

  private static func layerKinds(_ field: JSONField, layers: Int) throws(GoraError) -> [String] {
    var kinds: [String] = []
    for element in try field.elements {
      let kind = try element.string
      guard ["full_attention", "attention", "sliding_attention"].contains(kind) else {
        throw element.error("layer type \"\(kind)\" is not supported", hint: "supported: full_attention, sliding_attention")
      }
      kinds.append(kind)
    }
    guard kinds.count == layers else {
      throw field.error("\"layer_types\" has \(kinds.count) names; expected \(layers), one for each layer")
    }
    return kinds
  }

  private static func nonNegative(_ root: JSONField, _ key: String) throws(GoraError) -> Double? {
    guard let field = try root.optional(key) else { return nil }
    let value = try field.double
    guard value >= 0, value.isFinite else {
      throw field.error("\(field.name) is \(field.value.compact()); expected a number from 0")
    }
    return value
  }
}

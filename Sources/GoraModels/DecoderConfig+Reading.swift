import GoraCore
import GoraFormats

/// What a family's configuration class says where config.json says nothing.
struct DecoderDefaults {
  var hiddenSize = 4096
  var intermediateSize = 11_008
  var layers = 32
  var heads = 32
  /// nil: as many as heads.
  var keyValueHeads: Int?
  /// Whether a `num_key_value_heads` of null stands for as many as heads.
  var takesNullKeyValueHeads = true
  /// nil: the hidden size by the heads; where there is one `head_dim` may not be null.
  var headSize: Int?
  var vocabularySize = 32_000
  var maxPositions = 2048
  var tiesEmbeddings = false
  var bosToken: Int32? = 1
  var eosTokens: [Int32] = [2]
  /// The key of the MLP's function, and the function.
  var activation: (key: String, function: GatedActivation) = ("hidden_act", .silu)
}

extension DecoderConfig {
  /// Reads what all families' configuration classes share; rotary settings, windows and what is a family's own are left as they are
  /// in a plain decoder.
  /// - Throws: `.data` where a value is out of its range, or asks for what is not done.
  init(decoder root: JSONField, defaults: DecoderDefaults) throws(GoraError) {
    modelType = try root.required("model_type").string
    try ModelFolder.refuseQuantised(root)
    try Self.requireCausal(root)
    if let field = try root.optional("per_layer_config") {
      throw field.error("layers that differ (\"per_layer_config\") are not supported")
    }
    func size(_ key: String, _ fallback: Int, in range: ClosedRange<Int>) throws(GoraError) -> Int {
      guard let field = try root.member(key) else { return fallback }
      return try field.int(in: range)
    }
    hiddenSize = try size("hidden_size", defaults.hiddenSize, in: 1...1_048_576)
    intermediateSize = try size("intermediate_size", defaults.intermediateSize, in: 1...4_194_304)
    layers = try size("num_hidden_layers", defaults.layers, in: 1...4096)
    heads = try size("num_attention_heads", defaults.heads, in: 1...65_536)
    keyValueHeads = defaults.keyValueHeads ?? heads
    if let field = try root.member("num_key_value_heads") {
      let isAsMany = field.value.content == .null && defaults.takesNullKeyValueHeads
      keyValueHeads = isAsMany ? heads : try field.int(in: 1...heads)
    }
    guard heads % keyValueHeads == 0 else {
      throw root.error("num_attention_heads \(heads) is not a multiple of num_key_value_heads \(keyValueHeads)")
    }
    if let fallback = defaults.headSize {
      headSize = try size("head_dim", fallback, in: 2...8192)
    } else if let field = try root.optional("head_dim") {
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
    tiesEmbeddings = try root.optional("tie_word_embeddings")?.bool ?? defaults.tiesEmbeddings
    (hasQKVBias, hasOutputBias, hasMLPBias) = (false, false, false)
    maxPositions = try size("max_position_embeddings", defaults.maxPositions, in: 1...(1 << 30))
    initializerRange = try Self.nonNegative(root, "initializer_range") ?? 0.02
    activation = defaults.activation.function
    if let field = try root.optional(defaults.activation.key) { activation = try GatedActivation(reading: field) }
    attentionScale = 1 / Float(headSize).squareRoot()
    rotary = RotaryScaling(theta: 10_000)
    windows = Array(repeating: nil, count: layers)
    if let dropout = try Self.nonNegative(root, "attention_dropout"), dropout > 0 {
      notes.append("attention_dropout \(dropout) of config.json is not applied")
    }
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
    try requireCausalAttention(root)
    guard let architectures = try root.optional("architectures") else { return }
    let bare = ["LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model", "Gemma2Model", "Gemma3TextModel"]
    let names = try architectures.elements
    for name in names {
      let text = try name.string
      if text.hasSuffix("ForCausalLM") || bare.contains(text) { return }
    }
    if let name = names.first {
      throw name.error(
        "architecture \"\(try name.string)\" is not a causal language model",
        hint: "expected one whose name ends in ForCausalLM, with a head over the vocabulary")
    }
  }

  /// Refuses decoders that see what comes later, as those that were made embedders of do.
  static func requireCausalAttention(_ root: JSONField) throws(GoraError) {
    if let field = try root.optional("is_causal"), try !field.bool {
      throw field.error("attention to what comes later (\"is_causal\": false) is not supported")
    }
  }

  /// Biases of queries, keys, values and the attention's output by `attention_bias`.
  mutating func readAttentionBias(_ root: JSONField) throws(GoraError) {
    let isThere = try root.optional("attention_bias")?.bool ?? false
    (hasQKVBias, hasOutputBias) = (isThere, isThere)
  }

  /// The rotary settings, one set for all layers.
  mutating func readRotary(_ root: JSONField) throws(GoraError) {
    rotary = try RotaryScaling(reading: root, headSize: headSize, maxPositions: maxPositions, notes: &notes)
  }

  /// The number that soft-caps scores or logits, nil for null.
  static func softCap(_ root: JSONField, _ key: String, default fallback: Float?) throws(GoraError) -> Float? {
    guard let field = try root.member(key) else { return fallback }
    if field.value.content == .null { return nil }
    return try positive(field)
  }

  static func positive(_ field: JSONField) throws(GoraError) -> Float {
    let value = try Float(field.double)
    guard value > 0, value.isFinite else {
      throw field.error("\(field.name) is \(field.value.compact()); expected a positive number")
    }
    return value
  }

  static func nonNegative(_ root: JSONField, _ key: String) throws(GoraError) -> Double? {
    guard let field = try root.optional(key) else { return nil }
    let value = try field.double
    guard value >= 0, value.isFinite else {
      throw field.error("\(field.name) is \(field.value.compact()); expected a number from 0")
    }
    return value
  }

  // MARK: Windows

  /// `sliding_window`, 4096 where it is absent; nil for null.
  static func slidingWindow(_ root: JSONField) throws(GoraError) -> Int? {
    try root.member("sliding_window") == nil ? 4096 : root.optional("sliding_window")?.int(in: 1...(1 << 30))
  }

  /// The layers' windows.
  /// - Parameters:
  ///   - window: of the layers that slide.
  ///   - slides: whether a layer does where there is no `layer_types`.
  mutating func setWindows(
    _ root: JSONField, window: Int?, fullNames: [String] = ["full_attention"], slides: (Int) -> Bool
  ) throws(GoraError) {
    guard let types = try root.optional("layer_types") else {
      windows = (0..<layers).map { slides($0) ? window : nil }
      return
    }
    let isSliding = try Self.slidingLayers(types, layers: layers, fullNames: fullNames)
    if window == nil, isSliding.contains(true) {
      throw types.error("\"layer_types\" names sliding_attention, but there is no window", hint: "see \"sliding_window\"")
    }
    windows = isSliding.map { $0 ? window : nil }
  }

  /// - Parameter fullNames: what layers are called that see all before them.
  static func slidingLayers(
    _ field: JSONField, layers: Int, fullNames: [String] = ["full_attention"]
  ) throws(GoraError) -> [Bool] {
    var isSliding: [Bool] = []
    for element in try field.elements {
      let kind = try element.string
      guard kind == "sliding_attention" || fullNames.contains(kind) else {
        throw element.error("layer type \"\(kind)\" is not supported", hint: "supported: full_attention, sliding_attention")
      }
      isSliding.append(kind == "sliding_attention")
    }
    guard isSliding.count == layers else {
      throw field.error("\"layer_types\" has \(isSliding.count) names; expected \(layers), one for each layer")
    }
    return isSliding
  }
}

import GoraCore
import GoraFormats

extension CLIPConfig {
  /// Reads a config.json as `CLIPConfig` of Transformers does, with its classes' defaults (`configuration_clip.py`).
  /// - Throws: `.data` where a value is out of its range, or asks for what is not done.
  package init(reading root: JSONField) throws(GoraError) {
    try ModelFolder.refuseQuantised(root)
    try Self.requireWhole(root)
    // The older key's values hold where both are there, with the defaults of the class for what it lacks.
    func tower(_ name: String) throws(GoraError) -> JSONField? {
      if let older = try root.optional("\(name)_dict") { return older }
      return try root.optional(name)
    }
    let (textField, visionField) = (try tower("text_config"), try tower("vision_config"))
    var notes: [String] = []
    text = try Tower(textField, hiddenSize: 512, intermediateSize: 2048, heads: 8, notes: &notes)
    vision = try Tower(visionField, hiddenSize: 768, intermediateSize: 3072, heads: 12, notes: &notes)
    vocabularySize = try textField.size("vocab_size", 49_408, in: 1...16_777_216)
    textPositions = try textField.size("max_position_embeddings", 77, in: 1...65_536)
    eosToken = 49_407
    if let field = try textField?.member("eos_token_id") { eosToken = Int32(try field.int(in: 0...Int(Int32.max))) }
    if let field = try visionField?.optional("num_channels"), try field.int != 3 {
      throw field.error("\"num_channels\" is \(try field.int); expected 3")
    }
    imageSize = try visionField.size("image_size", 224, in: 1...16_384)
    patchSize = try visionField.size("patch_size", 32, in: 1...16_384)
    guard patchSize <= imageSize else {
      throw (visionField ?? root).error("patch_size \(patchSize) is more than image_size \(imageSize)")
    }
    projectionSize = try Optional(root).size("projection_dim", 512, in: 1...1_048_576)
    initialLogitScale = Float(try root.optional("logit_scale_init_value")?.double ?? 2.6592)
    initializerFactor = try DecoderConfig.nonNegative(root, "initializer_factor") ?? 1
    self.notes = notes
  }

  /// Refuses models of one tower, or with another head.
  private static func requireWhole(_ root: JSONField) throws(GoraError) {
    guard let name = try root.optional("architectures")?.elements.first, try name.string != "CLIPModel" else { return }
    throw name.error(
      "architecture \"\(try name.string)\" is not supported for clip", hint: "expected CLIPModel, which has both towers")
  }
}

extension CLIPConfig.Tower {
  fileprivate init(
    _ field: JSONField?, hiddenSize: Int, intermediateSize: Int, heads: Int, notes: inout [String]
  ) throws(GoraError) {
    self.hiddenSize = try field.size("hidden_size", hiddenSize, in: 1...1_048_576)
    self.intermediateSize = try field.size("intermediate_size", intermediateSize, in: 1...4_194_304)
    layers = try field.size("num_hidden_layers", 12, in: 1...4096)
    self.heads = try field.size("num_attention_heads", heads, in: 1...65_536)
    epsilon = 1e-5
    activation = .quick
    (initializerRange, initializerFactor) = (0.02, 1)
    guard let field else { return }
    guard self.hiddenSize % self.heads == 0 else {
      throw field.error("hidden_size \(self.hiddenSize) is not a multiple of num_attention_heads \(self.heads)")
    }
    epsilon = Float(try DecoderConfig.nonNegative(field, "layer_norm_eps") ?? 1e-5)
    if let function = try field.optional("hidden_act") { activation = try GELUActivation(reading: function) }
    initializerRange = try DecoderConfig.nonNegative(field, "initializer_range") ?? 0.02
    initializerFactor = try DecoderConfig.nonNegative(field, "initializer_factor") ?? 1
    if let dropout = try DecoderConfig.nonNegative(field, "attention_dropout"), dropout > 0 {
      notes.append("attention_dropout \(dropout) of config.json is not applied")
    }
  }
}

extension JSONField? {
  fileprivate func size(_ key: String, _ fallback: Int, in range: ClosedRange<Int>) throws(GoraError) -> Int {
    guard let field = try self?.member(key) else { return fallback }
    return try field.int(in: range)
  }
}

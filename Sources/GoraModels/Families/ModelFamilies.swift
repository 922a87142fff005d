import GoraCore
import GoraFormats

/// All families of models, the one of plans that name no model first.
package enum ModelFamilies {
  package static let all: [any ModelFamily.Type] = [
    Llama.self, Qwen3.self, Gemma2.self, Gemma3.self, T5.self, CLIP.self,
  ]

  /// The family of a config.json's `model_type`.
  /// - Throws: `.data` where none has it.
  static func named(_ field: JSONField) throws(GoraError) -> any ModelFamily.Type {
    let name = try field.string
    guard let family = all.first(where: { $0.types.contains(name) }) else {
      let names = all.flatMap { $0.types }
      throw field.error("model_type \"\(name)\" is not supported", hint: "supported: \(names.joined(separator: ", "))")
    }
    return family
  }
}

extension ModelFolder {
  /// The family of the checkpoint.
  package var family: any ModelFamily.Type {
    get throws(GoraError) { try ModelFamilies.named(config.root.required("model_type")) }
  }
}

extension ModelFamilies {
  /// Reads config.json as the family of its `model_type` does.
  package static func config(reading document: JSONDocument) throws(GoraError) -> any ModelConfig {
    try named(document.root.required("model_type")).config(reading: document.root)
  }

  /// The configuration of a checkpoint, as its weights decide it too.
  package static func config(of folder: ModelFolder) throws(GoraError) -> any ModelConfig {
    var config = try config(reading: folder.config)
    try config.settle(by: folder)
    return config
  }
}

extension ModelConfig {
  /// The family that read it.
  package var family: any ModelFamily.Type {
    guard let family = ModelFamilies.all.first(where: { $0.types.contains(modelType) }) else {
      preconditionFailure("no family reads \(modelType)")
    }
    return family
  }
}

extension DecoderConfig {
  /// - Throws: `.data` for a model that is no decoder, beside what reading it throws.
  package init(reading document: JSONDocument) throws(GoraError) {
    self = try Self.decoder(ModelFamilies.config(reading: document), document)
  }

  /// - Throws: `.data` for a model that is no decoder, beside what reading it throws.
  package init(of folder: ModelFolder) throws(GoraError) {
    self = try Self.decoder(ModelFamilies.config(of: folder), folder.config)
  }

  private static func decoder(_ config: any ModelConfig, _ document: JSONDocument) throws(GoraError) -> DecoderConfig {
    guard let decoder = config as? DecoderConfig else {
      throw try document.root.required("model_type").error("\"\(config.modelType)\" is no decoder")
    }
    return decoder
  }
}

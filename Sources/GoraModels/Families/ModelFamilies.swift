import GoraCore
import GoraFormats

/// All families of models, the one of plans that name no model first.
package enum ModelFamilies {
  package static let all: [any ModelFamily.Type] = [
    Llama.self, Qwen3.self, Gemma2.self, Gemma3.self,
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

extension ModelConfig {
  /// Reads config.json as the family of its `model_type` does.
  package init(reading document: JSONDocument) throws(GoraError) {
    self = try ModelFamilies.named(document.root.required("model_type")).config(reading: document.root)
  }

  /// The family that read it.
  package var family: any ModelFamily.Type {
    guard let family = ModelFamilies.all.first(where: { $0.types.contains(modelType) }) else {
      preconditionFailure("no family reads \(modelType)")
    }
    return family
  }
}

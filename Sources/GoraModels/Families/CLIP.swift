import GoraCore
import GoraFormats

/// CLIP (Radford et al. 2021; reference: Transformers' CLIPModel): a vision tower that learns, and the texts of classes to compare with.
package enum CLIP: ModelFamily {
  package static let types = ["clip"]
  package static let taskType: String? = nil
  package static let blockNames = ["vision_model."]
  package static func config(reading root: JSONField) throws(GoraError) -> any ModelConfig { try CLIPConfig(reading: root) }
}

import GoraCore
import GoraFormats

/// T5 1.0, 1.1, Flan-T5 and mT5 (Raffel et al. 2020, Xue et al. 2021; reference: Transformers' T5ForConditionalGeneration and
/// MT5ForConditionalGeneration). UMT5, which has a bias by distance in every block, is another model.
package enum T5: ModelFamily {
  package static let types = ["t5", "mt5"]
  package static let taskType: String? = "SEQ_2_SEQ_LM"
  package static let blockNames = ["encoder.block.", "decoder.block."]
  package static func config(reading root: JSONField) throws(GoraError) -> any ModelConfig { try T5Config(reading: root) }
}

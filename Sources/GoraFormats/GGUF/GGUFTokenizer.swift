import GoraCore

/// The tokenizer of a GGUF file as the files that stand beside a checkpoint's weights: pure functions of `tokenizer.ggml.*` and
/// `tokenizer.chat_template`.
package enum GGUFTokenizer {
  /// The names that `text` may give a text for.
  package static let names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]

  /// The text of one of the files; nil where the metadata say nothing for it.
  /// - Throws: `.data` for a tokenizer that is malformed or not supported, by name.
  package static func text(_ name: String, of file: GGUFFile) throws(GoraError) -> [UInt8]? { nil }
}

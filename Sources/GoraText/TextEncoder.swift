/// What the data rows need of a tokenizer: text in, token ids out.
package protocol TextEncoder: Sendable {
  /// Ids of `text`; spellings of special tokens in it become those tokens, as HuggingFace tokenizers do.
  /// - Parameter addSpecialTokens: whether the tokenizer's own begin and end tokens are put around them.
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32]
}

extension Tokenizer: TextEncoder {}

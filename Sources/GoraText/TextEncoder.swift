/// What the data rows need of a tokenizer: text in, token ids out.
package protocol TextEncoder: Sendable {
  /// Ids of `text`; spellings of special tokens in it become those tokens, as HuggingFace tokenizers do.
  /// - Parameter addSpecialTokens: whether the tokenizer's own begin and end tokens are put around them.
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32]

  /// Ids of `text` without begin and end tokens, with the place of each in the text.
  func tokenized(_ text: String) -> TokenizedText

  /// Whether an id is a special token, such as an end of turn.
  func isSpecial(_ id: Int32) -> Bool

  /// How an added token is spelt (UTF-8), which is found in a text whatever stands around it; nil for other ids.
  func addedToken(_ id: Int32) -> [UInt8]?

  /// What the tokenizer puts in front of a text, and behind it.
  var beginTokens: [Int32] { get }
  var endTokens: [Int32] { get }
}

/// A text as tokens.
package struct TokenizedText: Sendable, Equatable {
  package var ids: [Int32]
  /// For each id the bytes (UTF-8) of the original text that it stands for.
  package var offsets: [Range<Int>]

  package init(ids: [Int32], offsets: [Range<Int>]) {
    self.ids = ids
    self.offsets = offsets
  }
}

extension Tokenizer: TextEncoder {}

/// The regular expressions by which the commonest byte-level tokenizers cut a text into words, as tokenizer.json spells them.
package enum PreTokenizerExpression {
  /// GPT-2: contractions, words, numbers and the rest, each with a space in front.
  package static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

  /// CLIP: its two marks, contractions, words, digits one by one, and the rest.
  package static let clip = #"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"#

  /// Llama 3 and Qwen 2: words with one leading character, digits in groups of at most `digits`, which is 1 or more.
  package static func words(digits: Int) -> String {
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + (digits == 1 ? #"\p{N}"# : #"\p{N}{1,\#(digits)}"#)
      + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  }
}

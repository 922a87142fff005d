/// What makes tokens of a word.
enum TokenizerModel: Sendable {
  case bpe(TokenizerBPE)
  case unigram(TokenizerUnigram)

  var vocabulary: TokenizerVocabulary {
    switch self {
    case .bpe(let model): model.vocabulary
    case .unigram(let model): model.vocabulary
    }
  }

  /// Appends the tokens of one word, whose bytes are valid UTF-8.
  func tokenize(_ word: UnsafeRawBufferPointer, scratch: inout TokenizerScratch, into tokens: inout WordTokens) {
    switch self {
    case .bpe(let model): model.tokenize(word, scratch: &scratch, into: &tokens)
    case .unigram(let model): model.tokenize(word, into: &tokens)
    }
  }
}

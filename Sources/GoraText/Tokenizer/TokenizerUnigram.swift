/// The Unigram model of a tokenizer.json: cuts a word into the pieces with the largest sum of scores (Kudo 2018, Viterbi).
///
/// Order of ties, unknown characters and byte fallback follow HF `tokenizers` `models/unigram`.
struct TokenizerUnigram: Sendable {
  let vocabulary: TokenizerVocabulary
  private let scores: [Double]
  private let unknown: Int32
  /// Of a character that no piece begins with or consists of: 10 below the lowest of the vocabulary.
  private let unknownScore: Double
  /// Ids of `<0x00>`…`<0xFF>`, -1 where absent; empty without byte fallback.
  private let byteTokens: [Int32]
  private let pieces: ByteTrie

  /// - Parameters:
  ///   - scores: of each id of the vocabulary, finite.
  ///   - unknown: an id of the vocabulary.
  init(_ vocabulary: TokenizerVocabulary, scores: [Double], unknown: Int32, byteTokens: [Int32]) {
    self.vocabulary = vocabulary
    self.scores = scores
    self.unknown = unknown
    self.byteTokens = byteTokens
    unknownScore = (scores.min() ?? 0) - 10
    var pieces = ByteTrie()
    for id in Int32(0)..<Int32(scores.count) { pieces.insert(vocabulary.token(id) ?? [], number: id) }
    self.pieces = pieces
  }

  /// The best path to a place between two bytes.
  private struct Node {
    var id: Int32 = -1
    var start: Int32 = -1
    var score = 0.0
  }

  /// Appends the tokens of one word, whose bytes are valid UTF-8.
  func tokenize(_ word: UnsafeRawBufferPointer, into tokens: inout WordTokens) {
    var nodes = [Node](repeating: Node(), count: word.count + 1)
    var at = 0
    while at < word.count {
      let before = nodes[at].score
      func reach(_ end: Int, _ id: Int32, _ score: Double) {
        if nodes[end].start < 0 || score + before > nodes[end].score {
          nodes[end] = Node(id: id, start: Int32(truncatingIfNeeded: at), score: score + before)
        }
      }
      let character = at + utf8Length(word[at])
      var coversCharacter = false
      var node = ByteTrie.root
      var end = at
      while end < word.count, let next = pieces.next(node, word[end]) {
        node = next
        end += 1
        guard let id = pieces.number(node) else { continue }
        reach(end, id, scores[Int(id)])
        if end == character { coversCharacter = true }
      }
      if !coversCharacter { reach(character, unknown, unknownScore) }
      at = character
    }
    var path: [(id: Int32, range: Range<Int>)] = []
    var end = word.count
    while end > 0 {
      let node = nodes[end]
      let start = Int(node.start)
      // Neighbours that are unknown are one.
      if node.id == unknown, let last = path.last, last.id == unknown {
        path[path.count - 1].range = start..<last.range.upperBound
      } else {
        path.append((node.id, start..<end))
      }
      end = start
    }
    for (id, range) in path.reversed() {
      guard id == unknown else {
        tokens.append(id, end: range.upperBound)
        continue
      }
      let text = UnsafeRawBufferPointer(rebasing: word[range])
      if let id = vocabulary.id(of: text) {
        tokens.append(id, end: range.upperBound)
      } else if !byteTokens.isEmpty, text.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
        for (i, byte) in text.enumerated() { tokens.append(byteTokens[Int(byte)], end: range.lowerBound + i + 1) }
      } else {
        tokens.append(unknown, end: range.upperBound)
      }
    }
  }
}

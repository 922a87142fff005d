/// A token of `added_tokens`: found in the text before the model sees it.
struct AddedToken: Sendable {
  var id: Int32
  var content: String
  /// Only where no word character touches it.
  var singleWord: Bool
  /// Takes the white space on its left (right) along.
  var stripsLeft: Bool
  var stripsRight: Bool
  /// Looked for in the normalised text, as its normalised self.
  var normalized: Bool
  var special: Bool
}

/// Finds added tokens in a text: leftmost first, of several there the longest (HF `AddedVocabulary::find_matches`).
struct AddedTokenFinder: Sendable {
  private let tokens: [(token: AddedToken, bytes: [UInt8])]
  /// Tokens by their first byte, longest first.
  private let byFirst: [[Int]]
  /// What all tokens of a first byte start with (`<|`): tested before them.
  private let prefixes: [[UInt8]]

  /// - Parameter tokens: with the bytes each is looked for as.
  init(_ tokens: [(token: AddedToken, bytes: [UInt8])]) {
    self.tokens = tokens
    var byFirst = [[Int]](repeating: [], count: 256)
    for (i, entry) in tokens.enumerated() {
      if let first = entry.bytes.first { byFirst[Int(first)].append(i) }
    }
    prefixes = byFirst.map { indices in
      guard var prefix = indices.first.map({ tokens[$0].bytes }) else { return [] }
      for i in indices {
        let shared = zip(prefix, tokens[i].bytes).prefix { $0 == $1 }.count
        prefix.removeSubrange(shared...)
      }
      return prefix
    }
    self.byFirst = byFirst.map { $0.sorted { (-tokens[$0].bytes.count, $0) < (-tokens[$1].bytes.count, $1) } }
  }

  /// Calls `body` with each non-empty part of the text in order, with the id where the part is a token.
  func split(_ text: [UInt8], _ body: (Range<Int>, Int32?) -> Void) {
    var partStart = 0
    var at = 0
    while at < text.count {
      guard let (token, length) = match(text, at) else {
        at += 1
        continue
      }
      let found = at..<at + length
      at = found.upperBound
      if token.singleWord, Self.wordEnds(text[..<found.lowerBound]) || Self.wordStarts(text[found.upperBound...]) {
        continue
      }
      var start = found.lowerBound
      var end = found.upperBound
      if token.stripsLeft {
        let before = Self.scalars(text[..<start]).reversed().prefix(while: \.properties.isWhitespace)
        start = max(partStart, before.reduce(start) { $0 - UTF8.width($1) })
      }
      if token.stripsRight {
        end = Self.scalars(text[end...]).prefix(while: \.properties.isWhitespace).reduce(end) { $0 + UTF8.width($1) }
      }
      if partStart < start { body(partStart..<start, nil) }
      body(start..<end, token.id)
      partStart = end
      at = max(at, end)
    }
    if partStart < text.count { body(partStart..<text.count, nil) }
  }

  @inline(__always)
  private func match(_ text: [UInt8], _ at: Int) -> (AddedToken, Int)? {
    let first = Int(text[at])
    if byFirst[first].isEmpty || !text[at...].starts(with: prefixes[first]) { return nil }
    for i in byFirst[first] {
      let bytes = tokens[i].bytes
      if at + bytes.count <= text.count, text[at..<at + bytes.count].elementsEqual(bytes) {
        return (tokens[i].token, bytes.count)
      }
    }
    return nil
  }

  private static func scalars(_ bytes: ArraySlice<UInt8>) -> String.UnicodeScalarView {
    String(decoding: bytes, as: UTF8.self).unicodeScalars
  }

  private static func wordEnds(_ text: ArraySlice<UInt8>) -> Bool { scalars(text.suffix(4)).last.map(isWord) ?? false }
  private static func wordStarts(_ text: ArraySlice<UInt8>) -> Bool { scalars(text.prefix(4)).first.map(isWord) ?? false }

  /// `\w`: alphabetic, mark, decimal number, connector punctuation, join control.
  private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    let properties = scalar.properties
    if properties.isAlphabetic || properties.isJoinControl { return true }
    switch properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
    default: return false
    }
  }
}

/// A token that is looked for in the text before the model sees it.
struct AddedToken: Sendable, Equatable {
  /// UTF-8; Swift's `String` would take canonically equivalent tokens for one.
  var content: [UInt8]
  /// Only where no word character touches it.
  var singleWord = false
  /// Takes the white space on its left (right) along.
  var stripsLeft = false
  var stripsRight = false
  /// Looked for in the normalised text, as its normalised self.
  var normalized: Bool
  var special: Bool
}

/// The added tokens of a tokenizer: which id each has and how it is looked for (HF `AddedVocabulary`).
struct AddedVocabulary: Sendable {
  private var ids: [[UInt8]: Int32] = [:]
  /// How the token of an id is matched: as it was added last.
  private var tokens: [Int32: AddedToken] = [:]
  private var largestId: Int32 = -1
  /// What is looked for, in the order it was added: special tokens, as they were first, then the others.
  private var special: [AddedToken] = []
  private var others: [AddedToken] = []
  private var specialContents: Set<[UInt8]> = []

  /// Adds tokens as HF does: one that the model knows keeps its id, a new one is numbered behind all there are.
  mutating func add(_ new: [AddedToken], to model: TokenizerVocabulary) {
    for token in new where token.special && !token.content.isEmpty && specialContents.insert(token.content).inserted {
      special.append(token)
    }
    for token in new where !token.content.isEmpty {
      let known = ids[token.content]
      if let known, tokens[known] == token { continue }
      let id = known ?? model.id(of: token.content) ?? max(largestId + 1, Int32(model.count))
      ids[token.content] = id
      tokens[id] = token
      largestId = max(largestId, id)
      if !specialContents.contains(token.content) { others.append(token) }
    }
  }

  func id(of content: [UInt8]) -> Int32? { ids[content] }
  func content(of id: Int32) -> [UInt8]? { tokens[id]?.content }
  var specialIds: [Int32] { special.compactMap { ids[$0.content] } }
  func isSpecial(_ content: [UInt8]) -> Bool { specialContents.contains(content) }

  /// Largest id + 1.
  var size: Int { Int(largestId) + 1 }

  /// What is looked for in the text itself, or in the normalised text: what is written, and the token it stands for.
  func sought(normalized: Bool) -> [(content: [UInt8], id: Int32, token: AddedToken)] {
    (special + others).filter { $0.normalized == normalized }.compactMap { sought in
      guard let id = ids[sought.content], let token = tokens[id] else { return nil }
      return (sought.content, id, token)
    }
  }
}

/// Finds added tokens in a text: leftmost first, of several there the longest (HF `AddedVocabulary::find_matches`).
struct AddedTokenFinder: Sendable {
  /// A token with the bytes it is looked for as.
  struct Entry: Sendable {
    var bytes: [UInt8]
    var id: Int32
    var token: AddedToken
  }
  private let entries: [Entry]
  /// Entries by their first byte, longest first, of equals the last first.
  private let byFirst: [[Int]]
  /// What all entries of a first byte start with (`<|`): tested before them.
  private let prefixes: [[UInt8]]

  init(_ entries: [Entry]) {
    self.entries = entries
    var byFirst = [[Int]](repeating: [], count: 256)
    for (i, entry) in entries.enumerated() {
      if let first = entry.bytes.first { byFirst[Int(first)].append(i) }
    }
    prefixes = byFirst.map { indices in
      guard var prefix = indices.first.map({ entries[$0].bytes }) else { return [] }
      for i in indices {
        let shared = zip(prefix, entries[i].bytes).prefix { $0 == $1 }.count
        prefix.removeSubrange(shared...)
      }
      return prefix
    }
    self.byFirst = byFirst.map { $0.sorted { (entries[$0].bytes.count, $0) > (entries[$1].bytes.count, $1) } }
  }

  /// Calls `body` with each non-empty part of the text in order, with the id where the part is a token.
  ///
  /// A token may begin in the white space that the one before took along; it is found all the same.
  func split(_ text: [UInt8], _ body: (Range<Int>, Int32?) -> Void) {
    var partStart = 0
    var whitespaceEnd = 0
    var at = 0
    while at < text.count {
      guard let entry = match(text, at) else {
        at += 1
        continue
      }
      let found = at..<at + entry.bytes.count
      at = found.upperBound
      let token = entry.token
      if token.singleWord, Self.wordEnds(text[..<found.lowerBound]) || Self.wordStarts(text[found.upperBound...]) {
        continue
      }
      var start = found.lowerBound
      var end = found.upperBound
      if token.stripsLeft { start = max(partStart, Self.whitespaceStart(text, before: start, downTo: partStart)) }
      if token.stripsRight {
        if end >= whitespaceEnd { whitespaceEnd = Self.whitespaceEnd(text, from: end) }
        end = whitespaceEnd
      }
      if partStart < start { body(partStart..<start, nil) }
      // One that was taken along whole is none.
      if start < end { body(start..<end, entry.id) }
      partStart = end
    }
    if partStart < text.count { body(partStart..<text.count, nil) }
  }

  @inline(__always)
  private func match(_ text: [UInt8], _ at: Int) -> Entry? {
    let first = Int(text[at])
    if byFirst[first].isEmpty || !text[at...].starts(with: prefixes[first]) { return nil }
    for i in byFirst[first] where text[at...].starts(with: entries[i].bytes) { return entries[i] }
    return nil
  }

  /// The start of the white space that ends at `end`, at least `limit`.
  private static func whitespaceStart(_ text: [UInt8], before end: Int, downTo limit: Int) -> Int {
    var start = end
    while start > limit {
      var lead = start - 1
      while lead > 0, text[lead] & 0xC0 == 0x80 { lead -= 1 }
      guard scalar(text[lead..<start])?.properties.isWhitespace == true else { break }
      start = lead
    }
    return start
  }

  /// The end of the white space that starts at `start`.
  private static func whitespaceEnd(_ text: [UInt8], from start: Int) -> Int {
    var end = start
    while end < text.count {
      let next = min(end + utf8Length(text[end]), text.count)
      guard scalar(text[end..<next])?.properties.isWhitespace == true else { break }
      end = next
    }
    return end
  }

  private static func scalar(_ bytes: ArraySlice<UInt8>) -> Unicode.Scalar? {
    String(decoding: bytes, as: UTF8.self).unicodeScalars.first
  }

  private static func wordEnds(_ text: ArraySlice<UInt8>) -> Bool {
    String(decoding: text.suffix(4), as: UTF8.self).unicodeScalars.last.map(isWord) ?? false
  }

  private static func wordStarts(_ text: ArraySlice<UInt8>) -> Bool { scalar(text.prefix(4)).map(isWord) ?? false }

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

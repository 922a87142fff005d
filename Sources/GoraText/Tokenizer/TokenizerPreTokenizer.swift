/// How a text is cut into the words that the model sees (`pre_tokenizer`), one step after the other.
enum TokenizerPreTokenizer: Sendable {
  case split(TokenizerSplit)
  /// ByteLevel's `add_prefix_space`: every piece starts with a space.
  case prefixSpace
  /// Spaces become `replacement`, which is also put in front by `scheme`; then a piece starts at each one, if `splits`.
  case metaspace(replacement: [UInt8], scheme: PrependScheme, splits: Bool)

  enum PrependScheme: String, Sendable, CaseIterable { case always, never, first }

  /// - Parameter atStart: whether the first piece starts the whole text.
  func apply(to text: inout TokenizerPieces, atStart: Bool) {
    switch self {
    case .split(let split): text.split(split)
    case .prefixSpace:
      var pieces = TokenizerPieces()
      for range in text.ranges {
        let needed = text.bytes[range.lowerBound] != 0x20
        pieces.append((needed ? [0x20] : []) + text.bytes[range])
      }
      text = pieces
    case .metaspace(let replacement, let scheme, let splits):
      var pieces = TokenizerPieces()
      for (i, range) in text.ranges.enumerated() {
        var piece = replaced(text.bytes[range], [0x20], with: replacement)
        let prepends = scheme == .always || scheme == .first && atStart && i == 0
        if prepends, !piece.starts(with: replacement) { piece.insert(contentsOf: replacement, at: 0) }
        pieces.append(piece)
      }
      if splits { pieces.split(TokenizerSplit(pattern: .literal(replacement), behavior: .mergedWithNext)) }
      text = pieces
    }
  }
}

extension TokenizerPieces {
  mutating func split(_ split: TokenizerSplit) {
    var pieces: [Range<Int>] = []
    pieces.reserveCapacity(max(ranges.count, bytes.count / 4))
    bytes.withUnsafeBytes { bytes in
      for range in ranges { split.split(bytes, range, into: &pieces) }
    }
    ranges = pieces
  }
}

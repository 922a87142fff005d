/// How a text is cut into the words that the model sees (`pre_tokenizer`), one step after the other.
enum TokenizerPreTokenizer: Sendable {
  case split(TokenizerSplit)
  /// ByteLevel's `add_prefix_space`: every piece starts with a space.
  case prefixSpace
  /// Spaces become `replacement`, which is also put in front by `scheme`; then a piece starts at each one, if `splits`.
  case metaspace(replacement: [UInt8], scheme: PrependScheme, splits: Bool)

  enum PrependScheme: String, Sendable, CaseIterable { case always, never, first }

  /// - Parameter atStart: whether the first piece starts the whole text.
  func apply(to text: inout TextPieces, atStart: Bool) {
    switch self {
    case .split(let split): text.split(split)
    case .prefixSpace:
      text.mapPieces { piece, _ in if piece.bytes.first != 0x20 { piece.prepend([0x20]) } }
    case .metaspace(let replacement, let scheme, let splits):
      let startsText = atStart && text.ranges.first?.lowerBound == 0
      text.mapPieces { piece, isFirst in
        piece.replace([0x20], with: replacement)
        let prepends = scheme == .always || scheme == .first && startsText && isFirst
        if prepends, !piece.bytes.starts(with: replacement) { piece.prepend(replacement) }
      }
      if splits { text.split(TokenizerSplit(pattern: .literal(replacement), behavior: .mergedWithNext)) }
    }
  }
}

/// A text cut into pieces: ranges of one buffer, so that cutting copies nothing.
struct TextPieces {
  private(set) var text: AlignedText
  private(set) var ranges: [Range<Int>]

  /// The whole text as one piece.
  init(_ text: AlignedText) {
    self.text = text
    ranges = text.bytes.isEmpty ? [] : [text.bytes.indices]
  }

  mutating func split(_ split: TokenizerSplit) {
    var pieces: [Range<Int>] = []
    pieces.reserveCapacity(max(ranges.count, text.bytes.count / 4))
    text.bytes.withUnsafeBytes { bytes in
      for range in ranges { split.split(bytes, range, into: &pieces) }
    }
    ranges = pieces
  }

  mutating func mapPieces(_ change: (_ piece: inout AlignedText, _ isFirst: Bool) -> Void) {
    var result = AlignedText(tracksSources: text.tracksSources)
    for i in ranges.indices {
      var piece = text[ranges[i]]
      change(&piece, i == 0)
      let start = result.bytes.count
      result.append(piece, piece.bytes.indices)
      ranges[i] = start..<result.bytes.count
    }
    text = result
  }
}

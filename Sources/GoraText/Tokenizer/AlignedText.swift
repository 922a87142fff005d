/// Text on its way through the steps before the model, with what each of its bytes stands for in the original text.
struct AlignedText {
  private(set) var bytes: [UInt8] = []
  /// For each byte, the bytes of the original that it stands for: whole characters. Empty where nobody asks for them.
  private(set) var sources: [Range<Int32>] = []
  let tracksSources: Bool

  /// An empty text.
  init(tracksSources: Bool) { self.tracksSources = tracksSources }

  /// The original text itself.
  init(_ text: [UInt8], tracksSources: Bool) {
    self.init(tracksSources: tracksSources)
    bytes = text
    guard tracksSources else { return }
    sources.reserveCapacity(text.count)
    while sources.count < text.count {
      let start = sources.count
      let length = min(utf8Length(text[start]), text.count - start)
      sources.append(contentsOf: repeatElement(Int32(start)..<Int32(start + length), count: length))
    }
  }

  subscript(range: Range<Int>) -> AlignedText {
    if range == bytes.indices { return self }
    var part = AlignedText(tracksSources: tracksSources)
    part.append(self, range)
    return part
  }

  mutating func append(_ text: AlignedText, _ range: Range<Int>) {
    bytes.append(contentsOf: text.bytes[range])
    if tracksSources { sources.append(contentsOf: text.sources[range]) }
  }

  /// Appends bytes that stand for what `range` of `text` stands for; `range` is not empty.
  mutating func append(_ content: some Collection<UInt8>, for range: Range<Int>, of text: AlignedText) {
    bytes.append(contentsOf: content)
    guard tracksSources else { return }
    let source = text.source(of: range)
    sources.append(contentsOf: repeatElement(Int32(source.lowerBound)..<Int32(source.upperBound), count: content.count))
  }

  /// What a range of the bytes stands for; an empty one stands between its neighbours.
  func source(of range: Range<Int>) -> Range<Int> {
    if range.isEmpty {
      let place = range.lowerBound > 0 ? sources[range.lowerBound - 1].upperBound : sources.first?.lowerBound ?? 0
      return Int(place)..<Int(place)
    }
    let start = Int(sources[range.lowerBound].lowerBound)
    return start..<max(start, Int(sources[range.upperBound - 1].upperBound))
  }

  /// Puts `prefix` in front; it stands for the first character, as in HF.
  mutating func prepend(_ prefix: [UInt8]) {
    bytes.insert(contentsOf: prefix, at: 0)
    if tracksSources, let first = sources.first { sources.insert(contentsOf: repeatElement(first, count: prefix.count), at: 0) }
  }

  /// Every occurrence of `pattern`, from the left, becomes `content`.
  mutating func replace(_ pattern: [UInt8], with content: [UInt8]) {
    guard let first = pattern.first, bytes.contains(first) else { return }
    var result = AlignedText(tracksSources: tracksSources)
    var kept = 0
    var at = 0
    while at < bytes.count {
      if bytes[at] == first, bytes[at...].starts(with: pattern) {
        result.append(self, kept..<at)
        result.append(content, for: at..<at + pattern.count, of: self)
        at += pattern.count
        kept = at
      } else {
        at += 1
      }
    }
    result.append(self, kept..<bytes.count)
    self = result
  }

  /// Every match of `pattern`, from the left, becomes `content`.
  mutating func replace(_ pattern: TokenizerPattern, with content: [UInt8]) {
    var result = AlignedText(tracksSources: tracksSources)
    bytes.withUnsafeBytes { bytes in
      TokenizerSplit(pattern: pattern, behavior: .isolated).forEachPart(of: bytes, 0..<bytes.count) { part, matches in
        if matches { result.append(content, for: part, of: self) } else { result.append(self, part) }
      }
    }
    self = result
  }

  /// Every scalar becomes what `change` makes of it; nil keeps it.
  mutating func mapScalars(_ change: (Unicode.Scalar) -> [UInt8]?) {
    var result = AlignedText(tracksSources: tracksSources)
    var at = 0
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      let next = at + UTF8.width(scalar)
      if let content = change(scalar) {
        result.append(content, for: at..<next, of: self)
      } else {
        result.append(self, at..<next)
      }
      at = next
    }
    self = result
  }

  /// Every character becomes what `change` makes of it; nil keeps it.
  mutating func mapCharacters(_ change: (String) -> [UInt8]?) {
    let text = String(decoding: bytes, as: UTF8.self)
    var result = AlignedText(tracksSources: tracksSources)
    var at = 0
    for character in text {
      let next = at + character.utf8.count
      if let content = change(String(character)) {
        result.append(content, for: at..<next, of: self)
      } else {
        result.append(self, at..<next)
      }
      at = next
    }
    self = result
  }
}

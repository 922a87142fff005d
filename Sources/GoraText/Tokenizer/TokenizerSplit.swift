import GoraFormats

/// What a pre-tokenizer looks for. The regular expressions of the commonest models are matched by hand.
enum TokenizerPattern: Sendable, Equatable {
  case literal([UInt8])
  case expression(RegularExpression)
  /// GPT-2: contractions, words, numbers and the rest, each with a space in front.
  case gpt2
  /// Llama 3 and Qwen 2: words with one leading character, digits in groups of at most `digits`.
  case words(digits: Int)
  /// CLIP: its two marks, contractions, words, digits one by one, and the rest.
  case clip
  /// A run of white space.
  case whitespace
  /// One character of general category N.
  case number
  /// A run of U+2581 and what follows up to the next one.
  case metaspaceWord

  /// U+2581, SentencePiece's space.
  static let metaspace: [UInt8] = [0xE2, 0x96, 0x81]

  static let known: [(regex: String, pattern: TokenizerPattern)] = [
    (PreTokenizerExpression.gpt2, .gpt2),
    (PreTokenizerExpression.words(digits: 3), .words(digits: 3)),
    (PreTokenizerExpression.words(digits: 1), .words(digits: 1)),
    (PreTokenizerExpression.clip, .clip), (#"\p{N}"#, .number), (#"\s+"#, .whitespace),
  ]
}

/// What becomes of the matches of a split (HF `SplitDelimiterBehavior`).
enum TokenizerSplitBehavior: String, Sendable, CaseIterable {
  case removed = "Removed"
  case isolated = "Isolated"
  case mergedWithPrevious = "MergedWithPrevious"
  case mergedWithNext = "MergedWithNext"
  case contiguous = "Contiguous"
}

/// One split: pattern, behaviour, and whether the text between the matches is what matches.
struct TokenizerSplit: Sendable {
  var pattern: TokenizerPattern
  var behavior: TokenizerSplitBehavior
  var inverted = false

  /// Appends the non-empty pieces of `range`.
  func split(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, into pieces: inout [Range<Int>]) {
    if behavior == .isolated {
      forEachPart(of: bytes, range) { part, _ in pieces.append(part) }
      return
    }
    var parts: [(range: Range<Int>, matches: Bool)] = []
    forEachPart(of: bytes, range) { parts.append(($0, $1 != inverted)) }
    switch behavior {
    case .isolated, .removed: for part in parts where !part.matches { pieces.append(part.range) }
    case .mergedWithPrevious:
      for (i, part) in parts.enumerated() {
        if part.matches, i > 0, !parts[i - 1].matches, let last = pieces.popLast() {
          pieces.append(last.lowerBound..<part.range.upperBound)
        } else {
          pieces.append(part.range)
        }
      }
    case .mergedWithNext:
      var i = 0
      while i < parts.count {
        if parts[i].matches, i + 1 < parts.count, !parts[i + 1].matches {
          pieces.append(parts[i].range.lowerBound..<parts[i + 1].range.upperBound)
          i += 1
        } else {
          pieces.append(parts[i].range)
        }
        i += 1
      }
    case .contiguous:
      for (i, part) in parts.enumerated() {
        if i > 0, parts[i - 1].matches == part.matches, let last = pieces.popLast() {
          pieces.append(last.lowerBound..<part.range.upperBound)
        } else {
          pieces.append(part.range)
        }
      }
    }
  }

  /// Matches and the gaps between them, in order, none of them empty.
  @inline(__always)
  func forEachPart(of bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ body: (Range<Int>, Bool) -> Void) {
    let scanner = PatternScanner(bytes: bytes, end: range.upperBound)
    var memory = RegularExpression.Memory()
    var at = range.lowerBound
    var gap = at
    while at < range.upperBound {
      let end: Int
      switch pattern {
      case .gpt2: end = scanner.gpt2(at)
      case .words(let digits): end = scanner.words(at, digits: digits)
      case .clip: end = scanner.clip(at)
      case .whitespace: end = scanner.whitespace(at)
      case .number: end = scanner.number(at)
      case .metaspaceWord: end = scanner.metaspaceWord(at)
      case .literal(let literal): end = scanner.literal(literal, at)
      case .expression(let expression): end = expression.match(bytes, at..<range.upperBound, &memory) ?? at
      }
      if end > at {
        if gap < at { body(gap..<at, false) }
        body(at..<end, true)
        gap = end
        at = end
      } else {
        at += utf8Length(bytes[at])
      }
    }
    if gap < at { body(gap..<at, false) }
  }
}

/// What the known expressions tell apart.
enum ScalarKind: UInt8 {
  case letter, number, newline, space, other

  private static let ascii: [ScalarKind] = (0..<128).map { kind(Unicode.Scalar(UInt8($0))) }

  @inline(__always)
  static func of(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> ScalarKind {
    bytes[at] < 0x80 ? ascii[Int(bytes[at])] : kind(scalar(bytes, at))
  }

  @inline(__always)
  private static func scalar(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Unicode.Scalar {
    var value = UInt32(bytes[at])
    switch utf8Length(bytes[at]) {
    case 2: value = (value & 0x1F) << 6 | UInt32(bytes[at + 1] & 0x3F)
    case 3: value = (value & 0x0F) << 12 | UInt32(bytes[at + 1] & 0x3F) << 6 | UInt32(bytes[at + 2] & 0x3F)
    default:
      value = (value & 0x07) << 18 | UInt32(bytes[at + 1] & 0x3F) << 12
      value |= UInt32(bytes[at + 2] & 0x3F) << 6 | UInt32(bytes[at + 3] & 0x3F)
    }
    return Unicode.Scalar(value) ?? "\u{FFFD}"
  }

  private static func kind(_ scalar: Unicode.Scalar) -> ScalarKind {
    if scalar == "\n" || scalar == "\r" { return .newline }
    let properties = scalar.properties
    if properties.isWhitespace { return .space }
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return .letter
    case .decimalNumber, .letterNumber, .otherNumber: return .number
    default: return .other
    }
  }
}

/// Matches the known expressions at a place; each function gives the end of the match, or the place itself for none.
private struct PatternScanner {
  private static let clipMarks = ["<|startoftext|>", "<|endoftext|>"].map { Array($0.utf8) }

  let bytes: UnsafeRawBufferPointer
  let end: Int

  @inline(__always)
  func kind(_ at: Int) -> ScalarKind? { at < end ? ScalarKind.of(bytes, at) : nil }

  @inline(__always)
  func run(of wanted: ScalarKind, from start: Int, atMost limit: Int = .max) -> Int {
    var at = start
    var count = 0
    while count < limit, kind(at) == wanted {
      at += utf8Length(bytes[at])
      count += 1
    }
    return at
  }

  func literal(_ literal: [UInt8], _ at: Int) -> Int {
    guard at + literal.count <= end else { return at }
    for (i, byte) in literal.enumerated() where bytes[at + i] != byte { return at }
    return at + literal.count
  }

  func metaspaceWord(_ start: Int) -> Int {
    func isMetaspace(_ at: Int) -> Bool {
      at + 3 <= end && bytes[at] == 0xE2 && bytes[at + 1] == 0x96 && bytes[at + 2] == 0x81
    }
    var at = start
    while isMetaspace(at) { at += 3 }
    while at < end, !isMetaspace(at) { at += utf8Length(bytes[at]) }
    return at
  }

  func whitespace(_ start: Int) -> Int {
    var at = start
    while let kind = kind(at), kind == .space || kind == .newline { at += utf8Length(bytes[at]) }
    return at
  }

  func clip(_ at: Int) -> Int {
    for mark in Self.clipMarks where bytes[at] == UInt8(ascii: "<") {
      let end = literal(mark, at)
      if end > at { return end }
    }
    let contraction = contraction(at, ignoringCase: false)
    if contraction > at { return contraction }
    let first = ScalarKind.of(bytes, at)
    return first == .letter || first == .other ? run(of: first, from: at) : number(at)
  }

  func number(_ at: Int) -> Int { kind(at) == .number ? at + utf8Length(bytes[at]) : at }

  /// `'s|'t|'re|'ve|'m|'ll|'d`
  func contraction(_ at: Int, ignoringCase: Bool) -> Int {
    guard at + 1 < end, bytes[at] == UInt8(ascii: "'") else { return at }
    func letter(_ i: Int) -> UInt8 {
      guard i < end else { return 0 }
      let byte = bytes[i]
      return ignoringCase && (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
    }
    switch letter(at + 1) {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return at + 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"): return letter(at + 2) == UInt8(ascii: "e") ? at + 3 : at
    case UInt8(ascii: "l"): return letter(at + 2) == UInt8(ascii: "l") ? at + 3 : at
    // U+017F is an s to a match that ignores case.
    case 0xC5: return ignoringCase && letter(at + 2) == 0xBF ? at + 3 : at
    default: return at
    }
  }

  /// `\s+(?!\S)|\s+`, at white space: leaves the last of several in front of a word to that word.
  func spaces(_ start: Int) -> Int {
    var at = start
    var last = start
    while let kind = kind(at), kind == .space || kind == .newline {
      last = at
      at += utf8Length(bytes[at])
    }
    return at < end && last > start ? last : at
  }

  func gpt2(_ at: Int) -> Int {
    let contraction = contraction(at, ignoringCase: false)
    if contraction > at { return contraction }
    if bytes[at] == 0x20, let next = kind(at + 1), next != .space, next != .newline { return run(of: next, from: at + 1) }
    let first = ScalarKind.of(bytes, at)
    return first == .space || first == .newline ? spaces(at) : run(of: first, from: at)
  }

  func words(_ at: Int, digits: Int) -> Int {
    let contraction = contraction(at, ignoringCase: true)
    if contraction > at { return contraction }
    let first = ScalarKind.of(bytes, at)
    if first == .letter { return run(of: .letter, from: at) }
    if first == .number { return run(of: .number, from: at, atMost: digits) }
    let second = at + utf8Length(bytes[at])
    if first != .newline, kind(second) == .letter { return run(of: .letter, from: second) }
    if first == .other || bytes[at] == 0x20 && kind(second) == .other {
      return run(of: .newline, from: run(of: .other, from: first == .other ? at : second))
    }
    // `\s*[\r\n]+` ends behind the last line break of the white space.
    var next = at
    var afterNewline = at
    while let kind = kind(next), kind == .space || kind == .newline {
      next += utf8Length(bytes[next])
      if kind == .newline { afterNewline = next }
    }
    return afterNewline > at ? afterNewline : spaces(at)
  }
}

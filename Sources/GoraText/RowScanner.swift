import GoraCore

/// Finds where each row of a JSON array or of JSON Lines begins and ends, without parsing it, while the text comes in pieces.
struct RowScanner {
  struct Span {
    var text: [UInt8]
    /// One-based place of the first byte.
    var line: Int
    var column: Int
  }

  /// Most bytes of a row: 256 MiB.
  static let longestRow = 1 << 28

  private let path: String
  /// The next piece; nil at the end.
  private let more: () throws(GoraError) -> [UInt8]?
  /// What has come and is still needed: from the row at work on.
  private var text: [UInt8] = []
  private var isWhole = false
  private var at = 0
  private var start = 0
  private var line = 1
  private var lineStart = 0
  /// nil before the first byte.
  private var isArray: Bool?
  private var isDone = false

  init(path: String, more: @escaping () throws(GoraError) -> [UInt8]?) {
    self.path = path
    self.more = more
  }

  mutating func next() throws(GoraError) -> Span? {
    if isDone { return nil }
    if isArray == nil {
      while text.count < 3, !isWhole { try fill() }
      if text.starts(with: [0xEF, 0xBB, 0xBF]) { (at, lineStart) = (3, 3) }  // byte order mark
      try skipSpace()
      isArray = try has() && text[at] == UInt8(ascii: "[")
      if isArray == true {
        at += 1
        try skipSpace()
        if try has(), text[at] == UInt8(ascii: "]") {
          try finish()
          return nil
        }
      }
    }
    return isArray == true ? try nextElement() : try nextLine()
  }

  /// Whether there is a byte at `at`.
  private mutating func has() throws(GoraError) -> Bool {
    while at >= text.count {
      if isWhole { return false }
      try fill()
    }
    return true
  }

  /// Lets go of what was used, and takes in the next piece.
  private mutating func fill() throws(GoraError) {
    text.removeFirst(min(start, text.count))
    at -= start
    lineStart -= start
    start = 0
    guard let piece = try more() else { return isWhole = true }
    text += piece
    if at > Self.longestRow {
      throw GoraError(
        .data, at: .text(path, line: line, column: start - lineStart + 1),
        "a row of more than \(Self.longestRow) bytes, the limit")
    }
  }

  private mutating func nextLine() throws(GoraError) -> Span? {
    try skipSpace()
    guard try has() else { return nil }
    start = at
    while try has(), text[at] != 0x0A { at += 1 }
    return take(line: line, column: start - lineStart + 1)
  }

  private mutating func nextElement() throws(GoraError) -> Span? {
    try skipSpace()
    let span = try element()
    try skipSpace()
    guard try has() else { throw fail("unexpected end of text; expected ',' or ']'") }
    switch text[at] {
    case UInt8(ascii: ","):
      at += 1
      start = at
    case UInt8(ascii: "]"): try finish()
    default: throw fail("expected ',' or ']' between the rows of an array")
    }
    return span
  }

  /// One value: to the bracket that closes it, or to the next comma.
  private mutating func element() throws(GoraError) -> Span {
    start = at
    let (firstLine, column) = (line, at - lineStart + 1)
    var depth = 0
    var inString = false
    while try has() {
      let byte = text[at]
      if byte == 0x0A { newLine() }
      if inString {
        if byte == UInt8(ascii: "\\") { at += 1 } else if byte == UInt8(ascii: "\"") { inString = false }
      } else {
        switch byte {
        case UInt8(ascii: "\""): inString = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
          if depth == 0 { return take(line: firstLine, column: column) }
          depth -= 1
          if depth == 0 {
            at += 1
            return take(line: firstLine, column: column)
          }
        case UInt8(ascii: ",") where depth == 0: return take(line: firstLine, column: column)
        default: break
        }
      }
      at += 1
    }
    throw GoraError(.data, at: .text(path, line: firstLine, column: column), "unexpected end of text inside this row")
  }

  private mutating func take(line: Int, column: Int) -> Span {
    let span = Span(text: Array(text[start..<at]), line: line, column: column)
    start = at
    return span
  }

  private mutating func finish() throws(GoraError) {
    at += 1
    try skipSpace()
    if try has() { throw fail("text after the array") }
    isDone = true
  }

  private mutating func skipSpace() throws(GoraError) {
    while try has(), text[at] == 0x20 || (0x09...0x0D).contains(text[at]) {
      if text[at] == 0x0A { newLine() }
      at += 1
      start = at
    }
  }

  private mutating func newLine() {
    line += 1
    lineStart = at + 1
  }

  private func fail(_ problem: String) -> GoraError {
    GoraError(.data, at: .text(path, line: line, column: at - lineStart + 1), problem)
  }
}

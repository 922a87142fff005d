/// A piece of a template's text.
struct Token: Equatable {
  enum Kind: Equatable {
    case text(String)
    case printBegin, printEnd
    case blockBegin, blockEnd
    case name(String)
    case string(String)
    case integer(Int)
    case float(Double)
    case symbol(String)
    case end
  }
  let kind: Kind
  /// Byte offset in the template.
  let offset: Int

  /// As a complaint calls it.
  var description: String {
    switch kind {
    case .text: "text"
    case .printBegin: "\"{{\""
    case .printEnd: "\"}}\""
    case .blockBegin: "\"{%\""
    case .blockEnd: "\"%}\""
    case .name(let name): "\"\(name)\""
    case .string: "a string"
    case .integer, .float: "a number"
    case .symbol(let symbol): "\"\(symbol)\""
    case .end: "the end of the template"
    }
  }
}

/// What is wrong in a template's text, and where.
struct SyntaxError: Error {
  let offset: Int
  let problem: String
}

/// Cuts a template into tokens as Jinja does with `trim_blocks` and `lstrip_blocks`, and without its last newline.
struct Lexer {
  private let source: [UInt8]
  private var at = 0
  private var tokens: [Token] = []
  /// Whether what was read last ended with a newline.
  private var isAtLineStart = true

  /// - Parameter source: `\n` is its only kind of newline, and the last one is taken off.
  init(_ source: [UInt8]) { self.source = source }

  /// One kind of newline, and none at the end.
  static func normalized(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    var isAfterReturn = false
    for byte in text.utf8 {
      if byte == UInt8(ascii: "\r") {
        bytes.append(UInt8(ascii: "\n"))
      } else if byte != UInt8(ascii: "\n") || !isAfterReturn {
        bytes.append(byte)
      }
      isAfterReturn = byte == UInt8(ascii: "\r")
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    return bytes
  }

  mutating func run() throws(SyntaxError) -> [Token] {
    while at < source.count { try readOutside() }
    tokens.append(Token(kind: .end, offset: source.count))
    return tokens
  }

  // MARK: Outside of tags

  private mutating func readOutside() throws(SyntaxError) {
    let start = at
    while at < source.count {
      if source[at] == UInt8(ascii: "{"), at + 1 < source.count, "{%#".utf8.contains(source[at + 1]) { break }
      at += 1
    }
    guard at < source.count else {
      addText(start, at)
      return
    }
    let tag = at
    let kind = source[at + 1]
    at += 2
    let sign = peek == UInt8(ascii: "-") || peek == UInt8(ascii: "+") ? peek : nil
    if sign != nil { at += 1 }
    addText(start, stripped(start, tag, sign: sign, isPrint: kind == UInt8(ascii: "{")))
    switch kind {
    case UInt8(ascii: "#"): try skipComment(from: tag)
    case UInt8(ascii: "{"):
      tokens.append(Token(kind: .printBegin, offset: tag))
      try readTag(from: tag, isBlock: false)
    default:
      if skipRawBegin() {
        try readRaw(from: tag)
      } else {
        tokens.append(Token(kind: .blockBegin, offset: tag))
        try readTag(from: tag, isBlock: true)
      }
    }
  }

  private var peek: UInt8? { at < source.count ? source[at] : nil }

  private func looking(at text: StaticString) -> Bool {
    text.withUTF8Buffer { text in
      at + text.count <= source.count && (0..<text.count).allSatisfy { source[at + $0] == text[$0] }
    }
  }

  private mutating func addText(_ start: Int, _ end: Int) {
    if start < end { tokens.append(Token(kind: .text(text(start, end)), offset: start)) }
  }

  private func text(_ start: Int, _ end: Int) -> String { String(decoding: source[start..<end], as: UTF8.self) }

  /// Where the text before a tag ends once blanks are taken off as its sign or `lstrip_blocks` asks.
  private func stripped(_ start: Int, _ tag: Int, sign: UInt8?, isPrint: Bool) -> Int {
    if sign == UInt8(ascii: "-") {
      return start + text(start, tag).stripped(left: false).utf8.count
    }
    if sign != nil || isPrint { return tag }
    let lineStart = source[start..<tag].lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 }
    guard lineStart != nil || isAtLineStart else { return tag }
    let line = lineStart ?? start
    return text(line, tag).unicodeScalars.allSatisfy(\.isPythonSpace) ? line : tag
  }

  // MARK: Ends of tags

  /// Passes over the newline behind a block, or behind a `-` over all blanks, and notes whether a line starts there.
  private mutating func finishTag(isTrimmed: Bool, takesNewline: Bool) {
    isAtLineStart = false
    if isTrimmed {
      let before = at
      skipBlanks()
      isAtLineStart = at > before && source[at - 1] == UInt8(ascii: "\n")
    } else if takesNewline, peek == UInt8(ascii: "\n") {
      at += 1
      isAtLineStart = true
    }
  }

  private mutating func skipBlanks() {
    while let (scalar, length) = scalar(at: at), scalar.isPythonSpace { at += length }
  }

  private func scalar(at place: Int) -> (Unicode.Scalar, Int)? {
    guard place < source.count else { return nil }
    let first = source[place]
    let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
    if length == 1 { return (Unicode.Scalar(first), 1) }
    return text(place, min(place + length, source.count)).unicodeScalars.first.map { ($0, length) }
  }

  private mutating func skipComment(from tag: Int) throws(SyntaxError) {
    while at < source.count {
      if looking(at: "#}") || looking(at: "-#}") || looking(at: "+#}") {
        let sign = source[at]
        at += sign == UInt8(ascii: "#") ? 2 : 3
        finishTag(isTrimmed: sign == UInt8(ascii: "-"), takesNewline: sign == UInt8(ascii: "#"))
        return
      }
      at += 1
    }
    throw SyntaxError(offset: tag, problem: "the comment has no end \"#}\"")
  }

  /// Passes over `raw %}` behind `{%`.
  private mutating func skipRawBegin() -> Bool {
    let start = at
    skipBlanks()
    if looking(at: "raw") {
      at += 3
      skipBlanks()
      if looking(at: "%}") || looking(at: "-%}") {
        let isTrimmed = source[at] == UInt8(ascii: "-")
        at += isTrimmed ? 3 : 2
        finishTag(isTrimmed: isTrimmed, takesNewline: false)
        return true
      }
    }
    at = start
    return false
  }

  private mutating func readRaw(from tag: Int) throws(SyntaxError) {
    let start = at
    while at < source.count {
      let place = at
      if looking(at: "{%") {
        at += 2
        let sign = peek == UInt8(ascii: "-") || peek == UInt8(ascii: "+") ? peek : nil
        if sign != nil { at += 1 }
        skipBlanks()
        if looking(at: "endraw") {
          at += 6
          skipBlanks()
          if looking(at: "%}") || looking(at: "-%}") || looking(at: "+%}") {
            addText(start, stripped(start, place, sign: sign, isPrint: false))
            let end = source[at]
            at += end == UInt8(ascii: "%") ? 2 : 3
            finishTag(isTrimmed: end == UInt8(ascii: "-"), takesNewline: end == UInt8(ascii: "%"))
            return
          }
        }
      }
      at = place + 1
    }
    throw SyntaxError(offset: tag, problem: "raw has no end \"{% endraw %}\"")
  }

  // MARK: Inside of tags

  private mutating func readTag(from tag: Int, isBlock: Bool) throws(SyntaxError) {
    var open: [UInt8] = []
    while at < source.count {
      if open.isEmpty, skipTagEnd(isBlock: isBlock) { return }
      let start = at
      guard let (scalar, length) = scalar(at: at) else { break }
      if scalar.isPythonSpace {
        at += length
      } else if scalar.properties.numericType == .decimal, scalar.isASCII {
        try readNumber()
      } else if scalar == "_" || scalar.properties.isXIDStart {
        readName()
        tokens.append(Token(kind: .name(text(start, at)), offset: start))
      } else if scalar == "'" || scalar == "\"" {
        try readString()
      } else {
        try readSymbol(&open)
      }
    }
    throw SyntaxError(offset: tag, problem: "the tag has no end \"\(isBlock ? "%}" : "}}")\"")
  }

  private mutating func skipTagEnd(isBlock: Bool) -> Bool {
    let start = at
    let sign = source[at]
    let isTrimmed = sign == UInt8(ascii: "-")
    if isTrimmed || (isBlock && sign == UInt8(ascii: "+")) { at += 1 }
    guard isBlock ? looking(at: "%}") : looking(at: "}}") else {
      at = start
      return false
    }
    tokens.append(Token(kind: isBlock ? .blockEnd : .printEnd, offset: start))
    let takesNewline = isBlock && at == start
    at += 2
    finishTag(isTrimmed: isTrimmed, takesNewline: takesNewline)
    return true
  }

  private mutating func readName() {
    while let (scalar, length) = scalar(at: at), scalar == "_" || scalar.properties.isXIDContinue { at += length }
  }

  private mutating func readNumber() throws(SyntaxError) {
    let start = at
    func digits(_ from: Int) -> Int {
      var end = from
      while end < source.count,
        (0x30...0x39).contains(source[end])
          || (source[end] == UInt8(ascii: "_") && end > from && end + 1 < source.count && (0x30...0x39).contains(source[end + 1]))
      { end += 1 }
      return end
    }
    // Behind a point a number is an index, never the fraction of another.
    if start == 0 || source[start - 1] != UInt8(ascii: ".") {
      var end = digits(start)
      var isFloat = false
      if end < source.count, source[end] == UInt8(ascii: "."), digits(end + 1) > end + 1 {
        end = digits(end + 1)
        isFloat = true
      }
      if end < source.count, source[end] | 0x20 == UInt8(ascii: "e") {
        var exponent = end + 1
        if exponent < source.count, source[exponent] == UInt8(ascii: "+") || source[exponent] == UInt8(ascii: "-") {
          exponent += 1
        }
        if digits(exponent) > exponent {
          end = digits(exponent)
          isFloat = true
        }
      }
      if isFloat {
        at = end
        let number = Double(text(start, end).filter { $0 != "_" }) ?? .nan
        tokens.append(Token(kind: .float(number), offset: start))
        return
      }
    }
    var end = digits(start)
    var base = 10
    if source[start] == UInt8(ascii: "0"), start + 1 < source.count,
      let radix = [UInt8(ascii: "x"): 16, UInt8(ascii: "o"): 8, UInt8(ascii: "b"): 2][source[start + 1] | 0x20]
    {
      var last = start + 2
      while last < source.count, source[last] == UInt8(ascii: "_") || Int(text(last, last + 1), radix: radix) != nil { last += 1 }
      if last > start + 2 {
        end = last
        base = radix
      }
    }
    at = end
    let spelt = text(start, end)
    if base == 10, spelt.count > 1, spelt.first == "0", spelt.contains(where: { $0 != "0" && $0 != "_" }) {
      throw SyntaxError(offset: start, problem: "the number \(spelt) begins with 0")
    }
    guard let number = PythonNumber.integer(spelt, base: base) else {
      throw SyntaxError(offset: start, problem: "the integer \(spelt) does not fit 64 bits")
    }
    tokens.append(Token(kind: .integer(number), offset: start))
  }

  private mutating func readSymbol(_ open: inout [UInt8]) throws(SyntaxError) {
    let start = at
    for symbol in ["//", "**", "==", "!=", ">=", "<="] where start + 1 < source.count {
      if source[start..<start + 2].elementsEqual(symbol.utf8) {
        at += 2
        tokens.append(Token(kind: .symbol(symbol), offset: start))
        return
      }
    }
    let byte = source[at]
    guard "+-/*%~[](){}<>=.:|,;".utf8.contains(byte) else {
      throw SyntaxError(
        offset: start, problem: "unexpected character \(scalar(at: at).map { String(Character($0.0)) }?.pythonRepr ?? "")")
    }
    switch byte {
    case UInt8(ascii: "("): open.append(UInt8(ascii: ")"))
    case UInt8(ascii: "["): open.append(UInt8(ascii: "]"))
    case UInt8(ascii: "{"): open.append(UInt8(ascii: "}"))
    case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"):
      guard open.popLast() == byte else {
        throw SyntaxError(offset: start, problem: "unexpected \"\(Character(Unicode.Scalar(byte)))\"")
      }
    default: break
    }
    at += 1
    tokens.append(Token(kind: .symbol(String(Character(Unicode.Scalar(byte)))), offset: start))
  }

  // MARK: Strings

  private mutating func readString() throws(SyntaxError) {
    let start = at
    let quote = source[at]
    at += 1
    var result: [UInt8] = []
    while at < source.count {
      let byte = source[at]
      at += 1
      if byte == quote {
        tokens.append(Token(kind: .string(String(decoding: result, as: UTF8.self)), offset: start))
        return
      }
      if byte == UInt8(ascii: "\\") { try readEscape(&result, from: start) } else { result.append(byte) }
    }
    throw SyntaxError(offset: start, problem: "the string has no end")
  }

  /// One of Python's escapes; others stay as they are, with their backslash.
  private mutating func readEscape(_ result: inout [UInt8], from start: Int) throws(SyntaxError) {
    guard let (scalar, length) = scalar(at: at) else { return }
    at += length
    let simple: [Unicode.Scalar: UInt8] = [
      "\\": 0x5C, "'": 0x27, "\"": 0x22, "a": 0x07, "b": 0x08, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B,
    ]
    if let byte = simple[scalar] {
      result.append(byte)
      return
    }
    let value: UInt32
    switch scalar {
    case "\n": return
    case "0"..."7":
      var end = at
      while end < source.count, end < at + 2, (0x30...0x37).contains(source[end]) { end += 1 }
      value = UInt32(text(at - 1, end), radix: 8) ?? 0
      at = end
    case "x", "u", "U":
      let width = scalar == "x" ? 2 : scalar == "u" ? 4 : 8
      let end = min(at + width, source.count)
      guard end == at + width, source[at..<end].allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
        let number = UInt32(text(at, end), radix: 16)
      else { throw SyntaxError(offset: start, problem: "the string has an escape \\\(scalar) without its \(width) digits") }
      value = number
      at = end
    case "N": throw SyntaxError(offset: start, problem: "the escape \\N{…} is not supported")
    default:
      result.append(0x5C)
      // Jinja spells letters beyond ASCII as escapes before it reads escapes, so that a backslash before one shows the escape.
      if scalar.isASCII {
        result.append(UInt8(scalar.value))
      } else if scalar.value < 0x100 {
        result += "x\(String.hexadecimal(scalar.value, 2))".utf8
      } else if scalar.value < 0x10000 {
        result += "u\(String.hexadecimal(scalar.value, 4))".utf8
      } else {
        result += "U\(String.hexadecimal(scalar.value, 8))".utf8
      }
      return
    }
    guard let decoded = Unicode.Scalar(value) else {
      throw SyntaxError(offset: start, problem: "the string has half of a surrogate pair")
    }
    result += String(Character(decoded)).utf8
  }
}

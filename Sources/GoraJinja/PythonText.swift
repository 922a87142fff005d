import Glibc
import GoraCore

// Strings as Python has them: sequences of code points, compared one by one.

extension String {
  /// Equality by bytes.
  func isSame(as other: String) -> Bool {
    utf8.count == other.utf8.count && self == other && (isShort || utf8.elementsEqual(other.utf8))
  }

  /// Whether it holds too few bytes for two canonically equivalent spellings of one length.
  private var isShort: Bool { utf8.count < 4 }

  var codePointCount: Int {
    var count = 0
    for byte in utf8 where byte & 0xC0 != 0x80 { count += 1 }
    return count
  }

  /// Whether one code point is one byte throughout.
  var isASCII: Bool { utf8.allSatisfy { $0 < 0x80 } }

  init(_ scalars: some Sequence<Unicode.Scalar>) {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars)
    self.init(view)
  }

  // MARK: Blanks

  func stripped(left: Bool = true, right: Bool = true, of set: String? = nil) -> String {
    let scalars = unicodeScalars
    let wanted = set.map { Set($0.unicodeScalars) }
    func isStripped(_ scalar: Unicode.Scalar) -> Bool { wanted.map { $0.contains(scalar) } ?? scalar.isPythonSpace }
    var start = scalars.startIndex
    var end = scalars.endIndex
    if left { while start < end, isStripped(scalars[start]) { start = scalars.index(after: start) } }
    if right {
      while end > start {
        let before = scalars.index(before: end)
        if !isStripped(scalars[before]) { break }
        end = before
      }
    }
    return start == scalars.startIndex && end == scalars.endIndex ? self : String(scalars[start..<end])
  }

  /// `split()` without a separator.
  func words(limit: Int, fromRight: Bool) -> [String] {
    let scalars = Array(unicodeScalars)
    var words: [String] = []
    if fromRight {
      var end = scalars.count
      while true {
        while end > 0, scalars[end - 1].isPythonSpace { end -= 1 }
        if end == 0 { break }
        if limit >= 0, words.count == limit {
          words.append(String(scalars[..<end]).stripped())
          break
        }
        var start = end
        while start > 0, !scalars[start - 1].isPythonSpace { start -= 1 }
        words.append(String(scalars[start..<end]))
        end = start
      }
      return words.reversed()
    }
    var start = 0
    while true {
      while start < scalars.count, scalars[start].isPythonSpace { start += 1 }
      if start == scalars.count { break }
      if limit >= 0, words.count == limit {
        words.append(String(scalars[start...]))
        break
      }
      var end = start
      while end < scalars.count, !scalars[end].isPythonSpace { end += 1 }
      words.append(String(scalars[start..<end]))
      start = end
    }
    return words
  }

  /// `splitlines()`: Python's line ends, of which there are more than `\n`.
  func lines(keepingEnds: Bool = false) -> [String] {
    var lines: [String] = []
    let scalars = Array(unicodeScalars)
    var start = 0
    var at = 0
    while at < scalars.count {
      guard scalars[at].isPythonLineEnd else {
        at += 1
        continue
      }
      var after = at + 1
      if scalars[at] == "\r", after < scalars.count, scalars[after] == "\n" { after += 1 }
      lines.append(String(scalars[start..<(keepingEnds ? after : at)]))
      start = after
      at = after
    }
    if start < scalars.count { lines.append(String(scalars[start...])) }
    return lines
  }

  // MARK: Searching

  /// Byte offset of `part` at or behind `from`.
  func offset(of part: String, from: Int = 0) -> Int? {
    var text = self
    var part = part
    return text.withUTF8 { text -> Int? in
      part.withUTF8 { part -> Int? in
        guard let wanted = part.baseAddress, part.count > 0, let base = text.baseAddress else {
          return part.isEmpty && from <= text.count ? from : nil
        }
        var at = from
        while at + part.count <= text.count {
          // Candidates are where the first byte stands.
          guard let hit = memchr(base + at, Int32(wanted[0]), text.count - part.count - at + 1) else { return nil }
          at = UnsafeRawPointer(base).distance(to: UnsafeRawPointer(hit))
          if memcmp(hit, wanted, part.count) == 0 { return at }
          at += 1
        }
        return nil
      }
    }
  }

  func contains(part: String) -> Bool { offset(of: part) != nil }

  /// Pieces between the occurrences of `separator`, which is not empty.
  func pieces(between separator: String, limit: Int = -1) -> [String] {
    var pieces: [String] = []
    var at = 0
    while limit < 0 || pieces.count < limit, let found = offset(of: separator, from: at) {
      pieces.append(bytes(at, found))
      at = found + separator.utf8.count
    }
    pieces.append(bytes(at, utf8.count))
    return pieces
  }

  /// `rsplit` with a separator: the last `limit` places only.
  func piecesFromRight(between separator: String, limit: Int) -> [String] {
    var found: [Int] = []
    var at = utf8.count
    while limit < 0 || found.count < limit, let place = lastOffset(of: separator, before: at) {
      found.append(place)
      at = place
    }
    var pieces: [String] = []
    var start = 0
    for place in found.reversed() {
      pieces.append(bytes(start, place))
      start = place + separator.utf8.count
    }
    pieces.append(bytes(start, utf8.count))
    return pieces
  }

  /// Byte offset of the last occurrence that ends at or before `end`.
  func lastOffset(of part: String, before end: Int? = nil) -> Int? {
    var text = self
    var part = part
    return text.withUTF8 { text -> Int? in
      part.withUTF8 { part -> Int? in
        var start = (end ?? text.count) - part.count
        while start >= 0 {
          if part.isEmpty || memcmp(text.baseAddress! + start, part.baseAddress!, part.count) == 0 { return start }
          start -= 1
        }
        return nil
      }
    }
  }

  /// The text of a range of bytes, which begins and ends between code points.
  func bytes(_ start: Int, _ end: Int) -> String {
    String(self[utf8.index(startIndex, offsetBy: start)..<utf8.index(startIndex, offsetBy: end)])
  }

  func replacing(_ old: String, by new: String, limit: Int = -1) -> String {
    if old.isEmpty {
      var result = ""
      var left = limit < 0 ? Int.max : limit
      for scalar in unicodeScalars {
        if left > 0 { result += new }
        left -= 1
        result.unicodeScalars.append(scalar)
      }
      return left > 0 ? result + new : result
    }
    guard limit != 0, contains(part: old) else { return self }
    return pieces(between: old, limit: limit).joined(separator: new)
  }

  // MARK: Letters

  var pythonLower: String {
    if isASCII { return lowercased() }
    let scalars = Array(unicodeScalars)
    var result = ""
    for (i, scalar) in scalars.enumerated() {
      if scalar == "\u{3A3}" {
        result += Self.isFinalSigma(scalars, i) ? "\u{3C2}" : "\u{3C3}"
      } else {
        result += scalar.properties.lowercaseMapping
      }
    }
    return result
  }

  private static func isFinalSigma(_ scalars: [Unicode.Scalar], _ place: Int) -> Bool {
    let before = scalars[..<place].last { !$0.properties.isCaseIgnorable }
    let after = scalars[(place + 1)...].first { !$0.properties.isCaseIgnorable }
    return before?.properties.isCased == true && after?.properties.isCased != true
  }

  var pythonUpper: String {
    isASCII ? uppercased() : unicodeScalars.reduce(into: "") { $0 += $1.properties.uppercaseMapping }
  }

  /// The first letter in title case, the others small.
  var pythonCapitalized: String {
    guard let first = unicodeScalars.first else { return self }
    // Whether a sigma is final depends on what precedes it, so that the whole is lowered first.
    let lowered = pythonLower
    let head = String(Character(first)).pythonLower.unicodeScalars.count
    return first.properties.titlecaseMapping + String(lowered.unicodeScalars.dropFirst(head))
  }

  /// `str.title`: every cased letter behind an uncased one.
  var pythonTitled: String {
    var result = ""
    var isInside = false
    let scalars = Array(unicodeScalars)
    for (i, scalar) in scalars.enumerated() {
      if !isInside {
        result += scalar.properties.titlecaseMapping
      } else if scalar == "\u{3A3}" {
        result += Self.isFinalSigma(scalars, i) ? "\u{3C2}" : "\u{3C3}"
      } else {
        result += scalar.properties.lowercaseMapping
      }
      isInside = scalar.properties.isCased
    }
    return result
  }

  /// `repr`.
  var pythonRepr: String {
    let quote: Unicode.Scalar = contains(part: "'") && !contains(part: "\"") ? "\"" : "'"
    var result = ""
    result.unicodeScalars.append(quote)
    for scalar in unicodeScalars {
      switch scalar {
      case quote, "\\":
        result += "\\"
        result.unicodeScalars.append(scalar)
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where scalar.isPythonPrintable: result.unicodeScalars.append(scalar)
      case _ where scalar.value < 0x100: result += "\\x" + Self.hexadecimal(scalar.value, 2)
      case _ where scalar.value < 0x10000: result += "\\u" + Self.hexadecimal(scalar.value, 4)
      default: result += "\\U" + Self.hexadecimal(scalar.value, 8)
      }
    }
    result.unicodeScalars.append(quote)
    return result
  }

  static func hexadecimal(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: Swift.max(0, width - digits.count)) + digits
  }
}

extension Unicode.Scalar {
  /// `str.isspace`.
  var isPythonSpace: Bool {
    switch value {
    case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
    default: false
    }
  }

  var isPythonLineEnd: Bool {
    switch value {
    case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
    default: false
    }
  }

  /// `str.isprintable`.
  var isPythonPrintable: Bool {
    switch properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
    case .spaceSeparator: self == " "
    default: true
    }
  }

  /// `str.isalpha`.
  var isPythonLetter: Bool {
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
    default: false
    }
  }
}

/// Numbers as Python writes and reads them.
enum PythonNumber {
  /// `repr(float)`: the shortest digits, an exponent below 1e-4 and from 1e16 on.
  static func text(_ number: Double) -> String {
    if number.isNaN { return "nan" }
    if number.isInfinite { return number < 0 ? "-inf" : "inf" }
    var digits: [UInt8] = []
    var exponent = 0
    var point: Int?
    // Swift's description has the shortest digits as well, in another layout.
    let spelt = number.magnitude.description.utf8.split(separator: UInt8(ascii: "e"))
    for byte in spelt[0] {
      if byte == UInt8(ascii: ".") { point = digits.count } else { digits.append(byte) }
    }
    exponent = (point ?? digits.count) - 1
    if spelt.count > 1 { exponent += Int(String(decoding: spelt[1], as: UTF8.self)) ?? 0 }
    while digits.count > 1, digits.first == UInt8(ascii: "0") {
      digits.removeFirst()
      exponent -= 1
    }
    while digits.count > 1, digits.last == UInt8(ascii: "0") { digits.removeLast() }
    let sign = number.sign == .minus ? "-" : ""
    let zero = UInt8(ascii: "0")
    if number == 0 { return sign + "0.0" }
    if exponent < -4 || exponent >= 16 {
      let head = String(decoding: digits[..<1], as: UTF8.self)
      let tail = digits.count > 1 ? "." + String(decoding: digits[1...], as: UTF8.self) : ""
      let size = exponent.magnitude < 10 ? "0\(exponent.magnitude)" : "\(exponent.magnitude)"
      return sign + head + tail + "e" + (exponent < 0 ? "-" : "+") + size
    }
    if exponent < 0 { digits.insert(contentsOf: repeatElement(zero, count: -exponent), at: 0) }
    let whole = max(exponent, 0) + 1
    if digits.count <= whole { digits += repeatElement(zero, count: whole + 1 - digits.count) }
    return sign + String(decoding: digits[..<whole], as: UTF8.self) + "." + String(decoding: digits[whole...], as: UTF8.self)
  }

  /// `int(text, base)`; nil where Python refuses it.
  static func integer(_ text: String, base: Int) -> Int? {
    var body = Substring(text.stripped().pythonLower)
    var isNegative = false
    if let sign = body.first, sign == "-" || sign == "+" {
      isNegative = sign == "-"
      body.removeFirst()
    }
    var radix = base
    for (prefix, value) in [("0x", 16), ("0o", 8), ("0b", 2)] where body.hasPrefix(prefix) && (base == 0 || base == value) {
      body.removeFirst(2)
      if body.first == "_" { body.removeFirst() }
      radix = value
    }
    if radix == 0 {
      if body.first == "0", body.contains(where: { $0 != "0" && $0 != "_" }) { return nil }
      radix = 10
    }
    guard (2...36).contains(radix), isGrouped(body), body.first != "+", body.first != "-" else { return nil }
    return Int((isNegative ? "-" : "") + body.filter { $0 != "_" }, radix: radix)
  }

  /// `float(text)`; nil where Python refuses it.
  static func float(_ text: String) -> Double? {
    let body = text.stripped().pythonLower
    let magnitude = body.first == "-" || body.first == "+" ? String(body.dropFirst()) : body
    switch magnitude {
    case "inf", "infinity": return body.first == "-" ? -.infinity : .infinity
    case "nan": return .nan
    default: break
    }
    guard magnitude.utf8.allSatisfy({ (0x30...0x39).contains($0) || "._e+-".utf8.contains($0) }) else { return nil }
    for part in magnitude.split(whereSeparator: { ".e+-".contains($0) }) where !isGrouped(part) { return nil }
    var plain = magnitude.filter { $0 != "_" }
    if plain.first == "." { plain = "0" + plain }
    if plain.last == "." { plain.removeLast() }
    plain = plain.replacing(".e", by: "e")
    guard plain.first?.isNumber == true, let value = Double(plain) else { return nil }
    return body.first == "-" ? -value : value
  }

  /// Underscores stand between digits only.
  private static func isGrouped(_ digits: Substring) -> Bool {
    !digits.isEmpty && digits.first != "_" && digits.last != "_" && !digits.contains("__")
  }

  /// C's formatting of one number (`%.3f`).
  static func formatted(_ pattern: String, _ value: Double) -> String {
    var buffer = [CChar](repeating: 0, count: 1024)
    let count = withVaList([value]) { vsnprintf(&buffer, buffer.count, pattern, $0) }
    return String(decoding: buffer.prefix(min(max(0, Int(count)), buffer.count - 1)).map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}

extension PythonNumber {
  static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
}

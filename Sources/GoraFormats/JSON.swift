import Glibc
import GoraCore

/// A JSON value that remembers where in its text it stood.
package struct JSON: Sendable, Equatable {
  package enum Content: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number without fraction or exponent that fits 64 bits.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSON])
    /// Members in the order of the text; keys are unique.
    case object([Member])
  }

  package struct Member: Sendable, Equatable {
    package let key: String
    package let value: JSON
    /// Byte offset of the key.
    package let offset: Int

    package init(_ key: String, _ value: JSON, offset: Int = 0) {
      self.key = key
      self.value = value
      self.offset = offset
    }
    package static func == (a: Member, b: Member) -> Bool { a.key == b.key && a.value == b.value }
  }

  package let content: Content
  /// Byte offset of the value in its text; 0 for a value made in memory.
  package let offset: Int

  package init(_ content: Content, offset: Int = 0) {
    self.content = content
    self.offset = offset
  }

  /// Equality of content; places do not count.
  package static func == (a: JSON, b: JSON) -> Bool { a.content == b.content }

  package static func object(_ members: KeyValuePairs<String, JSON>) -> JSON {
    JSON(.object(members.map { Member($0.key, $0.value) }))
  }
  package static func integers(_ values: [Int]) -> JSON { JSON(.array(values.map { JSON(.integer($0)) })) }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral
{
  package init(stringLiteral value: String) { self.init(.string(value)) }
  package init(integerLiteral value: Int) { self.init(.integer(value)) }
  package init(floatLiteral value: Double) { self.init(.number(value)) }
  package init(booleanLiteral value: Bool) { self.init(.bool(value)) }
  package init(nilLiteral: ()) { self.init(.null) }
  package init(arrayLiteral elements: JSON...) { self.init(.array(elements)) }
  package init(_ value: String) { self.init(.string(value)) }
  package init(_ value: Int) { self.init(.integer(value)) }
  package init(_ value: Double) { self.init(.number(value)) }
  package init(_ value: Bool) { self.init(.bool(value)) }
  package init(_ value: [JSON]) { self.init(.array(value)) }
}

/// What is there of records that may hold anything.
extension JSON {
  /// The member of an object.
  package subscript(_ key: String) -> JSON? {
    guard case .object(let members) = content else { return nil }
    return members.first { $0.key == key }?.value
  }
  package var text: String? {
    guard case .string(let text) = content else { return nil }
    return text
  }
  package var number: Double? {
    switch content {
    case .integer(let number): Double(number)
    case .number(let number): number
    default: nil
    }
  }
  package var elements: [JSON]? {
    guard case .array(let elements) = content else { return nil }
    return elements
  }
}

/// Why a text is not JSON, and where.
package struct JSONSyntaxError: Error, Sendable {
  package let offset: Int
  package let problem: String
}

extension JSON {
  /// What a text may say.
  package enum Dialect: Sendable {
    /// RFC 8259: no key twice, numbers that are finite.
    case strict
    /// As Python's `json` writes and reads: also NaN, Infinity and -Infinity, numbers beyond a double's range are infinite, and of a
    /// key that stands twice the last value counts. For data of others, of which only some keys matter.
    case python
  }

  /// Parses a whole text: UTF-8, nothing after the value, at most `maxDepth` levels.
  package init(parsing bytes: UnsafeRawBufferPointer, as dialect: Dialect = .strict, maxDepth: Int = 256) throws(JSONSyntaxError)
  {
    var parser = JSONParser(bytes: bytes, dialect: dialect, maxDepth: maxDepth)
    self = try parser.document()
  }

  package init(parsing text: String) throws(JSONSyntaxError) {
    var text = text
    let result = text.withUTF8 { utf8 -> Result<JSON, JSONSyntaxError> in
      do throws(JSONSyntaxError) { return .success(try JSON(parsing: UnsafeRawBufferPointer(utf8))) } catch {
        return .failure(error)
      }
    }
    self = try result.get()
  }
}

/// A key compared by its bytes: `String` equality takes canonically equivalent texts for one, and vocabularies hold both.
private struct ExactKey: Hashable {
  var text: String

  static func == (a: ExactKey, b: ExactKey) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  let dialect: JSON.Dialect
  let maxDepth: Int
  var at = 0

  mutating func document() throws(JSONSyntaxError) -> JSON {
    skipSpace()
    let value = try value(depth: 0)
    skipSpace()
    if at < bytes.count { throw fail("text after the value") }
    return value
  }

  func fail(_ problem: String, at offset: Int? = nil) -> JSONSyntaxError {
    JSONSyntaxError(offset: offset ?? at, problem: problem)
  }

  mutating func skipSpace() {
    while at < bytes.count {
      switch bytes[at] {
      case 0x20, 0x0A, 0x0D, 0x09: at += 1
      default: return
      }
    }
  }

  mutating func value(depth: Int) throws(JSONSyntaxError) -> JSON {
    guard at < bytes.count else { throw fail("unexpected end of text") }
    if depth > maxDepth { throw fail("nested deeper than \(maxDepth) levels") }
    let start = at
    switch bytes[at] {
    case UInt8(ascii: "{"):
      at += 1
      var members: [JSON.Member] = []
      var seen: Set<ExactKey> = []
      skipSpace()
      if at < bytes.count, bytes[at] == UInt8(ascii: "}") {
        at += 1
        return JSON(.object([]), offset: start)
      }
      while true {
        skipSpace()
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw fail("expected a key in quotes") }
        let keyOffset = at
        let key = try string()
        // Sets pay only for large objects; small ones are compared directly.
        let isTwice: Bool
        if members.count < 8 {
          isTwice = members.contains { ExactKey(text: $0.key) == ExactKey(text: key) }
        } else {
          if members.count == 8 { seen = Set(members.map { ExactKey(text: $0.key) }) }
          isTwice = !seen.insert(ExactKey(text: key)).inserted
        }
        if isTwice, dialect == .strict { throw fail("duplicate key \"\(key)\"", at: keyOffset) }
        skipSpace()
        try expect(UInt8(ascii: ":"), "':' after a key")
        skipSpace()
        let member = JSON.Member(key, try value(depth: depth + 1), offset: keyOffset)
        if isTwice, let first = members.firstIndex(where: { ExactKey(text: $0.key) == ExactKey(text: key) }) {
          members[first] = member
        } else {
          members.append(member)
        }
        skipSpace()
        if at < bytes.count, bytes[at] == UInt8(ascii: ",") {
          at += 1
          continue
        }
        try expect(UInt8(ascii: "}"), "',' or '}'")
        return JSON(.object(members), offset: start)
      }
    case UInt8(ascii: "["):
      at += 1
      var elements: [JSON] = []
      skipSpace()
      if at < bytes.count, bytes[at] == UInt8(ascii: "]") {
        at += 1
        return JSON(.array([]), offset: start)
      }
      while true {
        skipSpace()
        elements.append(try value(depth: depth + 1))
        skipSpace()
        if at < bytes.count, bytes[at] == UInt8(ascii: ",") {
          at += 1
          continue
        }
        try expect(UInt8(ascii: "]"), "',' or ']'")
        return JSON(.array(elements), offset: start)
      }
    case UInt8(ascii: "\""): return JSON(.string(try string()), offset: start)
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "N") where dialect == .python: return try literal("NaN", .number(.nan))
    case UInt8(ascii: "I") where dialect == .python: return try literal("Infinity", .number(.infinity))
    case UInt8(ascii: "-") where dialect == .python && at + 1 < bytes.count && bytes[at + 1] == UInt8(ascii: "I"):
      return try literal("-Infinity", .number(-.infinity))
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    default: throw fail("expected a value")
    }
  }

  mutating func expect(_ byte: UInt8, _ what: String) throws(JSONSyntaxError) {
    guard at < bytes.count else { throw fail("unexpected end of text; expected \(what)") }
    guard bytes[at] == byte else { throw fail("expected \(what)") }
    at += 1
  }

  mutating func literal(_ word: StaticString, _ content: JSON.Content) throws(JSONSyntaxError) -> JSON {
    let start = at
    let count = word.utf8CodeUnitCount
    guard at + count <= bytes.count, memcmp(bytes.baseAddress! + at, word.utf8Start, count) == 0 else {
      throw fail("expected a value")
    }
    at += count
    return JSON(content, offset: start)
  }

  mutating func number() throws(JSONSyntaxError) -> JSON {
    let start = at
    func digit(_ i: Int) -> Bool { i < bytes.count && bytes[i] >= 0x30 && bytes[i] <= 0x39 }
    if bytes[at] == UInt8(ascii: "-") { at += 1 }
    guard digit(at) else { throw fail("malformed number", at: start) }
    if bytes[at] == 0x30 {
      at += 1
      if digit(at) { throw fail("number with a leading zero", at: start) }
    } else {
      while digit(at) { at += 1 }
    }
    var integral = true
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      integral = false
      at += 1
      guard digit(at) else { throw fail("malformed number", at: start) }
      while digit(at) { at += 1 }
    }
    if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
      integral = false
      at += 1
      if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
      guard digit(at) else { throw fail("malformed number", at: start) }
      while digit(at) { at += 1 }
    }
    let text = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<at]), as: UTF8.self)
    if integral, let integer = Int(text) { return JSON(.integer(integer), offset: start) }
    guard let double = Double(text), double.isFinite || dialect == .python else { throw fail("number out of range", at: start) }
    return JSON(.number(double), offset: start)
  }

  mutating func string() throws(JSONSyntaxError) -> String {
    let start = at
    at += 1
    var i = at
    // The common case: no escape.
    while i < bytes.count, bytes[i] != 0x22, bytes[i] != 0x5C, bytes[i] >= 0x20 { i += 1 }
    guard i < bytes.count else { throw fail("unterminated string", at: start) }
    if bytes[i] == 0x22 {
      let slice = UnsafeRawBufferPointer(rebasing: bytes[at..<i])
      guard let text = String(validating: slice, as: UTF8.self) else { throw fail("string is not UTF-8", at: start) }
      at = i + 1
      return text
    }
    var buffer = [UInt8](bytes[at..<i])
    at = i
    while true {
      guard at < bytes.count else { throw fail("unterminated string", at: start) }
      let byte = bytes[at]
      if byte == 0x22 {
        at += 1
        guard let text = String(validating: buffer, as: UTF8.self) else { throw fail("string is not UTF-8", at: start) }
        return text
      }
      if byte < 0x20 { throw fail("control character in a string") }
      at += 1
      if byte != 0x5C {
        buffer.append(byte)
        continue
      }
      guard at < bytes.count else { throw fail("unterminated string", at: start) }
      let escape = bytes[at]
      at += 1
      switch escape {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): buffer.append(escape)
      case UInt8(ascii: "b"): buffer.append(0x08)
      case UInt8(ascii: "f"): buffer.append(0x0C)
      case UInt8(ascii: "n"): buffer.append(0x0A)
      case UInt8(ascii: "r"): buffer.append(0x0D)
      case UInt8(ascii: "t"): buffer.append(0x09)
      case UInt8(ascii: "u"):
        var unit = try hex4()
        if unit & 0xFC00 == 0xD800, at + 1 < bytes.count, bytes[at] == 0x5C, bytes[at + 1] == UInt8(ascii: "u") {
          let before = at
          at += 2
          let low = try hex4()
          if low & 0xFC00 == 0xDC00 {
            unit = 0x10000 + (unit & 0x3FF) << 10 + (low & 0x3FF)
          } else {
            at = before
          }
        }
        // A lone surrogate becomes U+FFFD, as Python's json readers' text does once encoded.
        let scalar = Unicode.Scalar(unit) ?? "\u{FFFD}"
        buffer.append(contentsOf: String(Character(scalar)).utf8)
      default: throw fail("unknown escape in a string", at: at - 2)
      }
    }
  }

  mutating func hex4() throws(JSONSyntaxError) -> UInt32 {
    guard at + 4 <= bytes.count else { throw fail("unterminated string") }
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = Character(Unicode.Scalar(bytes[at])).hexDigitValue else { throw fail("malformed \\u escape") }
      value = value << 4 | UInt32(digit)
      at += 1
    }
    return value
  }
}

// MARK: - Writing

extension JSON {
  /// Two-space indent, members in the order given, short leaves on one line, trailing newline. JSON has no number that is not finite:
  /// null stands for it.
  package func pretty() -> String {
    var out = ""
    write(into: &out, indent: 0, width: 112)
    out += "\n"
    return out
  }

  /// The same on one line without spaces (a line of JSON Lines, without its newline).
  package func compact() -> String {
    var out = ""
    inline(into: &out, separator: ",", colon: ":")
    return out
  }

  private func write(into out: inout String, indent: Int, width: Int) {
    var line = ""
    if isLeafy {
      inline(into: &line, separator: ", ", colon: ": ")
      if line.utf8.count + indent <= width {
        out += line
        return
      }
    }
    let pad = String(repeating: " ", count: indent + 2)
    switch content {
    case .array(let elements) where !elements.isEmpty:
      out += "[\n"
      for (i, element) in elements.enumerated() {
        out += pad
        element.write(into: &out, indent: indent + 2, width: width)
        out += i + 1 < elements.count ? ",\n" : "\n"
      }
      out += String(repeating: " ", count: indent) + "]"
    case .object(let members) where !members.isEmpty:
      out += "{\n"
      for (i, member) in members.enumerated() {
        out += pad
        JSON.quote(member.key, into: &out)
        out += ": "
        member.value.write(into: &out, indent: indent + 2, width: width)
        out += i + 1 < members.count ? ",\n" : "\n"
      }
      out += String(repeating: " ", count: indent) + "}"
    default: inline(into: &out, separator: ", ", colon: ": ")
    }
  }

  /// Whether it may stand on one line: no object or array of objects inside.
  private var isLeafy: Bool {
    switch content {
    case .array(let elements): elements.allSatisfy(\.isScalar)
    case .object(let members):
      members.allSatisfy { member in
        if case .array(let elements) = member.value.content { return elements.allSatisfy(\.isScalar) }
        return member.value.isScalar
      }
    default: true
    }
  }

  private var isScalar: Bool {
    switch content {
    case .array, .object: false
    default: true
    }
  }

  private func inline(into out: inout String, separator: String, colon: String) {
    switch content {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .integer(let value): out += String(value)
    case .number(let value): out += value.isFinite ? value.description : "null"
    case .string(let value): JSON.quote(value, into: &out)
    case .array(let elements):
      out += "["
      for (i, element) in elements.enumerated() {
        if i > 0 { out += separator }
        element.inline(into: &out, separator: separator, colon: colon)
      }
      out += "]"
    case .object(let members):
      out += "{"
      for (i, member) in members.enumerated() {
        if i > 0 { out += separator }
        JSON.quote(member.key, into: &out)
        out += colon
        member.value.inline(into: &out, separator: separator, colon: colon)
      }
      out += "}"
    }
  }

  package static func quote(_ text: String, into out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      default:
        if scalar.value < 0x20 || scalar.value == 0x7F {
          let hex = String(scalar.value, radix: 16)
          out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
        } else {
          out.unicodeScalars.append(scalar)
        }
      }
    }
    out += "\""
  }

  /// The same of bytes that are UTF-8.
  package static func quote(utf8 text: [UInt8], into out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        out.append(UInt8(ascii: "\\"))
        out.append(byte)
      case ..<0x20, 0x7F:
        let hex = String(byte, radix: 16)
        out += "\\u\(String(repeating: "0", count: 4 - hex.count))\(hex)".utf8
      default: out.append(byte)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}

import GoraCore

/// A JSON file held with its text, so that every complaint names line and column.
package final class JSONDocument: Sendable {
  package let path: String
  private let text: [UInt8]
  private let value: JSON

  /// - Parameters:
  ///   - firstLine: line number of the text's first line in the file (JSON Lines).
  ///   - isMade: whether the text was made from something else, so that its lines are nobody's.
  package init(
    path: String, text: [UInt8], as dialect: JSON.Dialect = .strict, firstLine: Int = 1, isMade: Bool = false
  ) throws(GoraError) {
    self.path = path
    self.isMade = isMade
    self.text = text
    self.firstLine = firstLine
    let parsed = text.withUnsafeBytes { bytes -> Result<JSON, JSONSyntaxError> in
      do throws(JSONSyntaxError) { return .success(try JSON(parsing: bytes, as: dialect)) } catch { return .failure(error) }
    }
    switch parsed {
    case .success(let value): self.value = value
    case .failure(let error):
      throw GitLFS.refusal(of: text, path)
        ?? GoraError(
          .data, at: Self.location(path: path, text: text, offset: error.offset, firstLine: firstLine), error.problem)
    }
  }
  private let firstLine: Int
  private let isMade: Bool

  package var root: JSONField { JSONField(document: self, value: value, name: "the file") }

  func location(_ offset: Int) -> Location {
    isMade ? .file(path) : Self.location(path: path, text: text, offset: offset, firstLine: firstLine)
  }

  private static func location(path: String, text: [UInt8], offset: Int, firstLine: Int) -> Location {
    var line = firstLine
    var lineStart = 0
    for (i, byte) in text.prefix(offset).enumerated() where byte == 0x0A {
      line += 1
      lineStart = i + 1
    }
    return .text(path, line: line, column: offset - lineStart + 1)
  }
}

/// A value of a document with the accessors that throw located errors (exit 65).
package struct JSONField: Sendable {
  package let document: JSONDocument
  package let value: JSON
  /// How the error calls it: `"rank"`, `"modules"[3]`.
  package let name: String

  package func error(_ problem: String, hint: String? = nil) -> GoraError {
    GoraError(.data, at: document.location(value.offset), problem, hint: hint)
  }

  /// Members by name; an object otherwise an error.
  package var members: [(key: String, field: JSONField)] {
    get throws(GoraError) {
      guard case .object(let members) = value.content else { throw error("\(name) must be an object") }
      return members.map { ($0.key, JSONField(document: document, value: $0.value, name: "\"\($0.key)\"")) }
    }
  }

  package var elements: [JSONField] {
    get throws(GoraError) {
      guard case .array(let elements) = value.content else { throw error("\(name) must be an array") }
      return elements.enumerated().map { JSONField(document: document, value: $1, name: "\(name)[\($0)]") }
    }
  }

  /// The member, null too, or nil where it is absent.
  package func member(_ key: String) throws(GoraError) -> JSONField? {
    guard case .object(let members) = value.content else { throw error("\(name) must be an object") }
    guard let member = members.first(where: { $0.key == key }) else { return nil }
    return JSONField(document: document, value: member.value, name: "\"\(key)\"")
  }

  /// The member, or nil where it is absent or null.
  package func optional(_ key: String) throws(GoraError) -> JSONField? {
    guard let field = try member(key), field.value.content != .null else { return nil }
    return field
  }

  package func required(_ key: String) throws(GoraError) -> JSONField {
    guard let field = try optional(key) else { throw error("\(name) lacks \"\(key)\"") }
    return field
  }

  /// Refuses members that are not in `keys`: a typo in a hand-edited file must not pass.
  package func allowOnly(_ keys: [String]) throws(GoraError) {
    guard case .object(let members) = value.content else { throw error("\(name) must be an object") }
    for member in members where !keys.contains(member.key) {
      throw GoraError(
        .data, at: document.location(member.offset), "unknown key \"\(member.key)\"",
        hint: "known keys here: \(keys.joined(separator: ", "))")
    }
  }

  package var string: String {
    get throws(GoraError) {
      guard case .string(let text) = value.content else { throw error("\(name) must be a string") }
      return text
    }
  }

  package var bool: Bool {
    get throws(GoraError) {
      guard case .bool(let flag) = value.content else { throw error("\(name) must be true or false") }
      return flag
    }
  }

  package var int: Int {
    get throws(GoraError) {
      guard case .integer(let number) = value.content else { throw error("\(name) must be an integer") }
      return number
    }
  }

  package var double: Double {
    get throws(GoraError) {
      switch value.content {
      case .integer(let number): return Double(number)
      case .number(let number): return number
      default: throw error("\(name) must be a number")
      }
    }
  }

  package func int(in range: ClosedRange<Int>) throws(GoraError) -> Int {
    let number = try int
    guard range.contains(number) else {
      throw error("\(name) is \(number); expected \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  package var ints: [Int] {
    get throws(GoraError) {
      var numbers: [Int] = []
      for element in try elements { numbers.append(try element.int) }
      return numbers
    }
  }
}

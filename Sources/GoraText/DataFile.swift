import GoraCore
import GoraFormats

/// The rows of one or more data files, in file order.
package struct DataRows: Sendable {
  package var rows: [DataRow] = []
  /// Where each of them stands.
  package var places: [Location] = []
  /// Rows passed over (`--skip-bad-rows`).
  package var badRows = 0
  /// Why the first of them was bad, for the report.
  package var firstBadRow: GoraError?

  package init(rows: [DataRow] = [], places: [Location] = []) {
    precondition(rows.count == places.count)
    self.rows = rows
    self.places = places
  }

  /// The kinds that occur, in the order of `RowKind`.
  package var kinds: [RowKind] {
    RowKind.allCases.filter { kind in rows.contains { $0.kind == kind } }
  }
}

/// Reads `--data` files: a JSON array of rows or JSON Lines, plain or compressed.
package enum DataFile {
  /// The rows of all `paths`, concatenated.
  ///
  /// - Parameters:
  ///   - vocabularySize: token ids of tokenised rows must be below it.
  ///   - skipBadRows: count bad rows and go on; a text whose rows cannot be told apart is an error all the same.
  /// - Throws: `GoraError`: exit 66 where a file cannot be read, 65 with file, line and column for a bad row and
  ///   where no row is left.
  package static func read(
    _ paths: [String], vocabularySize: Int? = nil, skipBadRows: Bool = false
  ) throws(GoraError) -> DataRows {
    var result = DataRows()
    for path in paths {
      let bytes = try InputText.read(path)
      try add(bytes, path: path, vocabularySize: vocabularySize, skipBadRows: skipBadRows, to: &result)
    }
    if result.rows.isEmpty {
      let bad = result.firstBadRow.map { "; all \(result.badRows) are bad, the first: \($0)" } ?? ""
      throw GoraError(.data, at: .file(paths.joined(separator: ", ")), "no rows\(bad)")
    }
    return result
  }

  /// The rows of a text already in memory; `path` is what errors call it.
  package static func parse(
    _ text: [UInt8], path: String, vocabularySize: Int? = nil, skipBadRows: Bool = false
  ) throws(GoraError) -> DataRows {
    var result = DataRows()
    try add(text, path: path, vocabularySize: vocabularySize, skipBadRows: skipBadRows, to: &result)
    return result
  }

  // Rows are parsed one at a time: the JSON tree of a whole file would be many times its text.
  private static func add(
    _ text: [UInt8], path: String, vocabularySize: Int?, skipBadRows: Bool, to result: inout DataRows
  ) throws(GoraError) {
    var scanner = RowScanner(text: text, path: path)
    while let span = try scanner.next() {
      do throws(GoraError) {
        let rows = try rows(text, span, path: path, vocabularySize: vocabularySize)
        result.rows += rows
        result.places += rows.map { _ in .text(path, line: span.line, column: span.column) }
      } catch {
        guard skipBadRows else { throw error }
        result.badRows += 1
        if result.firstBadRow == nil { result.firstBadRow = error }
      }
    }
  }

  private static func rows(
    _ text: [UInt8], _ span: RowScanner.RowSpan, path: String, vocabularySize: Int?
  ) throws(GoraError) -> [DataRow] {
    do throws(GoraError) {
      let document = try JSONDocument(path: path, text: Array(text[span.bytes]), as: .python, firstLine: span.line)
      return try DataRow.rows(document.root, vocabularySize: vocabularySize)
    } catch {
      // The document counts columns from the row's first byte; an array's rows may start anywhere in a line.
      guard case .text(let path, let line, let column) = error.location, line == span.line else { throw error }
      var moved = error
      moved.location = .text(path, line: line, column: column + span.column - 1)
      throw moved
    }
  }
}

/// Finds where each row of a JSON array or of JSON Lines begins and ends, without parsing it.
private struct RowScanner {
  struct RowSpan {
    var bytes: Range<Int>
    /// One-based place of the first byte.
    var line: Int
    var column: Int
  }

  private let text: [UInt8]
  private let path: String
  private var at = 0
  private var line = 1
  private var lineStart = 0
  private let isArray: Bool
  private var isFirst = true
  private var isDone = false

  init(text: [UInt8], path: String) {
    self.text = text
    self.path = path
    if text.starts(with: [0xEF, 0xBB, 0xBF]) {  // byte order mark
      at = 3
      lineStart = 3
    }
    let first = text[at...].first { !Self.isSpace($0) }
    isArray = first == UInt8(ascii: "[")
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  mutating func next() throws(GoraError) -> RowSpan? {
    if isDone { return nil }
    return isArray ? try nextElement() : nextLine()
  }

  private mutating func nextLine() -> RowSpan? {
    skipSpace()
    guard at < text.count else { return nil }
    let start = at
    while at < text.count, text[at] != 0x0A { at += 1 }
    return RowSpan(bytes: start..<at, line: line, column: start - lineStart + 1)
  }

  private mutating func nextElement() throws(GoraError) -> RowSpan? {
    if isFirst {
      skipSpace()
      at += 1  // the '['
      skipSpace()
      isFirst = false
      if at < text.count, text[at] == UInt8(ascii: "]") { return try finish() }
    }
    skipSpace()
    let span = RowSpan(bytes: try element(), line: elementLine, column: elementColumn)
    skipSpace()
    guard at < text.count else { throw fail("unexpected end of text; expected ',' or ']'") }
    switch text[at] {
    case UInt8(ascii: ","): at += 1
    case UInt8(ascii: "]"): _ = try finish()
    default: throw fail("expected ',' or ']' between the rows of an array")
    }
    return span
  }

  private var elementLine = 1
  private var elementColumn = 1

  /// Passes over one value: to the bracket that closes it, or to the next comma.
  private mutating func element() throws(GoraError) -> Range<Int> {
    let start = at
    elementLine = line
    elementColumn = at - lineStart + 1
    var depth = 0
    var inString = false
    while at < text.count {
      let byte = text[at]
      if byte == 0x0A { newLine() }
      if inString {
        if byte == UInt8(ascii: "\\") { at += 1 } else if byte == UInt8(ascii: "\"") { inString = false }
      } else {
        switch byte {
        case UInt8(ascii: "\""): inString = true
        case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
        case UInt8(ascii: "}"), UInt8(ascii: "]"):
          if depth == 0 { return start..<at }
          depth -= 1
          if depth == 0 {
            at += 1
            return start..<at
          }
        case UInt8(ascii: ",") where depth == 0: return start..<at
        default: break
        }
      }
      at += 1
    }
    throw GoraError(
      .data, at: .text(path, line: elementLine, column: elementColumn), "unexpected end of text inside this row")
  }

  private mutating func finish() throws(GoraError) -> RowSpan? {
    at += 1
    skipSpace()
    guard at >= text.count else { throw fail("text after the array") }
    isDone = true
    return nil
  }

  private mutating func skipSpace() {
    while at < text.count, Self.isSpace(text[at]) {
      if text[at] == 0x0A { newLine() }
      at += 1
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

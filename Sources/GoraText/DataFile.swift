import GoraCore
import GoraFormats

/// The rows of one or more data files, in file order.
package struct ReadRows<Row: Sendable>: Sendable {
  package var rows: [Row] = []
  /// Where each of them stands.
  package var places: [Location] = []
  /// Rows passed over (`--skip-bad-rows`).
  package var badRows = 0
  /// Why the first of them was bad, for the report.
  package var firstBadRow: GoraError?

  package init(rows: [Row] = [], places: [Location] = []) {
    precondition(rows.count == places.count)
    self.rows = rows
    self.places = places
  }

  /// Leaves out what comes after the first `count` rows.
  package mutating func keepFirst(_ count: Int) {
    rows = Array(rows.prefix(count))
    places = Array(places.prefix(count))
  }
}

package typealias DataRows = ReadRows<DataRow>

extension DataRows {
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
  ///   - limit: most bytes of a file once it is unpacked.
  /// - Throws: `GoraError`: exit 66 where a file cannot be read, 65 with file, line and column for a bad row and
  ///   where no row is left.
  package static func read(
    _ paths: [String], vocabularySize: Int? = nil, skipBadRows: Bool = false, limit: Int = InputText.standardLimit
  ) throws(GoraError) -> DataRows {
    try read(paths, skipBadRows: skipBadRows, limit: limit) { row throws(GoraError) in
      try DataRow.rows(row, vocabularySize: vocabularySize)
    }
  }

  /// The same of rows that `rows` makes of each object.
  package static func read<Row>(
    _ paths: [String], skipBadRows: Bool = false, limit: Int = InputText.standardLimit,
    rows: (JSONField) throws(GoraError) -> [Row]
  ) throws(GoraError) -> ReadRows<Row> {
    var result = ReadRows<Row>()
    for path in paths {
      let input = try InputText(path, limit: limit)
      let scanner = RowScanner(path: path) { () throws(GoraError) in try input.next() }
      try add(scanner, path: path, rows, skipBadRows: skipBadRows, to: &result)
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
    try parse(text, path: path, skipBadRows: skipBadRows) { row throws(GoraError) in
      try DataRow.rows(row, vocabularySize: vocabularySize)
    }
  }

  /// The same of rows that `rows` makes of each object.
  package static func parse<Row>(
    _ text: [UInt8], path: String, skipBadRows: Bool = false, rows: (JSONField) throws(GoraError) -> [Row]
  ) throws(GoraError) -> ReadRows<Row> {
    var result = ReadRows<Row>()
    var rest: [UInt8]? = text
    let scanner = RowScanner(path: path) { () throws(GoraError) in
      defer { rest = nil }
      return rest
    }
    try add(scanner, path: path, rows, skipBadRows: skipBadRows, to: &result)
    return result
  }

  // Rows are parsed one at a time, while the file is read: its text or its JSON tree would be many times their size.
  private static func add<Row>(
    _ scanner: consuming RowScanner, path: String, _ rows: (JSONField) throws(GoraError) -> [Row], skipBadRows: Bool,
    to result: inout ReadRows<Row>
  ) throws(GoraError) {
    var scanner = scanner
    while let span = try scanner.next() {
      do throws(GoraError) {
        let rows = try parsed(span, path: path, rows)
        result.rows += rows
        result.places += rows.map { _ in .text(path, line: span.line, column: span.column) }
      } catch {
        guard skipBadRows else { throw error }
        result.badRows += 1
        if result.firstBadRow == nil { result.firstBadRow = error }
      }
    }
  }

  private static func parsed<Row>(
    _ span: RowScanner.Span, path: String, _ rows: (JSONField) throws(GoraError) -> [Row]
  ) throws(GoraError) -> [Row] {
    do throws(GoraError) {
      return try rows(JSONDocument(path: path, text: span.text, as: .python, firstLine: span.line).root)
    } catch {
      // The document counts columns from the row's first byte; an array's rows may start anywhere in a line.
      guard case .text(let path, let line, let column) = error.location, line == span.line else { throw error }
      var moved = error
      moved.location = .text(path, line: line, column: column + span.column - 1)
      throw moved
    }
  }
}

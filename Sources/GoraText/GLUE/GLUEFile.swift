import GoraCore
import GoraFormats

/// Reads GLUE's files as they are distributed: lines of columns between tabs, quotes being ordinary text.
package enum GLUEFile {
  /// Most bytes of a line: 16 MiB.
  static let longestLine = 1 << 24

  /// The rows of all `paths`, concatenated: prompts and answers.
  ///
  /// - Parameters:
  ///   - skipBadRows: count lines that are no row of the task, and go on.
  ///   - limit: most bytes of a file once it is unpacked.
  /// - Throws: status 66 where a file cannot be read; 65 with file and line for one without the task's columns, such as a test file,
  ///   which has no labels, for a bad row, and where no row is left.
  package static func read(
    _ paths: [String], task: GLUETask, wording: GLUETask.Wording, skipBadRows: Bool = false,
    limit: Int = InputText.standardLimit
  ) throws(GoraError) -> DataRows {
    var result = DataRows()
    for path in paths {
      let input = try InputText(path, limit: limit)
      var reader = Reader(path: path, task: task, wording: wording)
      var held: [UInt8] = []
      while let piece = try input.next() {
        var start = 0
        while let end = piece[start...].firstIndex(of: 0x0A) {
          try reader.read(held + piece[start..<end], skipBadRows, &result)
          held = []
          start = end + 1
        }
        held += piece[start...]
        guard held.count <= longestLine else {
          throw GoraError(.data, at: .text(path, line: reader.line + 1, column: 1), "a line of more than \(longestLine) bytes")
        }
      }
      if !held.isEmpty { try reader.read(held, skipBadRows, &result) }
      if reader.places == nil { throw GoraError(.data, at: .file(path), "empty") }
    }
    if result.rows.isEmpty {
      let bad = result.firstBadRow.map { "; all \(result.badRows) are bad, the first: \($0)" } ?? ""
      throw GoraError(.data, at: .file(paths.joined(separator: ", ")), "no rows\(bad)")
    }
    return result
  }

  /// One file, line by line.
  private struct Reader {
    let path: String
    let task: GLUETask
    let wording: GLUETask.Wording
    var line = 0
    /// Where the sentences and the label stand, and how many columns there are.
    var places: (sentences: [Int], label: Int, count: Int)?

    mutating func read(_ bytes: [UInt8], _ skipsBadRows: Bool, _ result: inout DataRows) throws(GoraError) {
      line += 1
      var bytes = bytes[...]
      if line == 1, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = bytes.dropFirst(3) }  // byte order mark
      if bytes.last == 0x0D { bytes = bytes.dropLast() }
      do throws(GoraError) {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw fail("the line is no UTF-8") }
        let columns = text.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
        if places == nil, try readHeader(columns) { return }
        result.rows.append(try row(columns))
        result.places.append(.text(path, line: line, column: 1))
      } catch {
        guard skipsBadRows, places != nil else { throw error }
        result.badRows += 1
        if result.firstBadRow == nil { result.firstBadRow = error }
      }
    }

    private func fail(_ problem: String, hint: String? = nil) -> GoraError {
      GoraError(.data, at: .text(path, line: line, column: 1), problem, hint: hint)
    }

    /// Finds the columns in the first line; false where that is a row already.
    private mutating func readHeader(_ header: [String]) throws(GoraError) -> Bool {
      let isRow = task.columns.map { $0.count == header.count && !header.contains(task.sentences[0].column) } ?? false
      let names = isRow ? task.columns ?? [] : header
      var sentences: [Int] = []
      for (column, _) in task.sentences {
        guard let place = names.firstIndex(of: column) else {
          throw fail(
            "no column \"\(column)\", as \(task.name) has", hint: "--glue names another task, or this is no file of GLUE")
        }
        sentences.append(place)
      }
      guard let label = names.firstIndex(of: task.labelColumn) else {
        throw fail(
          "no column \"\(task.labelColumn)\": the file has no labels", hint: "GLUE's test files have none; train and dev files do"
        )
      }
      places = (sentences, label, names.count)
      return !isRow
    }

    private func row(_ columns: [String]) throws(GoraError) -> DataRow {
      guard let places else { throw fail("no header") }
      guard columns.count == places.count else {
        throw fail("\(columns.count) columns, \(places.count) in the first line")
      }
      let texts = places.sentences.map { columns[$0] }
      guard let answer = task.answer(to: columns[places.label], wording) else {
        let known = task.isRegression ? "a number from 0 to 5" : task.labels.map(\.inFile).joined(separator: ", ")
        throw fail("the label is \"\(columns[places.label])\"", hint: "\(task.name) has \(known)")
      }
      return .instruction(Instruction(kind: .completion, instruction: task.prompt(texts, wording), response: " " + answer))
    }
  }
}

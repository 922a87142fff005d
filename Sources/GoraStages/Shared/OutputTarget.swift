import GoraCore
import GoraFormats

/// Where a stage's text result goes.
package enum OutputTarget: Sendable, Equatable {
  case standardOutput
  case file(String)

  /// `-`, and no `-o` at all, mean standard output.
  package init(option: String?) {
    self = option.map { $0 == "-" ? .standardOutput : .file($0) } ?? .standardOutput
  }

  /// Opens the file before the work, so that one that cannot be written shows now.
  /// - Throws: status 73 and 74.
  func open() throws(GoraError) -> OpenOutput {
    switch self {
    case .standardOutput: OpenOutput(file: nil)
    case .file(let path): OpenOutput(file: try AtomicFile(path: path))
    }
  }

  /// The file, if it is one.
  var paths: [String] {
    switch self {
    case .standardOutput: []
    case .file(let path): [path]
    }
  }

  /// ` -> plan.json`, for the end of a summary.
  package var arrow: String {
    switch self {
    case .standardOutput: ""
    case .file(let path): " -> \(path)"
    }
  }
}

/// An output that waits for its text.
struct OpenOutput {
  fileprivate let file: AtomicFile?

  /// Writes the file, or hands the text back for standard output; `others` are whole and appear with it.
  /// - Throws: status 74 where it cannot be written.
  func deliver(_ text: String, with others: [AtomicFile] = []) throws(GoraError) -> String? {
    try file?.write(Array(text.utf8))
    try AtomicFile.commit(others + (file.map { [$0] } ?? []))
    return file == nil ? text : nil
  }
}

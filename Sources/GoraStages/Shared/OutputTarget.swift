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

  /// Writes a file, or hands the text back for standard output.
  /// - Throws: status 64 where the file is one of the inputs, 73 and 74 where it cannot be written.
  func deliver(_ text: String, inputs: [String]) throws(GoraError) -> String? {
    switch self {
    case .standardOutput: return text
    case .file(let path):
      try refuseOverwrite(of: inputs, output: path)
      try AtomicFile.write(path: path, bytes: Array(text.utf8))
      return nil
    }
  }

  /// ` -> plan.json`, for the end of a summary.
  var arrow: String {
    switch self {
    case .standardOutput: ""
    case .file(let path): " -> \(path)"
    }
  }
}

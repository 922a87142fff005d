/// The exit status of every tool (documented in each man page).
package enum ExitStatus: Int32, Sendable {
  case success = 0
  /// Ran, but the answer is "no": a requirement missed, training diverged.
  case negative = 1
  /// Bad flag, missing argument, flags that contradict.
  case usage = 64
  /// Input malformed, of the wrong version, or of another model.
  case data = 65
  /// Input missing or unreadable.
  case noInput = 66
  /// The machine lacks what the run needs: memory, a library.
  case unavailable = 69
  /// A defect of gora itself.
  case `internal` = 70
  /// The system has less memory free than the run would take.
  case system = 71
  /// Output cannot be created.
  case cannotCreate = 73
  /// I/O error while writing or reading.
  case io = 74
  /// Stopped with a resumable checkpoint.
  case resumable = 75
}

/// Where in an input or output something is wrong.
package enum Location: Sendable, Equatable, CustomStringConvertible {
  case file(String)
  /// One-based line and column (columns count UTF-8 bytes).
  case text(String, line: Int, column: Int)
  /// Byte offset in a binary file and what was being read there.
  case bytes(String, offset: Int, part: String)
  /// An object inside a container file (`grad.h5:/gradients/…`, `model.safetensors: tensor "…"`).
  case object(String, name: String)

  package var description: String {
    switch self {
    case .file(let path): path
    case .text(let path, let line, let column): "\(path):\(line):\(column)"
    case .bytes(let path, let offset, let part): "\(path): byte \(offset) (\(part))"
    case .object(let path, let name): "\(path):\(name)"
    }
  }
}

/// The one error type that crosses module edges: exit status, place, sentence, and what to do next.
package struct GoraError: Error, Sendable, CustomStringConvertible {
  package var status: ExitStatus
  package var location: Location?
  /// Lower case, no full stop; both sides of a mismatch shown.
  package var problem: String
  /// A command or flag to try.
  package var hint: String?

  package init(_ status: ExitStatus, at location: Location? = nil, _ problem: String, hint: String? = nil) {
    self.status = status
    self.location = location
    self.problem = problem
    self.hint = hint
  }

  package var description: String {
    (location.map { "\($0): " } ?? "") + problem
  }
}

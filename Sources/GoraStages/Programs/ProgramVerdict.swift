/// What became of a program that was run.
package enum ProgramVerdict: Sendable, Equatable, CustomStringConvertible {
  case passed
  /// What it raised.
  case failed(String)
  case timedOut
  /// It ended without a word: killed for what it took, or gone by itself.
  case noVerdict

  package var description: String {
    switch self {
    case .passed: "passed"
    case .failed(let what): "failed: \(what)"
    case .timedOut: "timed out"
    case .noVerdict: "failed: ended before its test did"
    }
  }

  /// As one process tells it another.
  var bytes: [UInt8] {
    switch self {
    case .passed: [0]
    case .timedOut: [1]
    case .noVerdict: [2]
    case .failed(let what): [3] + what.utf8
    }
  }

  init(bytes: [UInt8]) {
    self =
      switch bytes.first {
      case 0: .passed
      case 1: .timedOut
      case 3: .failed(String(decoding: bytes.dropFirst(), as: UTF8.self))
      default: .noVerdict
      }
  }
}

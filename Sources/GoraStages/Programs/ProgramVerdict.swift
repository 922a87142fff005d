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
}

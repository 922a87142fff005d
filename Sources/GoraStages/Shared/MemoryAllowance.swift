import GoraCore
import GoraModels

/// How much memory a run may take: what is free, unless that is to be ignored.
package struct MemoryAllowance: Sendable {
  /// Goes on where more would be taken (`--ignore-memory`).
  package var isIgnored = false
  /// Bytes that are said to be free; nil asks the system, each time.
  package var free: Int?

  package init() {}

  /// Bytes of anonymous memory that this process may still take: its part of what is free on this machine.
  var available: Int { (free ?? ProcessMemory.available) / ProcessGroup.ranksOnThisMachine }
  /// Bytes that anonymous memory and mapped files may still take together.
  var shared: Int { free ?? ProcessMemory.free }

  /// Before memory is taken: whether there is as much.
  ///
  /// - Parameters:
  ///   - purpose: what takes it, as a sentence goes on.
  ///   - remedies: options that would lower it.
  ///   - isTried: nothing is taken in this run, so that a warning says enough.
  /// - Throws: status 71 where it is not there, unless that is ignored.
  func require(
    _ bytes: Int, for purpose: String, remedies: [String], isTried: Bool = false, events: EventHandler
  ) throws(GoraError) {
    let available = available
    guard bytes > available else { return }
    let problem =
      "\(purpose) would take \(RunEstimate.mebibytes(bytes)) more memory, and \(RunEstimate.mebibytes(available)) are free"
    let help = remedies.isEmpty ? "" : "\(remedies.joined(separator: ", ")) would lower it; "
    if isIgnored || isTried {
      events(.warning("\(problem)\(isIgnored || remedies.isEmpty ? "" : "; \(remedies.joined(separator: ", ")) would lower it")"))
      return
    }
    throw GoraError(.system, problem, hint: "\(help)--ignore-memory goes on all the same")
  }
}

/// Options of a tool that bear on its memory, as they stand.
struct MemoryOptions {
  /// `--recompute`; nil where the tool has none.
  var recompute: RecomputeChoice?
  /// Whether `--spill` forbids a scratch file.
  var forbidsSpilling = false
  /// Tokens of the longest row where `--micro-batch-tokens` says how many run together; nil where the tool has no such option.
  var longestRow: Int?
  /// Whether `--max-length` bears on the rows.
  var cutsRows = true
  /// Whether `--batch-size` and `--max-new-tokens` bound keys and values.
  var answers = false
  /// `--quantize`; `canQuantize` where the weights may be held so and are not.
  var quantization: Quantization?
  var canQuantize = false
}

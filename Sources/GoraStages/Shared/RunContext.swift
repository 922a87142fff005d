import GoraCore
import GoraFormats

/// What a stage records about its own run.
package struct RunContext: Sendable {
  /// `gora-train`.
  package var tool: String
  package var version: String
  /// The command line, tool name excluded.
  package var arguments: [String]
  package var seed: UInt64
  package var threads: Int
  /// False with `--no-provenance`.
  package var recordsProvenance: Bool
  package var memory = MemoryAllowance()

  package init(tool: String, version: String, arguments: [String], seed: UInt64, threads: Int, recordsProvenance: Bool) {
    self.tool = tool
    self.version = version
    self.arguments = arguments
    self.seed = seed
    self.threads = threads
    self.recordsProvenance = recordsProvenance
  }
}

/// How a stage tells its caller where it is.
package typealias EventHandler = (StageEvent) -> Void

extension RunContext {
  /// The inputs' record with this run's appended; nil with `--no-provenance`.
  func provenance(after earlier: Provenance?, inputs: [String], dtype: String? = nil) throws(GoraError) -> Provenance? {
    guard recordsProvenance else { return nil }
    return try (earlier ?? Provenance()).appending(
      tool: tool, version: version, arguments: arguments, inputs: inputs, seed: seed, threads: threads, dtype: dtype,
      libraries: dtype == nil ? [] : [("products", Matmul.backendDescription)])
  }
}

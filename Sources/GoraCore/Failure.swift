import CGoraKernels

/// The end of the process in the middle of a computation, where nothing can be thrown: no memory, a product that fails, an input that
/// would be read beyond its end.
package enum Failure {
  /// To be called once, at the start.
  /// - Parameters:
  ///   - tool: who speaks.
  ///   - clean: called first; may only do what a signal handler may.
  package static func prepare(tool: String, clean: @escaping @convention(c) () -> Void) { gora_at_failure(tool, clean) }

  /// Writes the error as one line and ends the process with its status.
  package static func end(_ error: GoraError) -> Never { gora_fail_with(error.status.rawValue, error.description) }
}

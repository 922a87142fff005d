import GoraCore

/// The version of the suite; all tools are released together.
package enum Version {
  package static let number = "0.1.0"

  /// `gora-plan (gora) 0.1.0`
  package static func line(_ tool: String) -> String { "\(tool) (gora) \(number)" }

  /// What `--version -v` adds: the libraries found at run time.
  package static var libraries: String { "matrix products: \(Matmul.backendDescription)" }
}

import GoraFormats

/// What a stage has to say when it is done.
package struct StageSummary: Sendable {
  /// One line for people.
  package var line: String
  /// More lines, for `-v`.
  package var details: [String]
  /// The same for programs (`--json`).
  package var json: JSON
  /// The result itself, where it goes to standard output.
  package var output: String?

  package init(line: String, details: [String] = [], json: JSON, output: String? = nil) {
    self.line = line
    self.details = details
    self.json = json
    self.output = output
  }
}

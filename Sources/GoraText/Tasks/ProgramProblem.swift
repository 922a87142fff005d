import GoraCore
import GoraFormats

/// A function to be written, and what tests it (openai/human-eval's rows).
package struct ProgramProblem: Sendable, Equatable {
  /// `HumanEval/0`.
  package var name: String
  /// Imports, the function's head and what it is to do.
  package var prompt: String
  package var entryPoint: String
  /// Defines `check`, which takes the function.
  package var test: String
  /// The reference's body; empty where the row has none.
  package var solution: String

  /// - Throws: `GoraError` (exit 65) with line and column.
  package init(_ row: JSONField) throws(GoraError) {
    name = try row.required("task_id").string
    prompt = try row.required("prompt").string
    let entry = try row.required("entry_point")
    entryPoint = try entry.string
    // It becomes a part of the program.
    guard Self.isName(entryPoint) else { throw entry.error("\(entry.name) is no name of a function") }
    test = try row.required("test").string
    solution = try row.optional("canonical_solution")?.string ?? ""
  }

  private static func isName(_ text: String) -> Bool {
    text.unicodeScalars.first.map { $0 == "_" || $0.properties.isXIDStart } == true
      && text.unicodeScalars.allSatisfy { $0.properties.isXIDContinue }
  }

  /// What is run for a completion of the prompt: that, then the test, as the reference's `check_program`.
  package func program(_ completion: String) -> String {
    "\(prompt)\(completion)\n\(test)\ncheck(\(entryPoint))"
  }
}

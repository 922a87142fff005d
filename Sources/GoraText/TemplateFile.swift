import GoraCore

/// A template of the user: a text with `{instruction}` and `{response}`, and `{input}` if wanted.
///
/// What stands before `{response}` is the prompt; what follows it is learnt with the answer. The newline that ends
/// the file does not count.
package struct TemplateFile: Sendable, Equatable {
  private enum Part: Sendable, Equatable {
    case text(String)
    case instruction
    case input
  }

  package let path: String
  private let parts: [Part]
  /// The text after `{response}`.
  package let ending: String

  /// - Throws: `GoraError` (exit 65) where a place is missing, occurs twice, or stands after the response.
  package init(path: String, text: String) throws(GoraError) {
    func fail(_ problem: String) -> GoraError {
      GoraError(
        .data, at: .file(path), problem,
        hint: "a template is the name of one (\(Template.names.joined(separator: ", "))) or such a file")
    }
    var text = Substring(text)
    if text.last?.isNewline == true { text.removeLast() }
    let halves = Self.split(text, at: "{response}")
    guard halves.count == 2 else { throw fail("{response} must occur once, it occurs \(halves.count - 1) times") }
    let before = Self.split(halves[0], at: "{instruction}")
    guard before.count == 2 else {
      throw fail("{instruction} must occur once before {response}, it occurs \(before.count - 1) times")
    }
    guard Self.split(halves[1], at: "{instruction}").count == 1, Self.split(halves[1], at: "{input}").count == 1 else {
      throw fail("{instruction} and {input} must stand before {response}")
    }
    var parts: [Part] = []
    for (i, side) in before.enumerated() {
      if i > 0 { parts.append(.instruction) }
      for (j, piece) in Self.split(side, at: "{input}").enumerated() {
        if j > 0 { parts.append(.input) }
        parts.append(.text(String(piece)))
      }
    }
    self.path = path
    self.parts = parts
    ending = String(halves[1])
  }

  /// The prompt. Without an `{input}` place the input follows the instruction after a newline.
  package func prompt(instruction: String, input: String) -> String {
    let hasInput = parts.contains(.input)
    return parts.map { part in
      switch part {
      case .text(let text): text
      case .instruction: hasInput || input.isEmpty ? instruction : instruction + "\n" + input
      case .input: input
      }
    }.joined()
  }

  private static func split(_ text: Substring, at mark: String) -> [Substring] {
    text.split(separator: mark, omittingEmptySubsequences: false)
  }
}

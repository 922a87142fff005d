import GoraCore
import GoraFormats

/// A question of MT-Bench, or one like it: what the user says, turn by turn (FastChat's `question.jsonl`).
package struct TurnsQuestion: Sendable, Equatable {
  package var id: Int
  package var category: String
  package var turns: [String]
  /// One that the question asks for itself; nil for its category's.
  package var requiredTemperature: Double?

  /// - Throws: `GoraError` (exit 65) with line and column.
  package init(_ row: JSONField) throws(GoraError) {
    id = try row.required("question_id").int
    category = try row.required("category").string
    let field = try row.required("turns")
    turns = try Self.texts(field)
    guard (1...2).contains(turns.count) else { throw field.error("\(field.name) has \(turns.count) turns; expected one or two") }
    if let field = try row.optional("required_temperature") {
      let temperature = try field.double
      guard temperature == 0 || (1e-3...1e3).contains(temperature) else {
        throw field.error("\(field.name) is \(field.value.compact()); expected 0, or 0.001 to 1000")
      }
      requiredTemperature = temperature
    }
  }

  private static func texts(_ field: JSONField) throws(GoraError) -> [String] {
    var texts: [String] = []
    for element in try field.elements { texts.append(try element.string) }
    return texts
  }

  /// At which its answer is sampled, FastChat's `temperature_config`; 0 is greedy.
  package var temperature: Double {
    if let requiredTemperature { return requiredTemperature }
    switch category {
    case "writing", "roleplay": return 0.7
    case "extraction", "math", "coding", "reasoning": return 0
    case "stem", "humanities": return 0.1
    default: return 0.7
    }
  }

  /// Whether a judge is shown a reference answer (`NEED_REF_CATS`).
  package var needsReference: Bool { ["math", "reasoning", "coding", "arena-hard-200"].contains(category) }

  /// The chat up to a turn, whose answer is empty.
  /// - Parameter answers: to the turns before.
  package func chat(answers: [String]) -> DataRow {
    var chat: [ChatTurn] = []
    for (turn, answer) in zip(turns, answers + [""]) { chat += [ChatTurn(.user, turn), ChatTurn(.assistant, answer)] }
    return .chat(Conversation(chat))
  }
}

/// Answers to a question, turn by turn: a line of FastChat's `reference_answer` and `model_answer` files.
package struct TurnAnswers: Sendable, Equatable {
  package var id: Int
  package var turns: [String]

  /// - Throws: `GoraError` (exit 65) with line and column.
  package init(_ row: JSONField) throws(GoraError) {
    id = try row.required("question_id").int
    turns = []
    guard let choice = try row.required("choices").elements.first else { throw row.error("\"choices\" is empty") }
    for turn in try choice.required("turns").elements { turns.append(try turn.string) }
  }
}

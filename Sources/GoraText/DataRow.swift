import GoraCore
import GoraFormats

/// The kinds of rows, told by the row's keys.
package enum RowKind: String, Sendable, CaseIterable {
  case tokens = "input_ids/labels"
  case chat = "chat"
  /// GSM8K's `question`/`answer`, and the `input`/`output` of GoRA's own data files.
  case question = "question/answer"
  /// MetaMathQA.
  case query = "query/response"
  /// Alpaca, CodeAlpaca, WizardLM; `input` is optional.
  case instruction = "instruction/output"
  case completion = "prompt/completion"
  case text = "text"
}

/// A task with its reference answer.
package struct Instruction: Sendable, Equatable {
  package var kind: RowKind
  package var instruction: String
  /// Alpaca's further context; empty where there is none.
  package var input: String
  package var response: String

  package init(kind: RowKind, instruction: String, input: String = "", response: String) {
    self.kind = kind
    self.instruction = instruction
    self.input = input
    self.response = response
  }

  /// Instruction and context in one text, for prompts that have one place only.
  package var request: String { input.isEmpty ? instruction : instruction + "\n" + input }

  /// The same as a chat of two turns.
  var turns: [ChatTurn] { [ChatTurn(.user, request), ChatTurn(.assistant, response)] }
}

/// One message of a chat.
package struct ChatTurn: Sendable, Equatable {
  package enum Role: String, Sendable { case system, user, assistant }
  package var role: Role
  package var content: String

  package init(_ role: Role, _ content: String) {
    self.role = role
    self.content = content
  }
}

/// One row of training or evaluation data.
package enum DataRow: Sendable, Equatable {
  /// Already tokenised; both arrays have one length, label −100 is not learnt.
  case tokens(ids: [Int32], labels: [Int32])
  case instruction(Instruction)
  /// At least one assistant turn.
  case chat([ChatTurn])
  /// Every token is learnt.
  case text(String)

  /// The label of a token that is not learnt (PyTorch's `ignore_index`).
  package static let notLearnt: Int32 = -100

  package var kind: RowKind {
    switch self {
    case .tokens: .tokens
    case .instruction(let instruction): instruction.kind
    case .chat: .chat
    case .text: .text
    }
  }

  /// The reference answer as text: the response, or the last assistant turn; nil for tokens and plain text.
  package var expectedAnswer: String? {
    switch self {
    case .instruction(let instruction): instruction.response
    case .chat(let turns): turns.last { $0.role == .assistant }?.content
    case .tokens, .text: nil
    }
  }
}

extension DataRow {
  /// Reads a row by its keys; keys that do not matter (`type`, `original_question`, …) are passed over.
  ///
  /// - Parameter vocabularySize: token ids must be below it, where it is given.
  /// - Throws: `GoraError` (exit 65) with line and column.
  package init(_ row: JSONField, vocabularySize: Int? = nil) throws(GoraError) {
    guard case .object(let members) = row.value.content else {
      throw row.error("a row must be a JSON object")
    }
    func has(_ keys: String...) -> Bool { keys.allSatisfy { key in members.contains { $0.key == key } } }
    func instruction(_ kind: RowKind, _ prompt: String, _ response: String) throws(GoraError) -> DataRow {
      .instruction(
        Instruction(
          kind: kind, instruction: try row.required(prompt).string,
          input: kind == .instruction ? try row.optional("input")?.string ?? "" : "",
          response: try row.required(response).string))
    }
    if has("input_ids") {
      self = try Self.tokens(row, vocabularySize: vocabularySize)
    } else if has("messages") {
      self = try Self.chat(try row.required("messages"), role: "role", content: "content")
    } else if has("conversations") {
      self = try Self.chat(try row.required("conversations"), role: "from", content: "value")
    } else if has("question", "answer") {
      self = try instruction(.question, "question", "answer")
    } else if has("query", "response") {
      self = try instruction(.query, "query", "response")
    } else if has("instruction", "output") {
      self = try instruction(.instruction, "instruction", "output")
    } else if has("prompt", "completion") {
      self = try instruction(.completion, "prompt", "completion")
    } else if has("input", "output") {
      self = try instruction(.question, "input", "output")
    } else if has("text") {
      self = .text(try row.required("text").string)
    } else {
      let keys = members.map { "\"\($0.key)\"" }.joined(separator: ", ")
      throw row.error(
        "the row's keys are \(keys.isEmpty ? "none" : keys), which is no known kind of row",
        hint: "known: \(RowKind.allCases.map { $0 == .chat ? "messages, conversations" : $0.rawValue }.joined(separator: ", "))")
    }
  }

  private static func tokens(_ row: JSONField, vocabularySize: Int?) throws(GoraError) -> DataRow {
    let limit = min(vocabularySize ?? Int(Int32.max), Int(Int32.max))
    let ids = try numbers(try row.required("input_ids"), "a token id from 0 to \(limit - 1)") { (0..<limit).contains($0) }
    let labelField = try row.required("labels")
    let labels = try numbers(labelField, "-100 or a token id from 0 to \(limit - 1)") {
      $0 == Int(notLearnt) || (0..<limit).contains($0)
    }
    guard labels.count == ids.count else {
      throw labelField.error("\"labels\" has \(labels.count) elements, \"input_ids\" has \(ids.count)")
    }
    return .tokens(ids: ids, labels: labels)
  }

  private static func numbers(
    _ field: JSONField, _ expected: String, _ isValid: (Int) -> Bool
  ) throws(GoraError) -> [Int32] {
    guard case .array(let elements) = field.value.content else { throw field.error("\(field.name) must be an array") }
    var numbers: [Int32] = []
    numbers.reserveCapacity(elements.count)
    for (i, element) in elements.enumerated() {
      guard case .integer(let number) = element.content, isValid(number) else {
        let bad = try field.elements[i]
        throw bad.error("\(bad.name) is \(element.compact()); expected \(expected)")
      }
      numbers.append(Int32(number))
    }
    return numbers
  }

  private static func chat(_ field: JSONField, role: String, content: String) throws(GoraError) -> DataRow {
    var turns: [ChatTurn] = []
    for turn in try field.elements {
      let roleField = try turn.required(role)
      let known: ChatTurn.Role
      switch try roleField.string {
      case "system": known = .system
      case "user", "human": known = .user
      case "assistant", "gpt", "model": known = .assistant
      case let name:
        throw roleField.error("\(roleField.name) is \"\(name)\"; expected system, user (human) or assistant (gpt, model)")
      }
      turns.append(ChatTurn(known, try turn.required(content).string))
    }
    guard turns.contains(where: { $0.role == .assistant }) else {
      throw field.error("\(field.name) has no assistant turn to learn")
    }
    return .chat(turns)
  }
}

import GoraCore
import GoraFormats

/// One message of a chat: whole, as a checkpoint's chat template sees it.
package struct ChatTurn: Sendable, Equatable {
  /// The roles that gora's own templates know.
  package enum Role: String, Sendable { case system, user, assistant }

  /// `role`, `content` and whatever else the message has, such as `tool_calls`; as Transformers drops them, without what is null.
  package let members: [JSON.Member]
  /// Any other role, such as `tool`, is known to the checkpoint's template alone.
  package let role: String
  /// nil where the content is no text: null beside tool calls, or parts.
  package let content: String?
  /// Whether an answer is learnt; data may mark some that are not.
  package var isLearnt: Bool

  package init(_ role: Role, _ content: String, isLearnt: Bool = true) {
    members = [JSON.Member("role", JSON(role.rawValue)), JSON.Member("content", JSON(content))]
    self.role = role.rawValue
    self.content = content
    self.isLearnt = isLearnt && role == .assistant
  }

  package var isAnswer: Bool { role == Role.assistant.rawValue }
}

/// A chat, and what its row gives the checkpoint's template besides.
package struct Conversation: Sendable, Equatable, ExpressibleByArrayLiteral {
  package var turns: [ChatTurn]
  /// `tools`, and the members of `chat_template_kwargs`.
  package var variables: [JSON.Member]

  package init(_ turns: [ChatTurn], variables: [JSON.Member] = []) {
    self.turns = turns
    self.variables = variables
  }
  package init(arrayLiteral turns: ChatTurn...) { self.init(turns) }

  /// Up to the last answer.
  var answered: Conversation {
    var answered = self
    answered.turns.removeLast(turns.count - 1 - (turns.lastIndex(where: \.isAnswer) ?? turns.count - 1))
    return answered
  }
  /// Whether something was said after the last answer.
  var endsUnanswered: Bool { turns.last?.isAnswer == false }
}

// MARK: - Reading

extension Conversation {
  /// How the messages of a row are spelt.
  enum Spelling {
    /// OpenAI's `messages`: `role` and `content`.
    case messages
    /// ShareGPT's `conversations`: `from` and `value`.
    case shareGPT

    fileprivate var role: String { self == .messages ? "role" : "from" }
    fileprivate var content: String { self == .messages ? "content" : "value" }
  }

  /// - Throws: status 65 with the place where a message has no role or content, where no answer is there to be learnt, and where a
  ///   mark of what is learnt cannot be followed.
  init(_ field: JSONField, _ spelling: Spelling) throws(GoraError) {
    var turns: [ChatTurn] = []
    for turn in try field.elements { turns.append(try ChatTurn(turn, spelling)) }
    guard turns.contains(where: \.isAnswer) else { throw field.error("\(field.name) has no assistant turn to learn") }
    self.init(turns)
  }
}

extension ChatTurn {
  fileprivate init(_ field: JSONField, _ spelling: Conversation.Spelling) throws(GoraError) {
    let roleField = try field.required(spelling.role)
    switch try roleField.string {
    case "user", "human": role = Role.user.rawValue
    case "assistant", "gpt", "model": role = Role.assistant.rawValue
    case let name where name == Role.system.rawValue || spelling == .messages: role = name
    case let name:
      throw roleField.error(
        "\(roleField.name) is \"\(name)\"; expected system, human or gpt",
        hint: "chats with tools are given as \"messages\" with \"tool_calls\", for the checkpoint's chat template")
    }
    let contentField = try field.member(spelling.content)
    switch contentField?.value.content {
    case .string(let text)?: content = text
    case .array? where spelling == .messages: content = nil
    case nil, .null?:
      // Says what is missing; a message that calls tools may have no text.
      if try field.optional("tool_calls") == nil { _ = try field.required(spelling.content) }
      content = nil
    default: throw contentField!.error("\(contentField!.name) must be a string")
    }
    let members = try field.members
    var kept: [JSON.Member] = []
    for (key, field) in members where field.value.content != .null {
      switch key {
      case spelling.role: kept.append(JSON.Member("role", JSON(role)))
      case spelling.content: kept.append(JSON.Member("content", field.value))
      case "role", "content": break
      default: kept.append(JSON.Member(key, field.value))
      }
    }
    self.members = kept
    isLearnt = try Self.isLearnt(members, role: role)
  }

  /// `weight` (OpenAI, Mistral), `train` and `training` (axolotl), `loss` (ms-swift), `loss_mask`: 0 or false where an answer is not
  /// learnt.
  private static func isLearnt(_ members: [(key: String, field: JSONField)], role: String) throws(GoraError) -> Bool {
    let isAnswer = role == Role.assistant.rawValue
    var isLearnt = isAnswer
    for (key, field) in members where ["weight", "train", "training", "loss", "loss_mask"].contains(key) {
      let flag: Bool
      switch field.value.content {
      case .null: continue
      case .bool(let value): flag = value
      case .integer(0), .number(0): flag = false
      case .integer(1), .number(1): flag = true
      default:
        throw field.error("\(field.name) is \(field.value.compact()); expected 0 or 1, true or false: turns are learnt or not")
      }
      if flag, !isAnswer, key != "weight" {
        throw field.error("a turn of role \"\(role)\" is marked as learnt; only assistant turns are")
      }
      if !flag { isLearnt = false }
    }
    if let detail = members.first(where: { $0.key == "train_detail" })?.field, detail.value.content != .null {
      throw detail.error("parts of turns cannot be left out of what is learnt")
    }
    return isLearnt
  }
}

// MARK: - For a checkpoint's template

extension Conversation {
  /// What a message's reasoning is called, the name that templates read first (Transformers' `_REASONING_FIELDS`).
  static let reasoning = ["reasoning_content", "thinking", "reasoning"]
}

extension ChatTurn {
  /// The members with the reasoning under the names that templates read, as Transformers' `_alias_reasoning_fields` adds them.
  var aliased: [JSON.Member] {
    func member(_ key: String) -> JSON.Member? { members.first { $0.key == key } }
    guard let found = Conversation.reasoning.lazy.compactMap(member).first?.value else { return members }
    var aliased = [JSON.Member("thinking", member("thinking")?.value ?? found)] + members.filter { $0.key != "thinking" }
    if member("reasoning_content") == nil { aliased.append(JSON.Member("reasoning_content", found)) }
    return aliased
  }
}

// MARK: - For gora's own templates

/// A turn of three roles and text alone.
struct PlainTurn: Equatable {
  var role: ChatTurn.Role
  var text: String
  var isLearnt: Bool
}

extension Conversation {
  /// What gora's own templates can say.
  ///
  /// - Throws: status 65 where the chat says more, which only the checkpoint's template may know how to write.
  func plain(for template: String) throws(GoraError) -> [PlainTurn] {
    func fail(_ what: String) -> GoraError {
      GoraError(
        .data, "template \(template) cannot write \(what)",
        hint: "with a checkpoint that has a chat template: --template tokenizer")
    }
    if let variable = variables.first(where: { $0.value != [] }) { throw fail("\"\(variable.key)\"") }
    var plain: [PlainTurn] = []
    for (index, turn) in turns.enumerated() {
      guard let role = ChatTurn.Role(rawValue: turn.role) else {
        throw fail("role \"\(turn.role)\" of turn \(index + 1); it knows system, user and assistant")
      }
      for key in ["tool_calls", "function_call", "tool_call_id"] + Self.reasoning {
        guard let value = turn.members.first(where: { $0.key == key })?.value else { continue }
        if value != "", value != [] { throw fail("\"\(key)\" of turn \(index + 1)") }
      }
      guard let text = turn.content else { throw fail("a content that is no text, of turn \(index + 1)") }
      plain.append(PlainTurn(role: role, text: text, isLearnt: turn.isLearnt))
    }
    return plain
  }
}

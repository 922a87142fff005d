import GoraCore
import GoraFormats

extension DataRow {
  /// Reads a row by its keys: one row, or those of a packed one. A key whose value is null is not there, as in data sets that were
  /// joined; keys that do not matter (`type`, `original_question`, …) are passed over.
  ///
  /// - Parameters:
  ///   - vocabularySize: token ids must be below it, where it is given.
  ///   - hasEncoder: the labels of a tokenised row are of another text than its ids.
  /// - Throws: `GoraError` (exit 65) with line and column.
  package static func rows(_ row: JSONField, vocabularySize: Int? = nil, hasEncoder: Bool = false) throws(GoraError) -> [DataRow]
  {
    guard case .object(let members) = row.value.content else {
      throw row.error("a row must be a JSON object")
    }
    func has(_ keys: String...) -> Bool {
      keys.allSatisfy { key in members.contains { $0.key == key && $0.value.content != .null } }
    }
    for (key, what) in unread {
      if let field = try filled(row, key) { throw field.error("\(field.name): \(what)") }
    }
    func refuseApproval() throws(GoraError) {
      guard let mark = try approval(row) else { return }
      throw mark.error("\(mark.name): a row that is approved of or not (KTO) is not learnt as an answer")
    }
    func instruction(_ kind: RowKind, _ prompt: String, _ response: String) throws(GoraError) -> [DataRow] {
      try refuseApproval()
      for key in prompt == "question" || prompt == "query" ? ["context", "options", "choices"] : [] {
        guard let field = try filled(row, key) else { continue }
        throw field.error(
          "\(field.name): a part of the question that no template writes",
          hint: "put it into the question, or name the columns instruction, input and output")
      }
      var task = Instruction(
        kind: kind, instruction: try row.required(prompt).string,
        input: kind == .instruction ? try row.optional("input")?.string ?? "" : "",
        response: try row.required(response).string, system: try system(row), history: try history(row))
      task.variables = try variables(row)
      return [.instruction(task)]
    }
    func chat(_ key: String, _ spelling: Conversation.Spelling) throws(GoraError) -> [DataRow] {
      try refuseApproval()
      var chat = try Conversation(try row.required(key), spelling)
      if let history = try row.optional("history"), history.value != [] {
        throw history.error("\"history\" beside \"\(key)\": one of them is the chat")
      }
      let system = try system(row)
      if !system.isEmpty {
        if chat.turns.first?.role == ChatTurn.Role.system.rawValue {
          throw try row.required(key).error("the chat begins with a system turn, and the row has a system column")
        }
        chat.turns.insert(ChatTurn(.system, system), at: 0)
      }
      chat.variables = try variables(row)
      return [.chat(chat)]
    }
    if has("input_ids") { return try TokenisedRow.rows(row, vocabularySize: vocabularySize, hasEncoder: hasEncoder) }
    if has("messages") { return try chat("messages", .messages) }
    if has("conversations") { return try chat("conversations", .shareGPT) }
    if has("question", "answer") { return try instruction(.question, "question", "answer") }
    if has("query", "response") { return try instruction(.query, "query", "response") }
    if has("query", "answer") { return try instruction(.instruction, "query", "answer") }
    if has("instruction", "output") { return try instruction(.instruction, "instruction", "output") }
    if has("prompt", "completion") { return try instruction(.completion, "prompt", "completion") }
    if has("input", "output") { return try instruction(.question, "input", "output") }
    if has("text") { return [.text(try row.required("text").string)] }
    let keys = members.filter { $0.value.content != .null }.map { "\"\($0.key)\"" }.joined(separator: ", ")
    throw row.error(
      "the row's keys are \(keys.isEmpty ? "none" : keys), which is no known kind of row",
      hint: "known: \(RowKind.allCases.map { $0 == .chat ? "messages, conversations" : $0.rawValue }.joined(separator: ", "))")
  }

  /// Columns that change what a row teaches in a way that no stage follows.
  private static let unread: [(key: String, what: String)] = [
    ("chosen", preference), ("rejected", preference), ("rejected_response", preference), ("rejected_messages", preference),
    ("images", media), ("image", media), ("videos", media), ("video", media), ("audios", media), ("audio", media),
  ]
  private static let preference = "a row of preferences (DPO), which are not learnt"
  private static let media = "rows of text alone are read"

  /// A column that says something.
  private static func filled(_ row: JSONField, _ key: String) throws(GoraError) -> JSONField? {
    guard let field = try row.optional(key) else { return nil }
    let empty: [JSON] = [JSON(.array([])), "", JSON(.object([]))]
    return empty.contains(field.value) ? nil : field
  }

  /// A truth value `label` (TRL, ms-swift) or any `kto_tag` (LLaMA-Factory).
  private static func approval(_ row: JSONField) throws(GoraError) -> JSONField? {
    if let tag = try filled(row, "kto_tag") { return tag }
    if let label = try row.optional("label"), case .bool = label.value.content { return label }
    return nil
  }

  /// `system` (LLaMA-Factory, ms-swift) or `system_prompt`; empty where there is none.
  private static func system(_ row: JSONField) throws(GoraError) -> String {
    for key in ["system", "system_prompt"] {
      if let text = try row.optional(key)?.string, !text.isEmpty { return text }
    }
    return ""
  }

  /// `history`: pairs of a request and its response.
  private static func history(_ row: JSONField) throws(GoraError) -> [Instruction.Exchange] {
    var history: [Instruction.Exchange] = []
    for pair in try row.optional("history")?.elements ?? [] {
      let texts = try pair.elements
      guard texts.count == 2 else { throw pair.error("\(pair.name) must be a pair of a request and its response") }
      history.append(Instruction.Exchange(try texts[0].string, try texts[1].string))
    }
    return history
  }

  /// What Transformers' `apply_chat_template` is given beside the messages: `tools`, as a list or as its JSON text, and
  /// `chat_template_kwargs`.
  private static func variables(_ row: JSONField) throws(GoraError) -> [JSON.Member] {
    var variables: [JSON.Member] = []
    if let tools = try row.optional("tools"), tools.value != "" {
      var value = tools.value
      if case .string(let text) = value.content {
        guard let parsed = try? JSON(parsing: text) else { throw tools.error("\"tools\" is a text that is no JSON") }
        value = parsed
      }
      guard case .array = value.content else { throw tools.error("\"tools\" must be an array") }
      variables.append(JSON.Member("tools", value))
    }
    for (key, field) in try row.optional("chat_template_kwargs")?.members ?? [] {
      if ["messages", "tools", "add_generation_prompt"].contains(key) {
        throw field.error("\(field.name) is the row's own, not a setting of the template")
      }
      variables.append(JSON.Member(key, field.value))
    }
    return variables
  }
}

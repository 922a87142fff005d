import GoraCore
import GoraFormats
import GoraJinja

/// The chat templates of a checkpoint.
package struct ChatTemplates: Sendable, Equatable {
  /// nil where all have other names.
  private let standard: ChatTemplate?
  /// The one named `tool_use`, for chats with tools.
  private let toolUse: ChatTemplate?

  package init(_ standard: ChatTemplate?, toolUse: ChatTemplate? = nil) {
    self.standard = standard
    self.toolUse = toolUse
  }

  package var name: String { (standard ?? toolUse)?.name ?? "" }
  /// Whether what they write may depend on the date.
  package var tellsDate: Bool { standard?.tellsDate == true || toolUse?.tellsDate == true }

  /// - Throws: status 65 where no template is for such a chat.
  func template(for chat: Conversation) throws(GoraError) -> ChatTemplate {
    let hasTools = chat.variables.contains { $0.key == "tools" }
    guard let template = hasTools ? toolUse ?? standard : standard else {
      throw GoraError(.data, "the checkpoint has no chat template named \"default\"", hint: "choose another --template")
    }
    return template
  }

  /// - Throws: status 65 with line and column where a text is no template.
  package func check() throws(GoraError) {
    try standard?.check()
    try toolUse?.check()
  }
}

/// A checkpoint's own chat template, rendered as Transformers' `apply_chat_template` does.
package struct ChatTemplate: Sendable, Equatable {
  /// Where it was found, for messages.
  package let name: String
  private let source: String
  /// What is wrong with a text that is no template matters to those who use it alone.
  private let parsed: Result<JinjaTemplate, GoraError>
  /// `bos_token`, `eos_token` and the like, as tokenizer_config.json has them.
  private let specialTokens: [(name: String, value: JinjaValue)]
  /// For `strftime_now`; nil: `present`.
  private let date: Int?

  package init(_ source: String, name: String, specialTokens: [(name: String, text: String)], date: Int? = nil) {
    self.name = name
    self.source = source
    self.date = date
    do throws(GoraError) { parsed = .success(try JinjaTemplate(source, name: name)) } catch { parsed = .failure(error) }
    self.specialTokens = specialTokens.map { ($0.name, .string($0.text)) }
  }

  /// What the clocks on the wall show, in seconds since they showed 1970.
  package static var present: Int { JinjaTemplate.present }

  package static func == (a: ChatTemplate, b: ChatTemplate) -> Bool { a.source == b.source && a.name == b.name }

  fileprivate func check() throws(GoraError) { _ = try parsed.get() }

  /// Whether what it writes may depend on the date.
  fileprivate var tellsDate: Bool { source.contains("strftime_now") }

  /// A chat as one text, with the parts of it that are learnt.
  struct Rendered: Equatable {
    var text: String
    /// Byte ranges, in order.
    var learnt: [Range<Int>]
  }

  /// A chat's messages as the template's values, made once for all renderings of a row.
  struct Chat {
    fileprivate let turns: [ChatTurn]
    fileprivate let messages: [JinjaValue]
    fileprivate let variables: [(name: String, value: JinjaValue)]

    init(_ chat: Conversation) {
      turns = chat.turns
      messages = turns.map { JinjaValue(JSON(.object($0.aliased))) }
      variables = chat.variables.map { ($0.key, JinjaValue($0.value)) }
    }
  }

  /// The first `count` messages, and one more.
  private func render(_ chat: Chat, _ count: Int, and last: JinjaValue? = nil, asks: Bool) throws(GoraError)
    -> JinjaTemplate.Rendered
  {
    var variables = specialTokens + chat.variables
    if !variables.contains(where: { $0.name == "tools" }) { variables.append(("tools", .none)) }
    let messages = Array(chat.messages[..<count]) + (last.map { [$0] } ?? [])
    return try parsed.get().render(
      variables + [("messages", .list(messages)), ("documents", .none), ("add_generation_prompt", .bool(asks))], now: date)
  }

  /// Letters for private use in an answer's place.
  private static let mark = "\u{F8F0}\u{F8F1}\u{F8F2}"
  private static let markedAnswer = JinjaValue.dict([
    .init("role", .string(ChatTurn.Role.assistant.rawValue)), .init("content", .string(mark)),
  ])

  /// The text before the answer to the first `count` messages: what the template says to ask for one, or where it has no word for that,
  /// all that it puts in front of an answer. A blank there is the answer's.
  private func opening(_ chat: Chat, _ count: Int) throws(GoraError) -> ArraySlice<UInt8> {
    // A mark in the answer's place shows where it begins; what was said before may hold such letters too.
    let marked = try render(chat, count, and: Self.markedAnswer, asks: false).text
    guard let place = Self.lastPlace(of: Array(Self.mark.utf8), in: marked) else {
      throw fail("the answer of turn \(count + 1) is not rendered as it is")
    }
    let opened = marked[..<place]
    // Some refuse a chat that ends in a question, or place a system message by where the chat ends.
    guard let asking = try? render(chat, count, asks: true).text, opened.starts(with: asking) else { return opened }
    if let silent = try? render(chat, count, asks: false).text, silent != asking { return asking[...] }
    return opened[asking.count...].allSatisfy(Self.isBlank) ? asking[...] : opened
  }

  private static func lastPlace(of part: [UInt8], in text: [UInt8]) -> Int? {
    guard text.count >= part.count else { return nil }
    return (0...text.count - part.count).last { text[$0...].starts(with: part) }
  }

  private static func isBlank(_ byte: UInt8) -> Bool { [0x20, 0x0A, 0x0D, 0x09].contains(byte) }

  /// The text before the last answer, for generation: the same as in training.
  func prompt(_ chat: Conversation) throws(GoraError) -> String {
    let chat = Chat(chat)
    return String(decoding: try opening(chat, chat.turns.count - 1), as: UTF8.self)
  }

  /// The whole chat. An answer is learnt from where its `opening` ends, as generation goes on from there, to the end of its turn; blanks
  /// behind that separate turns and are not learnt. `{% generation %}` says it where a template has it.
  ///
  /// - Throws: `GoraError` (exit 65) where the template refuses the chat, or renders a turn in another way once others follow.
  func rendered(_ conversation: Conversation) throws(GoraError) -> Rendered {
    let chat = Chat(conversation)
    let whole = try render(chat, chat.turns.count, asks: false)
    let text = String(decoding: whole.text, as: UTF8.self)
    let answers = chat.turns.indices.filter { chat.turns[$0].isAnswer }
    if try parsed.get().hasGenerations {
      guard !whole.hasHiddenGeneration else {
        throw fail("{% generation %} stands in a macro or a set block, so what is learnt is not known")
      }
      if answers.allSatisfy({ chat.turns[$0].isLearnt }) { return Rendered(text: text, learnt: whole.generations) }
      guard whole.generations.count == answers.count else {
        throw fail(
          "{% generation %} marks \(whole.generations.count) parts of \(answers.count) answers, of which some are not learnt")
      }
      return Rendered(text: text, learnt: zip(answers, whole.generations).filter { chat.turns[$0.0].isLearnt }.map(\.1))
    }
    var learnt: [Range<Int>] = []
    for index in answers where chat.turns[index].isLearnt {
      let turn = index == chat.turns.count - 1 ? whole.text : try render(chat, index + 1, asks: false).text
      guard whole.text.starts(with: turn) else {
        throw fail("turn \(index + 1) is rendered in another way once others follow it")
      }
      let opening = try opening(chat, index)
      guard turn.starts(with: opening) else {
        throw fail("what stands before the answer of turn \(index + 1) depends on what it says")
      }
      var end = turn.count
      while end > opening.count, Self.isBlank(turn[end - 1]) { end -= 1 }
      if end > opening.count { learnt.append(opening.count..<end) }
    }
    return Rendered(text: text, learnt: learnt)
  }

  private func fail(_ problem: String) -> GoraError {
    GoraError(
      .data, at: .file(name), "chat template: \(problem)",
      hint: "split such chats, mark earlier answers with \"train\": false, or choose another --template")
  }
}

extension JinjaValue {
  fileprivate init(_ json: JSON) {
    switch json.content {
    case .null: self = .none
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .int(value)
    case .number(let value): self = .float(value)
    case .string(let value): self = .string(value)
    case .array(let elements): self = .list(elements.map { JinjaValue($0) })
    case .object(let members): self = .dict(members.map { .init($0.key, JinjaValue($0.value)) })
    }
  }
}

import GoraCore
import GoraFormats
import GoraJinja

/// A checkpoint's own chat template, rendered as Transformers' `apply_chat_template` does.
package struct ChatTemplate: Sendable, Equatable {
  /// Where it was found, for messages.
  package let name: String
  private let source: String
  private let template: JinjaTemplate
  /// `bos_token`, `eos_token` and the like, as tokenizer_config.json has them.
  private let specialTokens: [(name: String, value: JinjaValue)]

  /// - Throws: `GoraError` (exit 65) with line and column where the text is no template.
  package init(_ source: String, name: String, specialTokens: [(name: String, text: String)]) throws(GoraError) {
    self.name = name
    self.source = source
    template = try JinjaTemplate(source, name: name)
    self.specialTokens = specialTokens.map { ($0.name, .string($0.text)) }
  }

  package static func == (a: ChatTemplate, b: ChatTemplate) -> Bool { a.source == b.source && a.name == b.name }

  /// A chat as one text, with the parts of it that are learnt.
  struct Rendered: Equatable {
    var text: String
    /// Byte ranges, in order.
    var learnt: [Range<Int>]
  }

  private func render(_ turns: ArraySlice<ChatTurn>, asks: Bool) throws(GoraError) -> JinjaTemplate.Rendered {
    let messages = turns.map { turn in
      JinjaValue.dict([.init("role", .string(turn.role.rawValue)), .init("content", .string(turn.content))])
    }
    return try template.render(
      specialTokens + [
        ("messages", .list(messages)), ("tools", .none), ("documents", .none), ("add_generation_prompt", .bool(asks)),
      ])
  }

  /// Letters for private use, which neither templates nor answers have.
  private static let mark = "\u{F8F0}\u{F8F1}\u{F8F2}"

  /// The text before the answer to `turns`: what the template says to ask for one, or where it has no word for that, all that it puts in
  /// front of an answer. A blank there is the answer's.
  private func opening(_ turns: ArraySlice<ChatTurn>) throws(GoraError) -> ArraySlice<UInt8> {
    // A mark in the answer's place shows where it begins.
    let marked = try render(turns + [ChatTurn(.assistant, Self.mark)], asks: false).text
    guard let place = marked.firstRange(of: Array(Self.mark.utf8)) else {
      throw fail("the answer of turn \(turns.count + 1) is not rendered as it is")
    }
    let opened = marked[..<place.lowerBound]
    // Some refuse a chat that ends in a question, or place a system message by where the chat ends.
    guard let asking = try? render(turns, asks: true).text, opened.starts(with: asking) else { return opened }
    if let silent = try? render(turns, asks: false).text, silent != asking { return asking[...] }
    return opened[asking.count...].allSatisfy(Self.isBlank) ? asking[...] : opened
  }

  private static func isBlank(_ byte: UInt8) -> Bool { [0x20, 0x0A, 0x0D, 0x09].contains(byte) }

  /// The text before the answer to `turns`, for generation: the same as in training.
  func prompt(_ turns: ArraySlice<ChatTurn>) throws(GoraError) -> String { String(decoding: try opening(turns), as: UTF8.self) }

  /// The whole chat. An answer is learnt from where its `opening` ends, as generation goes on from there, to the end of its turn; blanks
  /// behind that separate turns and are not learnt. `{% generation %}` says it where a template has it.
  ///
  /// - Throws: `GoraError` (exit 65) where the template refuses the chat, or renders a turn in another way once others follow.
  func rendered(_ turns: ArraySlice<ChatTurn>) throws(GoraError) -> Rendered {
    let whole = try render(turns, asks: false)
    let text = String(decoding: whole.text, as: UTF8.self)
    if template.hasGenerations {
      guard !whole.hasHiddenGeneration else {
        throw fail("{% generation %} stands in a macro or a set block, so what is learnt is not known")
      }
      return Rendered(text: text, learnt: whole.generations)
    }
    var learnt: [Range<Int>] = []
    for index in turns.indices where turns[index].role == .assistant {
      let turn = index == turns.endIndex - 1 ? whole.text : try render(turns[...index], asks: false).text
      guard whole.text.starts(with: turn) else {
        throw fail("turn \(index - turns.startIndex + 1) is rendered in another way once others follow it")
      }
      let opening = try opening(turns[..<index])
      guard turn.starts(with: opening) else {
        throw fail("what stands before the answer of turn \(index - turns.startIndex + 1) depends on what it says")
      }
      var end = turn.count
      while end > opening.count, Self.isBlank(turn[end - 1]) { end -= 1 }
      if end > opening.count { learnt.append(opening.count..<end) }
    }
    return Rendered(text: text, learnt: learnt)
  }

  private func fail(_ problem: String) -> GoraError {
    GoraError(
      .data, at: .file(name), "chat template: \(problem)", hint: "split such chats, or choose another --template")
  }
}

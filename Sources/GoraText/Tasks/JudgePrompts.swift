import GoraCore
import GoraFormats

/// What a judge is asked: the prompts of FastChat's `judge_prompts.jsonl`.
package struct JudgePrompts: Sendable, Equatable {
  package struct Prompt: Sendable, Equatable {
    package var name: String
    package var system: String
    package var template: String
  }

  private let prompts: [Prompt]
  private let path: String

  package static let names = ["single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"]

  /// Those of a file that are needed; others are passed over.
  /// - Throws: `GoraError` (exit 65) where one is missing or cannot be filled in.
  package init(reading path: String) throws(GoraError) {
    self.path = path
    let rows = try DataFile.read([path]) { row throws(GoraError) in
      [
        Prompt(
          name: try row.required("name").string, system: try row.optional("system_prompt")?.string ?? "",
          template: try row.required("prompt_template").string)
      ]
    }
    prompts = rows.rows
    for name in Self.names where !prompts.contains(where: { $0.name == name }) {
      throw GoraError(
        .data, at: .file(path), "no prompt is named \"\(name)\"", hint: "FastChat's judge_prompts.jsonl has all four")
    }
    for (prompt, place) in zip(rows.rows, rows.places) where Self.names.contains(prompt.name) {
      do throws(GoraError) { _ = try Self.filled(prompt.template, Self.places(answers: ["", ""], ["", ""], ["", ""])) } catch {
        throw error.within(place)
      }
    }
  }

  /// The messages that ask for a rating of an answer, as FastChat's `run_judge_single` sends them.
  ///
  /// - Parameters:
  ///   - answers: of the model, as many as the turn is.
  ///   - reference: nil where the category needs none.
  package func messages(
    _ question: TurnsQuestion, answers: [String], reference: [String]?
  ) throws(GoraError) -> [(role: String, content: String)] {
    let name = "single-\(reference == nil ? "v1" : "math-v1")\(answers.count > 1 ? "-multi-turn" : "")"
    guard let prompt = prompts.first(where: { $0.name == name }) else {
      throw GoraError(.data, at: .file(path), "no prompt is named \"\(name)\"")
    }
    let content = try Self.filled(
      prompt.template, Self.places(answers: answers, question.turns, reference ?? []))
    return (prompt.system.isEmpty ? [] : [("system", prompt.system)]) + [("user", content)]
  }

  private static func places(answers: [String], _ questions: [String], _ references: [String]) -> [(name: String, text: String)] {
    var places = [("question", questions.first ?? ""), ("answer", answers.first ?? "")]
    for turn in 0..<2 {
      for (name, texts) in [("question", questions), ("answer", answers), ("ref_answer", references)] where turn < texts.count {
        places.append(("\(name)_\(turn + 1)", texts[turn]))
      }
    }
    return places
  }

  /// As Python's `str.format` with named places: what is filled in is not looked at again.
  static func filled(_ template: String, _ places: [(name: String, text: String)]) throws(GoraError) -> String {
    var text = ""
    var rest = Substring(template)
    while let mark = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
      text += rest[..<mark]
      let brace = rest[mark]
      rest = rest[rest.index(after: mark)...]
      if rest.first == brace {
        text.append(brace)
        rest.removeFirst()
        continue
      }
      guard brace == "{", let end = rest.firstIndex(of: "}"), let place = places.first(where: { $0.name == rest[..<end] }) else {
        throw GoraError(
          .data, "a place of the judge's prompt is not known: \(brace)\(rest.prefix(20))",
          hint: "places: \(places.map { "{\($0.name)}" }.joined(separator: ", "))")
      }
      text += place.text
      rest = rest[rest.index(after: end)...]
    }
    return text + rest
  }
}

/// The rating that a judge's answer ends in, as FastChat finds it: `[[7]]`, else `[7]`; nil where there is none.
package func judgeRating(_ judgement: String) -> Double? {
  let bytes = Array(judgement.utf8)
  return rating(bytes, brackets: 2) ?? rating(bytes, brackets: 1)
}

/// The first match of `\[(\d+\.?\d*)\]` within so many brackets.
private func rating(_ bytes: [UInt8], brackets: Int) -> Double? {
  let (open, close) = (Array(repeating: UInt8(ascii: "["), count: brackets), Array(repeating: UInt8(ascii: "]"), count: brackets))
  func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
  for at in bytes.indices where bytes[at...].starts(with: open) {
    let start = at + brackets
    var end = start
    while end < bytes.count, isDigit(bytes[end]) { end += 1 }
    if end == start { continue }
    if end < bytes.count, bytes[end] == UInt8(ascii: ".") { end += 1 }
    while end < bytes.count, isDigit(bytes[end]) { end += 1 }
    guard bytes[end...].starts(with: close) else { continue }
    var number = String(decoding: bytes[start..<end], as: UTF8.self)
    if number.hasSuffix(".") { number += "0" }
    return Double(number).flatMap { $0.isFinite ? $0 : nil }
  }
  return nil
}

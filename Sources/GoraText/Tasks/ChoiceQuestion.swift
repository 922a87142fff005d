import GoraCore
import GoraFormats

/// A question with the answers that may be given to it, of which one is right.
package struct ChoiceQuestion: Sendable, Equatable {
  package struct Choice: Sendable, Equatable {
    package var context: String
    /// What is measured after it, with the blank between.
    package var continuation: String
    /// The answer as samples show it.
    package var text: String

    /// Characters of the answer by which `acc_norm` divides: Python's, scalars.
    package var characters: Int { text.unicodeScalars.count }
  }

  package var format: ChoiceFormat
  package var choices: [Choice]
  /// The right one's place.
  package var gold: Int

  /// - Throws: `GoraError` (exit 65) with line and column where the row is of no known format or lacks something of it.
  package init(_ row: JSONField) throws(GoraError) {
    guard let format = try ChoiceFormat(of: row) else {
      throw row.error(
        "the row is no question with choices", hint: "known keys: \(ChoiceFormat.allCases.map(\.keys).joined(separator: "; "))")
    }
    self = try format.question(row)
  }

  /// One context with several answers after it, each after a blank.
  fileprivate init(_ format: ChoiceFormat, _ context: String, _ texts: [String], gold: Int) {
    self.init(
      format, texts.map { Choice(context: context, continuation: " \($0)", text: $0) }, gold: gold)
  }

  fileprivate init(_ format: ChoiceFormat, _ choices: [Choice], gold: Int) {
    self.format = format
    self.choices = choices
    self.gold = gold
  }
}

/// The data sets whose rows are known by their keys as the Hugging Face Hub has them, and how lm-evaluation-harness puts them to a model.
package enum ChoiceFormat: String, Sendable, CaseIterable {
  case boolq, piqa
  case socialIQA = "social_iqa"
  case hellaswag, winogrande, arc, openbookqa
  /// Anyone's: `prompt`, `choices` and `label`, the right one's place from 0.
  case any = "prompt/choices"

  fileprivate var keys: String { required.joined(separator: ", ") }

  private var required: [String] {
    switch self {
    case .boolq: ["passage", "question"]
    case .piqa: ["goal", "sol1", "sol2", "label"]
    case .socialIQA: ["context", "question", "answerA", "answerB", "answerC", "label"]
    case .hellaswag: ["activity_label", "ctx_a", "ctx_b", "endings", "label"]
    case .winogrande: ["sentence", "option1", "option2", "answer"]
    case .arc: ["question", "choices", "answerKey"]
    case .openbookqa: ["question_stem", "choices", "answerKey"]
    case .any: ["prompt", "choices", "label"]
    }
  }

  /// nil where the keys are those of none.
  fileprivate init?(of row: JSONField) throws(GoraError) {
    for format in Self.allCases {
      var hasAll = true
      for key in format.required where try row.optional(key) == nil { hasAll = false }
      if hasAll {
        self = format
        return
      }
    }
    return nil
  }

  /// Whether the choices differ in the context alone, so that there is no length to divide by.
  package var isPartial: Bool { self == .winogrande }

  fileprivate func question(_ row: JSONField) throws(GoraError) -> ChoiceQuestion {
    func text(_ key: String) throws(GoraError) -> String { try row.required(key).string }
    switch self {
    case .boolq:
      let gold: Int
      if let answer = try row.optional("answer") {
        gold = try answer.bool ? 1 : 0
      } else {
        gold = try Self.place(row.required("label"), among: ["0", "1"])
      }
      return ChoiceQuestion(
        self, "\(try text("passage"))\nQuestion: \(try text("question"))?\nAnswer:", ["no", "yes"], gold: gold)
    case .piqa:
      return ChoiceQuestion(
        self, "Question: \(try text("goal"))\nAnswer:", [try text("sol1"), try text("sol2")],
        gold: try Self.place(row.required("label"), among: ["0", "1"]))
    case .socialIQA:
      return ChoiceQuestion(
        self, "Q: \(try text("context")) \(try text("question"))\nA:",
        [try text("answerA"), try text("answerB"), try text("answerC")],
        gold: try Self.place(row.required("label"), among: ["1", "2", "3"]))
    case .hellaswag:
      let endings = try Self.texts(row.required("endings"))
      let context = try "\(text("activity_label")): \(text("ctx_a")) \(Self.capitalized(text("ctx_b")))"
      return ChoiceQuestion(
        self, Self.cleaned(context), endings.map(Self.cleaned),
        gold: try Self.place(row.required("label"), among: endings.indices.map { "\($0)" }))
    case .winogrande:
      let field = try row.required("sentence")
      let parts = try field.string.split(separator: "_", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { throw field.error("\(field.name) has no _ in the place of the option") }
      let end = String(parts[1]).pythonStripped
      let options = [try text("option1"), try text("option2")]
      return ChoiceQuestion(
        self, options.map { ChoiceQuestion.Choice(context: "\(parts[0])\($0)", continuation: " \(end)", text: $0) },
        gold: try Self.place(row.required("answer"), among: ["1", "2"]))
    case .arc, .openbookqa:
      let choices = try row.required("choices")
      let texts = try Self.texts(choices.required("text"))
      let labels = try Self.texts(choices.required("label"))
      guard texts.count == labels.count else {
        throw choices.error("\(choices.name) has \(texts.count) texts and \(labels.count) labels")
      }
      let context = self == .arc ? "Question: \(try text("question"))\nAnswer:" : try text("question_stem")
      return ChoiceQuestion(self, context, texts, gold: try Self.place(row.required("answerKey"), among: labels))
    case .any:
      let texts = try Self.texts(row.required("choices"))
      return ChoiceQuestion(
        self, try text("prompt"), texts, gold: try Self.place(row.required("label"), among: texts.indices.map { "\($0)" }))
    }
  }

  private static func texts(_ field: JSONField) throws(GoraError) -> [String] {
    var texts: [String] = []
    for element in try field.elements {
      let text = try element.string
      if text.isEmpty { throw element.error("\(element.name) is empty") }
      texts.append(text)
    }
    guard texts.count > 1 else { throw field.error("\(field.name) has \(texts.count) elements; expected two or more") }
    return texts
  }

  /// The place of a label that is a text or a number; a test set without labels has none.
  private static func place(_ field: JSONField, among labels: [String]) throws(GoraError) -> Int {
    let label: String
    if case .integer(let number) = field.value.content { label = "\(number)" } else { label = try field.string }
    guard let place = labels.firstIndex(of: label) else {
      throw field.error("\(field.name) is \(field.value.compact()); expected one of \(labels.joined(separator: ", "))")
    }
    return place
  }

  // MARK: HellaSwag

  /// As Python's `capitalize`.
  private static func capitalized(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.first else { return "" }
    return first.properties.titlecaseMapping + String(scalars.dropFirst()).lowercased()
  }

  /// WikiHow's marks in brackets go, `[title]` ends a sentence.
  private static func cleaned(_ text: String) -> String {
    var scalars = text.pythonStripped.replacing(" [title]", with: ". ").unicodeScalars
    // `\[.*?\]` with a dot that is any character of a line.
    var at = scalars.startIndex
    while let open = scalars[at...].firstIndex(of: "[") {
      let rest = scalars[scalars.index(after: open)...]
      if let close = rest.firstIndex(where: { $0 == "]" || $0 == "\n" }), rest[close] == "]" {
        scalars.removeSubrange(open...close)
        at = open
      } else {
        at = scalars.index(after: open)
      }
    }
    return String(scalars).replacing("  ", with: " ")
  }
}

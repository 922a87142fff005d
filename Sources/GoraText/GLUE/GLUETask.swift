import Glibc

/// A task of GLUE (Wang et al. 2019): how its files are read, and how a row is put in words.
package struct GLUETask: Sendable, Equatable {
  /// In which words a model is asked.
  package enum Wording: String, Sendable, CaseIterable {
    /// LoRA-GA's, which GoRA's table is compared with: "classify the sentiment of the text: …".
    case loraGA = "lora-ga"
    /// Those that T5 was trained on (Raffel et al. 2020, appendix D): "sst2 sentence: …".
    case t5
  }

  /// What may stand in the column of labels, and what an answer says for it.
  struct Label: Sendable, Equatable {
    var inFile: String
    var loraGA: String
    var t5: String
  }

  package let name: String
  /// The columns of the sentences, one or two, in the order of LoRA-GA's prompts, each with its name in T5's.
  let sentences: [(column: String, t5Name: String)]
  /// The column of labels.
  let labelColumn: String
  /// In the order of their classes; empty for scores from 0 to 5.
  let labels: [Label]
  /// What LoRA-GA's prompt asks to classify.
  private let question: String
  /// Columns of files without a header; nil where all have one.
  let columns: [String]?
  /// Whether the published metric is the F1 of the second class, beside accuracy.
  package let measuresF1: Bool

  private init(
    _ name: String, _ question: String, _ sentences: [(String, String)], label: String, _ labels: [(String, String, String)],
    columns: [String]? = nil, measuresF1: Bool = false
  ) {
    self.name = name
    self.question = question
    self.sentences = sentences
    labelColumn = label
    self.labels = labels.map { Label(inFile: $0.0, loraGA: $0.1, t5: $0.2) }
    self.columns = columns
    self.measuresF1 = measuresF1
  }

  package static func == (left: Self, right: Self) -> Bool { left.name == right.name }

  private static let similarity = "the semantic similarity of the text"
  private static let pair = [("sentence1", "sentence1"), ("sentence2", "sentence2")]
  private static let entailment = ("entailment", "entailment", "entailment")
  private static let noEntailment = ("not_entailment", "not_entailment", "not_entailment")

  /// LoRA-GA's five with qqp as it has them; rte, wnli and stsb, which it has not, in the same words.
  package static let all = [
    GLUETask(
      "mnli", similarity, [("sentence1", "premise"), ("sentence2", "hypothesis")], label: "gold_label",
      [entailment, ("neutral", "neutral", "neutral"), ("contradiction", "contradiction", "contradiction")]),
    GLUETask(
      "sst2", "the sentiment of the text", [("sentence", "sentence")], label: "label",
      [("0", "negative", "negative"), ("1", "positive", "positive")]),
    GLUETask(
      "cola", "the grammaticality of the text", [("sentence", "sentence")], label: "label",
      [("0", "unacceptable", "unacceptable"), ("1", "acceptable", "acceptable")],
      columns: ["source", "label", "mark", "sentence"]),
    GLUETask(
      "qnli", "the semantic similarity of the question and the sentence", [("question", "question"), ("sentence", "sentence")],
      label: "label", [entailment, noEntailment]),
    GLUETask(
      "mrpc", similarity, [("#1 String", "sentence1"), ("#2 String", "sentence2")], label: "Quality",
      [("0", "different", "not_equivalent"), ("1", "equivalent", "equivalent")], measuresF1: true),
    GLUETask("rte", similarity, pair, label: "label", [entailment, noEntailment]),
    GLUETask(
      "qqp", similarity, [("question1", "question1"), ("question2", "question2")], label: "is_duplicate",
      [("0", "different", "not_duplicate"), ("1", "duplicate", "duplicate")], measuresF1: true),
    GLUETask(
      "wnli", similarity, pair, label: "label",
      [("0", "not_entailment", "not_entailment"), ("1", "entailment", "entailment")]),
    GLUETask("stsb", similarity, pair, label: "score", []),
  ]

  package static let names = all.map(\.name)

  package init?(named name: String) {
    guard let task = Self.all.first(where: { $0.name == name }) else { return nil }
    self = task
  }

  /// Whether its labels are numbers.
  package var isRegression: Bool { labels.isEmpty }

  /// The answers of its classes, in their order; none for numbers.
  package func words(_ wording: Wording) -> [String] { labels.map { wording == .t5 ? $0.t5 : $0.loraGA } }

  /// What a model is asked. It ends before the blank that its answer begins with.
  func prompt(_ texts: [String], _ wording: Wording) -> String {
    switch wording {
    case .loraGA: return "classify \(question): " + texts.joined(separator: "\n") + "\nresult:"
    case .t5:
      let fields = zip(sentences, texts).map { "\($0.t5Name): \($1)" }
      // T5's features of MNLI stand in the order of their names.
      return ([name] + (name == "mnli" ? fields.reversed() : fields)).joined(separator: " ")
    }
  }

  /// The answer to a label as it stands in a file; nil where it is none of the task's.
  func answer(to label: String, _ wording: Wording) -> String? {
    if !isRegression { return labels.first { $0.inFile == label }.map { wording == .t5 ? $0.t5 : $0.loraGA } }
    guard let score = Float(label), (0...5).contains(score) else { return nil }
    // As T5 makes words of scores: to the nearest fifth, halves to the even one.
    let fifths = Int((score * 5).rounded(.toNearestOrEven))
    return "\(fifths / 5).\(fifths % 5 * 2)"
  }
}

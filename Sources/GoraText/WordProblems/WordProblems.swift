import GoraCore
import GoraFormats

/// Made-up word problems in GSM8K's format, and arithmetic text to pretrain a small model on.
///
/// Both use one small closed vocabulary and numbers below 1000, so that a model of one or two million parameters
/// can learn them. Deterministic: the same kind, split, count and seed give the same rows.
package struct WordProblems: Sendable {
  package enum Kind: String, Sendable, CaseIterable {
    /// `{"question", "answer"}` rows: two to four steps, a calculator annotation each (`<<48/2=24>>`), `#### N` last.
    case problems
    /// The same kind of rows about chains of changes to one amount, in other words than the problems'.
    case chains
    /// `{"text"}` rows: equations, comparisons, and stories and problems of one step.
    case arithmetic
    /// `{"text"}` rows: eight calculator annotations each, sums and differences mostly.
    case equations
  }
  package enum Split: String, Sendable, CaseIterable { case train, test }

  package let kind: Kind
  package let split: Split
  /// Problems of the first so many forms only: what a base has seen, when the task is all of them.
  private let forms: Int?
  private var random: Random
  private var seen: Set<String> = []

  package init(kind: Kind, split: Split, seed: UInt64, forms: Int? = nil) {
    self.kind = kind
    self.split = split
    self.forms = forms
    random = Random(seed: seed, stream: "gora-problems/\(kind.rawValue)")
  }

  /// The next `count` rows; none repeats an earlier one.
  ///
  /// - Throws: `GoraError` (exit 64) where there are no more.
  package mutating func rows(_ count: Int) throws(GoraError) -> [DataRow] {
    var rows: [DataRow] = []
    rows.reserveCapacity(count)
    var misses = 0
    while rows.count < count {
      let row = draw()
      guard let row, Self.split(of: row.key) == split, seen.insert(row.key).inserted else {
        misses += 1
        if misses > 100_000 {
          throw GoraError(.usage, "only \(seen.count) different rows of this kind found, asked for \(count)")
        }
        continue
      }
      misses = 0
      rows.append(row.row)
    }
    return rows
  }

  private mutating func draw() -> (key: String, row: DataRow)? {
    switch kind {
    case .problems, .chains:
      let story = kind == .problems ? Story.problem(&random, of: forms) : Story.chain(&random)
      guard let answer = story.answer else { return nil }
      return (story.question, .instruction(Instruction(kind: .question, instruction: story.question, response: answer)))
    case .arithmetic:
      let text = ArithmeticText.paragraph(&random)
      return (text, .text(text))
    case .equations:
      let text = ArithmeticText.annotations(&random)
      return (text, .text(text))
    }
  }

  /// One row in eight is for testing. The text alone decides, so that the splits share no row whatever the seeds are.
  static func split(of text: String) -> Split {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    // FNV's upper bits mix worst with the last bytes; Fibonacci hashing spreads them.
    return (hash &* 0x9E37_79B9_7F4A_7C15) >> 61 == 0 ? .test : .train
  }

  /// A row as a line of JSON Lines, without its newline.
  package static func line(_ row: DataRow) -> String {
    switch row {
    case .instruction(let task):
      JSON.object(["question": JSON(task.instruction), "answer": JSON(task.response)]).compact()
    case .text(let text): JSON.object(["text": JSON(text)]).compact()
    case .tokens, .chat: preconditionFailure("word problems are tasks or texts")
    }
  }

  /// What a model reads of a row: question, newline, answer, or the text.
  package static func text(_ row: DataRow) -> String {
    switch row {
    case .instruction(let task): task.instruction + "\n" + task.response
    case .text(let text): text
    case .tokens, .chat: preconditionFailure("word problems are tasks or texts")
    }
  }
}

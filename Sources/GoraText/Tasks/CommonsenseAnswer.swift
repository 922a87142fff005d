/// How LLM-Adapters and DoRA find the answer in what a model says: the first of the data set's words, in lower case.
package enum CommonsenseAnswer: String, Sendable, CaseIterable {
  case truth, solution, answer, ending, option

  /// None is the beginning of another.
  private var words: [String] {
    switch self {
    case .truth: ["true", "false"]
    case .solution: (1...2).map { "solution\($0)" }
    case .answer: (1...5).map { "answer\($0)" }
    case .ending: (1...4).map { "ending\($0)" }
    case .option: (1...2).map { "option\($0)" }
    }
  }

  /// The first of the words in a text; nil where there is none.
  package func first(in text: String) -> String? {
    let bytes = Array(text.utf8)
    return bytes.indices.lazy.compactMap { at in words.first { bytes[at...].starts(with: $0.utf8) } }.first
  }

  /// What a row's reference (`the correct answer is solution1`) says, and of which words it is one.
  package static func gold(_ reference: String) -> (kind: CommonsenseAnswer, word: String)? {
    for kind in allCases { if let word = kind.first(in: reference) { return (kind, word) } }
    return nil
  }
}

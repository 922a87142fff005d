import GoraFormats
import GoraText

/// Questions of commonsense_170k's eight test sets, answered in words (Hu et al. 2023, LLM-Adapters; Liu et al. 2024, DoRA).
package struct CommonsenseTask: AnswersTask {
  package static let name = "commonsense"
  package static let metrics = ["accuracy"]
  package static let options = TaskOption.ofAnswers.union([.beams])
  package static let needs = "an output such as \"the correct answer is solution1\""
  package static let template: String? = "commonsense"
  package static var answering: Answering {
    var answering = Answering()
    (answering.maxNewTokens, answering.beams) = (32, 4)
    return answering
  }

  private let beams: Int

  package init(_ answering: Answering) { beams = answering.beams }

  package func gold(of row: DataRow) -> JSON? { gold(row).map { JSON($0.word) } }

  private func gold(_ row: DataRow) -> (kind: CommonsenseAnswer, word: String)? {
    row.expectedAnswer.flatMap(CommonsenseAnswer.gold)
  }

  package func judge(_ answer: String, to row: DataRow) -> Verdict {
    let gold = gold(row)
    let word = gold?.kind.first(in: answer)
    return Verdict(isCorrect: word != nil && word == gold?.word, prediction: word.map { JSON($0) })
  }

  package func members(_ verdicts: [Verdict]) -> [JSON.Member] {
    [.init("beams", JSON(beams)), .init("extracted", JSON(verdicts.count { $0.prediction != nil }))]
  }
}

import GoraFormats
import GoraText

/// Word problems whose answer is a number (Cobbe et al. 2021).
package struct GSM8KTask: AnswersTask {
  package static let name = "gsm8k"
  package static let metrics = ["accuracy"]
  package static let options = TaskOption.ofAnswers.union([.extractor])
  package static let needs = "answers that end in \"#### number\""
  private let extractor: AnswerExtractor

  package init(_ answering: Answering) { extractor = answering.extractor }

  package func gold(of row: DataRow) -> JSON? { row.expectedAnswer.flatMap(extractor.gold).map { JSON($0) } }

  package func judge(_ answer: String, to row: DataRow) -> Verdict {
    Verdict(
      isCorrect: extractor.isCorrect(answer, reference: row.expectedAnswer ?? ""),
      prediction: extractor.prediction(answer).map { JSON($0.value) })
  }

  package func members(_ verdicts: [Verdict]) -> [JSON.Member] {
    [
      .init("extractor", JSON(extractor.rawValue)), .init("extracted", JSON(verdicts.count { $0.prediction != nil })),
    ]
  }
}

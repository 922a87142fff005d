import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// What gora-eval measures. A new task is a file beside this and a line in `EvalTasks`; the protocol it conforms to says which driver
/// runs it: `RowsTask` or `AnswersTask`.
package protocol EvalTask: Sendable {
  /// `--task`, and what the result says.
  static var name: String { get }
  /// What it measures, as `--require` names it.
  static var metrics: [String] { get }
  init(_ answering: Answering)
}

/// All tasks, in the order in which they are listed.
package enum EvalTasks {
  package static let all: [any EvalTask.Type] = [
    LossTask.self,
    GSM8KTask.self,
    ImagesTask.self,
  ]

  package static let names = names { _ in true }
  /// Those that a driver runs.
  package static func names(_ isWanted: (any EvalTask.Type) -> Bool) -> String {
    all.filter(isWanted).map { $0.name }.joined(separator: " or ")
  }
}

/// A task by the loss of its rows (`RowsDriver`).
package protocol RowsTask: EvalTask {
  /// - Parameter loss: mean over the learnt tokens.
  func outcome(loss: Double, tokens: Int, rows: Int) -> TaskOutcome
}

/// A task by what the model answers, right or wrong (`AnswersDriver`).
package protocol AnswersTask: EvalTask {
  /// What a row's answer must have, for the hint where it does not.
  static var needs: String { get }
  /// What answers to a row are compared with, as samples show it; nil where the row has nothing.
  func gold(of row: DataRow) -> JSON?
  func judge(_ answer: String, to row: DataRow) -> Verdict
  /// What the result says besides accuracy.
  func members(_ verdicts: [Verdict]) -> [JSON.Member]
}

/// What a task says of an answer.
package struct Verdict: Sendable {
  package var isCorrect: Bool
  /// What was taken out of it, as samples show it; nil where nothing was found.
  package var prediction: JSON?

  package init(isCorrect: Bool, prediction: JSON?) {
    self.isCorrect = isCorrect
    self.prediction = prediction
  }
}

/// What a task has found.
package struct TaskOutcome: Sendable {
  /// One for each of the task's metrics.
  package var values: [(metric: String, value: Double)]
  /// In the result.
  package var members: [JSON.Member]
  /// For people.
  package var line: String
}

/// How answers are generated and read, and what is done where nothing is said.
package struct Answering: Sendable {
  package var maxNewTokens = 256
  package var batchSize = 16
  package var sampling = Sampling()
  package var extractor = AnswerExtractor.gora
  /// Texts that end an answer.
  package var stops: [String] = []

  package init() {}
}

import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// What gora-eval measures. A new task is a file beside this and a line in `EvalTasks`; the protocol it conforms to says which driver
/// runs it: `RowsTask`, `AnswersTask`, `ProgramsTask`, `ChoicesTask`, `LabelsTask` or `TurnsTask`.
package protocol EvalTask: Sendable {
  /// `--task`, and what the result says.
  static var name: String { get }
  /// What it measures, as `--require` names it.
  static var metrics: [String] { get }
  /// What it looks at of the options that not all tasks do.
  static var options: Set<TaskOption> { get }
  /// How its answers come about where nothing is said.
  static var answering: Answering { get }
  /// What wraps its prompts where nothing is said; nil for the default of each kind of row.
  static var template: String? { get }
  init(_ answering: Answering)
}

extension EvalTask {
  package static var answering: Answering { Answering() }
  package static var template: String? { nil }
}

/// Options that go with some tasks only.
package enum TaskOption: String, Sendable, CaseIterable {
  case samples = "--samples"
  case template = "--template"
  case glue = "--glue"
  case maxLength = "--max-length"
  case learn = "--learn"
  case classes = "--classes"
  case templates = "--templates"
  case maxNewTokens = "--max-new-tokens"
  case batchSize = "--batch-size"
  case temperature = "--temperature"
  case topP = "--top-p"
  case stop = "--stop"
  case extractor = "--extractor"
  case beams = "--beams"
  case attempts = "--attempts"
  case style = "--style"
  case noSandbox = "--no-sandbox"
  case timeLimit = "--time-limit"
  case judgePrompts = "--judge-prompts"
  case references = "--references"
  case judgeRequests = "--judge-requests"
  case judgeReplies = "--judge-replies"
  case judgeCommand = "--judge-command"
  case judgeModel = "--judge-model"

  /// What tasks by generated answers look at.
  static let ofAnswers: Set<TaskOption> = [.samples, .template, .maxNewTokens, .batchSize, .temperature, .topP, .stop]
}

/// All tasks, in the order in which they are listed.
package enum EvalTasks {
  package static let all: [any EvalTask.Type] = [
    LossTask.self,
    GSM8KTask.self,
    HumanEvalTask.self,
    ChooseTask.self,
    CommonsenseTask.self,
    MTBenchTask.self,
    ClassifyTask.self,
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

extension RowsTask {
  package static var options: Set<TaskOption> { [.template, .glue, .maxLength, .learn, .classes, .templates] }
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

extension AnswersTask {
  package static var options: Set<TaskOption> { TaskOption.ofAnswers }
}

/// A task by programs that the model writes and that are run (`ProgramsDriver`).
package protocol ProgramsTask: EvalTask {
  /// The numbers of programs of which one is to be right, as `pass@k`.
  static var ks: [Int] { get }
}

/// A task by which of several answers the model holds for the likeliest (`ChoicesDriver`).
package protocol ChoicesTask: EvalTask {}

/// A task by labels that the model gives texts (`LabelsDriver`).
package protocol LabelsTask: EvalTask {}

/// A task by chats that a judge rates (`TurnsDriver`).
package protocol TurnsTask: EvalTask {}

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
  /// More for people, in lines of columns; nil where the line says all.
  package var table: String?
}

/// How answers are generated and read, and what is done where nothing is said.
package struct Answering: Sendable {
  package var maxNewTokens = 256
  package var batchSize = 16
  /// nil where the user says none: greedy, or what the rows ask for.
  package var temperature: Double?
  package var topP = 1.0
  package var seed: UInt64 = 0
  /// Beams of a search for the likeliest answer; 1 for none.
  package var beams = 1
  package var extractor = AnswerExtractor.gora
  /// Texts that end an answer.
  package var stops: [String] = []
  /// Answers to each problem.
  package var attempts = 1
  package var programs = ProgramOptions()
  package var judging = Judging()

  package init() {}

  var sampling: Sampling { sampling(temperature: temperature ?? 0) }
  func sampling(temperature: Double) -> Sampling { Sampling(temperature: temperature, topP: topP, seed: seed) }
}

/// How programs are asked for and run.
package struct ProgramOptions: Sendable {
  package var style = ProgramStyle.raw
  package var isSandboxed = true
  /// Seconds that a program may take.
  package var timeLimit = 3.0
}

/// Files of a judge, and the judge itself.
package struct Judging: Sendable {
  /// What a judge is asked (FastChat's judge_prompts.jsonl).
  package var prompts: String?
  /// Reference answers, for the categories that need them.
  package var references: String?
  /// Where requests are written.
  package var requests: String?
  /// A judge's answers to them, from an earlier run.
  package var replies: String?
  /// A command that answers requests: lines of JSON in and out.
  package var command: String?
  /// Whom requests name.
  package var model: String

  package init(
    prompts: String? = nil, references: String? = nil, requests: String? = nil, replies: String? = nil, command: String? = nil,
    model: String = "gpt-4"
  ) {
    (self.prompts, self.references, self.requests) = (prompts, references, requests)
    (self.replies, self.command, self.model) = (replies, command, model)
  }

  /// Files that are read.
  var inputs: [String] { [prompts, references, replies].compactMap { $0 } }
}

import GoraCore
import GoraFormats
import GoraStages
import GoraText
import Testing

/// A task of this file alone: right are answers of an even length.
private struct EvenTask: AnswersTask {
  static let name = "even"
  static let metrics = ["accuracy"]
  static let needs = "an answer"
  init(_ answering: Answering) {}

  func gold(of row: DataRow) -> JSON? { JSON(row.expectedAnswer?.count ?? 0) }
  func judge(_ answer: String, to row: DataRow) -> Verdict {
    Verdict(isCorrect: answer.count % 2 == 0, prediction: JSON(answer.count))
  }
  func members(_ verdicts: [Verdict]) -> [JSON.Member] { [.init("seen", JSON(verdicts.count))] }
}

@Suite struct EvalTaskTests {
  /// Names and what a driver needs of each.
  @Test func registry() {
    let names = EvalTasks.all.map { $0.name }
    #expect(Set(names).count == names.count && EvalTasks.names == names.joined(separator: " or "))
    for task in EvalTasks.all {
      let drivers = [
        task is any RowsTask.Type, task is any AnswersTask.Type, task is any ProgramsTask.Type, task is any ChoicesTask.Type,
        task is any TurnsTask.Type, task is any LabelsTask.Type, task is ImagesTask.Type,
      ]
      #expect(drivers.count { $0 } == 1, "\(task.name) has one driver")
      #expect(!task.metrics.isEmpty && Set(task.metrics).count == task.metrics.count)
    }
    // No option is there for no task.
    for option in TaskOption.allCases { #expect(EvalTasks.all.contains { $0.options.contains(option) }, "\(option)") }
    let loss = LossTask(Answering()).outcome(loss: 1, tokens: 2, rows: 3)
    #expect(loss.values.map(\.metric) == LossTask.metrics && loss.values.map(\.value) == [1, 2.718281828459045])
    // A perplexity beyond the doubles is left out of the result, where JSON has no word for it.
    #expect(LossTask(Answering()).outcome(loss: 1e3, tokens: 2, rows: 3).members.map(\.key) == ["loss", "tokens"])
  }

  /// A task is its file: what it judges right is counted, with what it says besides.
  @Test func taskOfItsOwn() throws {
    let bench = try TextFlowTests.bench()
    try #require(try bench.run(TextFlowTests.pretraining + " -o base").status == 0)
    var configuration = EvalStage.Configuration(
      model: bench.file("base"), task: EvenTask.self, data: DataOptions(paths: [bench.file("test.jsonl")]),
      context: FlowTests.context("gora-eval"))
    configuration.samples = bench.file("samples.jsonl")
    configuration.answering.maxNewTokens = 12
    let summary = try EvalStage(configuration).run { _ in }
    let rows = try String(decoding: bench.bytes("samples.jsonl"), as: UTF8.self).split(separator: "\n").map {
      try JSONDocument(path: "samples", text: Array($0.utf8)).root
    }
    let right = try rows.filter { try $0.required("answer").string.count % 2 == 0 }.count
    #expect(rows.count == 7 && summary.value(of: "accuracy") == Double(right) / 7)
    for row in rows {
      #expect(try row.required("prediction").int == row.required("answer").string.count)
      #expect(try row.required("correct").bool == (row.required("answer").string.count % 2 == 0))
    }
    let keys = try JSONDocument(path: "result", text: Array(summary.json(timed: false).pretty().utf8)).root.members.map(\.0)
    #expect(
      keys == ["format", "format_version", "task", "rows", "accuracy", "correct", "interval", "seen", "new_tokens", "provenance"])
  }
}

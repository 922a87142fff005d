import GoraCore
import GoraFormats
import GoraModels
import GoraText
import GoraTraining

/// `--lr auto`, `--lr-ratio auto`: the trials before the first step, what they are made on, and what is told of them.
struct RateFinder {
  /// What trials learn, in their order.
  let learnt: [EncodedRow]
  /// What they are measured on.
  let judged: [PackedBatch]
  /// Where those are from, for people.
  private let source: String
  private(set) var search: RateSearch
  /// Trials of the run that this one goes on from, and what became of them.
  var known: [RateSearch.Trial] = []

  /// Rows that trials are measured on: as many as ten trials can be measured on for this share of the budget, within these bounds.
  private static let judgedShare = 0.3
  private static let judgedRows = 4...256

  /// - Parameters:
  ///   - validation: rows of `--validation`; where there are none, the run's first rows are held back from the trials.
  ///   - settings: of the run.
  ///   - budget: work that the trials may cost, in steps.
  ///   - search: what is looked for, told what measuring costs in steps of the run.
  /// - Throws: status 64 where there is no row to measure on, or the run is too short for trials.
  init(
    rows: [EncodedRow], validation: [EncodedRow], settings: Trainer.Settings, budget: Double,
    search: (_ judging: Double) throws(GoraError) -> RateSearch
  ) throws(GoraError) {
    let batch = Double(min(settings.batchSize, rows.count))
    // Forward alone is a third of a step's work.
    let affordable = Int(min(1e6, 3 * batch * Self.judgedShare * budget / 10))
    let wanted = min(max(affordable, Self.judgedRows.lowerBound), Self.judgedRows.upperBound)
    let order = settings.order(rows: rows.count).epoch(0)
    let chosen: [EncodedRow]
    if validation.isEmpty {
      let count = min(wanted, rows.count / 4)
      guard count > 0 else {
        throw GoraError(
          .usage, "\(rows.count) rows are too few to find a rate with: none can be held back from the trials",
          hint: "give rows to measure on with --validation, or the rate with --lr")
      }
      chosen = order.prefix(count).map { rows[$0] }
      learnt = order.dropFirst(count).map { rows[$0] }
      source = "\(Self.rows(count)) held back, the first of the run"
    } else {
      let count = min(wanted, validation.count)
      // From all over the file, which may be sorted.
      chosen = (0..<count).map { validation[$0 * validation.count / count] }
      learnt = order.map { rows[$0] }
      source = "\(Self.rows(count)) of --validation"
    }
    judged = microBatches(chosen, maxTokens: settings.microBatchTokens)
    let tokens = Double(rows.reduce(0) { $0 + $1.tokens }) / Double(rows.count)
    let measured = Double(chosen.reduce(0) { $0 + $1.tokens })
    self.search = try search(measured / (3 * tokens * batch))
  }

  private static func rows(_ count: Int) -> String { count == 1 ? "1 row" : "\(count) rows" }

  private static func steps(_ count: Int) -> String { count == 1 ? "1 step" : "\(count) steps" }

  var isFinished: Bool { search.next == nil }

  /// Makes the next trial, or takes it from those that were made before.
  /// - Throws: status 65 where what was made before is not what would be made now.
  mutating func add(_ loss: (RateSearch.Setting) throws(GoraError) -> Double?) throws(GoraError) -> RateSearch.Trial {
    guard let setting = search.next else { preconditionFailure("no trial after the last") }
    let trial: RateSearch.Trial
    if search.trials.count < known.count {
      trial = known[search.trials.count]
      guard trial.setting == setting else {
        throw GoraError(
          .data, "the checkpoint's trials of rates are not those of this run", hint: "begin anew: remove the checkpoint")
      }
    } else {
      trial = RateSearch.Trial(setting: setting, loss: try loss(setting))
    }
    search.add(trial)
    return trial
  }

  /// Whether the next trial was made before.
  var knowsNext: Bool { search.trials.count < known.count }

  /// - Throws: status 1 where no rate lowered the loss.
  func choice() throws(GoraError) -> RateSearch.Choice {
    guard let choice = search.choice else {
      throw GoraError(
        .negative, "no rate that was tried lowers the loss on \(source): \(search.trials.map(Self.line).joined(separator: "; "))",
        hint: "give a rate with --lr")
    }
    return choice
  }

  /// What is going to be done.
  var announcement: String {
    "looking for \(search.name): trials of one step and of several, at most \(NumberText.significant(search.budget)) steps' work, "
      + "measured on \(source)"
  }

  /// A line of the table.
  static func line(_ trial: RateSearch.Trial) -> String {
    let ratio = trial.setting.ratio.map { ", ratio \(NumberText.significant($0))" } ?? ""
    let loss = trial.loss.map { "loss \(NumberText.fixed($0, 4))" } ?? "diverged"
    return "trial: rate \(NumberText.significant(trial.setting.lr))\(ratio), \(steps(trial.setting.steps)), \(loss)"
  }

  /// What was found, and why.
  func conclusion(_ choice: RateSearch.Choice) -> String {
    let ratio = choice.ratio.map { " --lr-ratio \(NumberText.significant($0))" } ?? ""
    return "found --lr \(NumberText.significant(choice.lr))\(ratio) by \(search.trials.count) trials, "
      + "\(NumberText.significant(search.cost)) steps' work: \(choice.reason)"
  }

  /// For the record of the run.
  func json(_ choice: RateSearch.Choice) -> JSON {
    var members: [JSON.Member] = [.init("lr", JSON(choice.lr))]
    if let ratio = choice.ratio { members.append(.init("lr_ratio", JSON(ratio))) }
    members += [
      .init("why", JSON(choice.reason)), .init("steps_of_work", JSON(search.cost)), .init("measured_on", JSON(source)),
      .init("trials", JSON(search.trials.map(TrialRecord.json))),
    ]
    return JSON(.object(members))
  }
}

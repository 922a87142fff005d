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

  /// Rows that trials are measured on: as many as ten trials can be measured on for this share of the budget, within these bounds. Fewer
  /// than that are a worse guide than fewer steps; but never more than the search has room for.
  private static let judgedShare = 0.5
  private static let judgedRows = 16...256

  /// - Parameters:
  ///   - validation: rows of `--validation`; where there are none, the run's first rows are held back from the trials.
  ///   - settings: of the run.
  ///   - search: what is looked for.
  /// - Throws: status 64 where there is no row to measure on, or the run is too short for trials.
  init(rows: [EncodedRow], validation: [EncodedRow], settings: Trainer.Settings, search: RateSearch) throws(GoraError) {
    let batch = Double(min(settings.batchSize, rows.count))
    let tokens = batch * Double(rows.reduce(0) { $0 + $1.tokens }) / Double(rows.count)
    // In steps, of which forward is a third.
    func cost(_ rows: [EncodedRow]) -> Double { Double(rows.reduce(0) { $0 + $1.tokens }) / (3 * tokens) }
    func affordable(_ cost: Double) -> Int { Int(min(1e6, max(1, 3 * batch * cost))) }
    let wanted = min(
      max(affordable(Self.judgedShare * search.budget / 10), Self.judgedRows.lowerBound), Self.judgedRows.upperBound,
      affordable(search.dearestJudging))
    let order = settings.order(rows: rows.count).epoch(0)
    var chosen: [EncodedRow]
    if validation.isEmpty {
      guard rows.count >= 4 else {
        throw GoraError(
          .usage, "\(rows.count) rows are too few to find a rate with: none can be held back from the trials",
          hint: "give rows to measure on with --validation, or the rate with --lr")
      }
      chosen = order.prefix(min(wanted, rows.count / 4)).map { rows[$0] }
    } else {
      let count = min(wanted, validation.count)
      // From all over the file, which may be sorted.
      chosen = (0..<count).map { validation[$0 * validation.count / count] }
    }
    // Where they are longer than others.
    while chosen.count > 1, cost(chosen) > search.dearestJudging { chosen.removeLast() }
    learnt = order.dropFirst(validation.isEmpty ? chosen.count : 0).map { rows[$0] }
    source = Self.rows(chosen.count) + (validation.isEmpty ? " held back, the first of the run" : " of --validation")
    judged = microBatches(chosen, maxTokens: settings.microBatchTokens)
    self.search = search
    try self.search.judge(at: cost(chosen))
  }

  private static func rows(_ count: Int) -> String { count == 1 ? "1 row" : "\(count) rows" }

  private static func steps(_ count: Int) -> String { count == 1 ? "1 step" : "\(count) steps" }

  var isFinished: Bool { search.next == nil }

  /// Takes the runs that were given up before, after the last trial.
  /// - Throws: status 65 where they are not what would have been given up.
  mutating func addAbandoned() throws(GoraError) {
    for run in known.dropFirst(search.trials.count) {
      guard run.loss == nil, (1...search.steps).contains(run.setting.steps), let choice = search.choice,
        run.setting.lr == choice.lr, run.setting.ratio == choice.ratio,
        search.abandon(after: run.setting.steps)
      else { throw Self.otherTrials }
    }
  }

  /// Gives up the run at what was found, after as many steps.
  /// - Returns: false where the rate is a given one, or too many were given up before.
  mutating func abandon(after steps: Int) -> Bool { search.abandon(after: steps) }

  private static let otherTrials = GoraError(
    .data, "the checkpoint's trials of rates are not those of this run", hint: "begin anew: remove the checkpoint")

  /// Makes the next trial, or takes it from those that were made before.
  /// - Throws: status 65 where what was made before is not what would be made now.
  mutating func add(_ loss: (RateSearch.Setting) throws(GoraError) -> Double?) throws(GoraError) -> RateSearch.Trial {
    guard let setting = search.next else { preconditionFailure("no trial after the last") }
    let trial: RateSearch.Trial
    if search.trials.count < known.count {
      trial = known[search.trials.count]
      guard trial.setting == setting else { throw Self.otherTrials }
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
      .init("trials", JSON((search.trials + search.abandoned).map(TrialRecord.json))),
    ]
    return JSON(.object(members))
  }
}

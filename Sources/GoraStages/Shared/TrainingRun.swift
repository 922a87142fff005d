import GoraCore
import GoraFormats
import GoraModels
import GoraText
import GoraTraining

/// The steps of a run of gora-train: the trials that find its rate, where it is to be found, then the training, with its log, its
/// checkpoints and its validations.
final class TrainingRun {
  private let configuration: TrainStage.Configuration
  private let loaded: LoadedModel
  private let rows: [EncodedRow]
  private let plan: LearningPlan
  private let validation: [PackedBatch]
  private let events: EventHandler
  private var settings: Trainer.Settings
  /// B's rate over A's; nil: the rule's own.
  private var ratio: Double?
  private var finder: RateFinder?
  /// Has the start of the run, where its rate is to be found.
  private var trials: RateTrials?
  /// nil before the first step, and while a run makes way for the next.
  private var trainer: Trainer?
  private var checkpoint: TrainingCheckpoint
  let record: ValidationRecord
  private let log: MetricsLog?
  private let saved: TrainingCheckpoint.Progress?
  private let writes: Bool
  private let clock = Stopwatch()
  private var lastSave = 0.0
  /// Of AdaLoRA.
  private(set) var ranks: RankRecord?
  /// nil where rows come in the order of their file, which may lead from easy ones to hard ones.
  private var watch: LossWatch?
  private var hasWarned = false
  private(set) var summary: TrainStage.Summary

  /// - Parameters:
  ///   - plan: what learns, and by which optimizer.
  ///   - saved: where an earlier run stopped that this one goes on from.
  ///   - writes: whether this process keeps log and checkpoints.
  ///   - summary: of a run of no steps.
  init(
    _ configuration: TrainStage.Configuration, _ loaded: LoadedModel, rows: [EncodedRow], validation: [PackedBatch],
    plan: LearningPlan, settings: Trainer.Settings, finder: RateFinder?, checkpoint: TrainingCheckpoint,
    saved: TrainingCheckpoint.Progress?, log: MetricsLog?, writes: Bool, summary: TrainStage.Summary,
    events: @escaping EventHandler
  ) {
    self.configuration = configuration
    self.loaded = loaded
    self.rows = rows
    self.validation = validation
    self.plan = plan
    self.settings = settings
    self.finder = finder
    self.checkpoint = checkpoint
    self.saved = saved
    self.log = log
    self.writes = writes
    self.summary = summary
    self.events = events
    ratio = configuration.recipe.lrRatio
    record = ValidationRecord(plan.parameters, keepsBest: configuration.keepsBest)
  }

  /// What was found, for the record of the run; nil where nothing was looked for.
  var search: JSON? {
    guard let finder, let found = summary.found else { return nil }
    return finder.json(found)
  }

  private var isOutOfTime: Bool {
    guard let limit = configuration.maxMinutes else { return false }
    return ProcessGroup.first(clock.seconds > limit * 60)
  }

  private func save(_ optimizer: any Optimizer, isEnded: Bool = false) throws(GoraError) {
    guard writes else { return }
    checkpoint.losses = watch?.description ?? ""
    try checkpoint.save(optimizer, record, isEnded: isEnded)
    lastSave = clock.seconds
  }

  // MARK: The rate

  /// Makes the trials that find the rate, where it is to be found.
  /// - Returns: false where the time ended before they did; what was tried is kept.
  /// - Throws: status 1 where no rate lowered the loss, 65 where the checkpoint's trials are not those of this run.
  func findRate() throws(GoraError) -> Bool {
    guard var finder else { return true }
    finder.known = try TrialRecord.trials(saved?.trials ?? "", path: TrainingCheckpoint.path(in: configuration.output))
    let trials = RateTrials(
      model: loaded.model, parameters: plan.parameters, rows: finder.learnt, judged: finder.judged, settings: settings,
      optimizer: plan.optimizer)
    while !finder.isFinished {
      let isNew = !finder.knowsNext
      if isNew, isOutOfTime {
        try save(plan.optimizer(nil))
        summary.isComplete = false
        return false
      }
      let trial = try finder.add(trials.loss)
      checkpoint.trials = TrialRecord.text(finder.search.trials)
      if saved?.step ?? 0 == 0 { try log?.append(trial: TrialRecord.json(trial)) }
      guard isNew else { continue }
      events(.information(RateFinder.line(trial)))
      if configuration.saveEvery != nil || clock.seconds - lastSave > 60 { try save(plan.optimizer(nil)) }
    }
    trials.end()
    try finder.addAbandoned()
    self.finder = finder
    // A rate that was given stays.
    if configuration.recipe.findsRate { self.trials = trials }
    let choice = try takeChoice(of: finder)
    events(.information(finder.conclusion(choice)))
    // The log of a run that goes on has them.
    if saved?.step ?? 0 == 0 {
      for run in finder.search.abandoned { try log?.append(trial: TrialRecord.json(run)) }
      try log?.append(found: choice)
    }
    return true
  }

  /// Takes the rate that was found.
  private func takeChoice(of finder: RateFinder) throws(GoraError) -> RateSearch.Choice {
    let choice = try finder.choice()
    checkpoint.trials = TrialRecord.text(finder.search.trials + finder.search.abandoned)
    (summary.found, summary.searchSteps) = (choice, finder.search.cost)
    settings.schedule.peak = choice.lr
    ratio = choice.ratio
    return choice
  }

  /// Begins again from the start, with half of the rate that was found.
  /// - Parameter step: in which the run failed.
  /// - Throws: the failure, where the rate is not the run's to choose, or too many runs were given up before.
  private func startOver(at step: Int, after failure: GoraError) throws(GoraError) {
    guard failure.status == .negative, let trials, var finder, finder.abandon(after: step) else { throw failure }
    self.finder = finder
    let choice = try takeChoice(of: finder)
    events(.information("\(failure.problem): from the start again, with --lr \(NumberText.significant(choice.lr))"))
    trials.restore()
    record.reset()
    (summary.firstLoss, summary.lastLoss, summary.validationLoss, summary.resumedFrom) = (nil, nil, nil, 0)
    let trainer = begin()
    // First what a resumed run goes by.
    try save(trainer.optimizer)
    try log?.startOver()
    for trial in finder.search.trials + finder.search.abandoned { try log?.append(trial: TrialRecord.json(trial)) }
    try log?.append(found: choice)
  }

  // MARK: Training

  /// The run before its first step. What it had before is let go of first.
  private func begin() -> Trainer {
    trainer = nil
    let adapted = loaded.model.linears.filter { $0.adapter != nil }
    ranks = plan.adaptsRanks ? RankRecord(adapted.map(\.name)) : nil
    watch = settings.shuffles ? LossWatch(steps: settings.schedule.steps) : nil
    let trainer = Trainer(model: loaded.model, optimizer: plan.optimizer(ratio), rows: rows, settings: settings)
    self.trainer = trainer
    return trainer
  }

  /// Where the run goes on from: its start, or where it stopped.
  /// - Throws: status 65 where the checkpoint is of another run, or damaged.
  private func resume() throws(GoraError) -> Trainer {
    let trainer = begin()
    guard configuration.resumes, try checkpoint.restore(trainer.optimizer, record) else { return trainer }
    summary.resumedFrom = trainer.step
    guard watch?.restore(saved?.losses ?? "", step: trainer.step) ?? true else {
      throw GoraError(
        .data, at: .file(TrainingCheckpoint.path(in: configuration.output)), "\"losses\" of the metadata are none of a run")
    }
    if trainer.step > 0, let now = trainer.optimizer.ranks { _ = ranks?.update(now) }
    return trainer
  }

  private func hasSettled() -> Bool { configuration.patience.map { record.misses >= $0 } ?? false }

  /// Takes the steps that are left, to the last one, to the end of the time, or until the validation loss no longer falls.
  /// - Throws: status 1 where a loss, a gradient or a value is not finite, and the rate was given.
  func train() throws(GoraError) {
    let steps = settings.schedule.steps
    events(.progress(stage: "training", done: try resume().step, total: steps, unit: "steps"))
    var (tokens, learnt) = (0, 0)
    var rates = StepRates()
    var failure: (step: Int, error: GoraError)?
    while true {
      if let (step, error) = failure { try startOver(at: step, after: error) }
      failure = nil
      guard let trainer, !trainer.isFinished, !hasSettled() else { break }
      if isOutOfTime {
        try save(trainer.optimizer)
        summary.isComplete = false
        break
      }
      let step = trainer.step + 1
      do throws(GoraError) {
        let stepClock = Stopwatch()
        let report = try trainer.advance()
        rates.append(tokens: report.tokens, seconds: stepClock.seconds)
        tokens += report.tokens
        learnt += report.rows
        try take(report, of: trainer, rate: Double(tokens) / max(clock.seconds, 1e-9))
      } catch {
        failure = (step, error)
      }
    }
    summary.seconds = clock.seconds
    summary.tokensPerSecond = Double(tokens) / max(clock.seconds, 1e-9)
    summary.steadyTokensPerSecond = rates.steady
    summary.rowsPerSecond = Double(learnt) / max(clock.seconds, 1e-9)
    guard summary.isComplete, let trainer else { return }
    // Of a run that had ended before.
    if summary.validationLoss == nil, !validation.isEmpty { summary.validationLoss = try validationLoss(step: trainer.step) }
    summary.stepsTaken = trainer.step
    summary.stoppedEarly = !trainer.isFinished
    // Before the output, so that a run killed there resumes to the same.
    try save(trainer.optimizer, isEnded: summary.stoppedEarly)
  }

  /// Tells of a step, validates where that is due, and saves where that is.
  /// - Throws: status 1 where the loss has risen or a value is not finite and the rate was found, or what is validated or saved is not finite.
  private func take(_ report: StepReport, of trainer: Trainer, rate: Double) throws(GoraError) {
    try log?.append(report)
    if let now = report.ranks, let changed = ranks?.update(now) { try log?.append(ranks: changed, step: report.step) }
    if summary.firstLoss == nil { summary.firstLoss = report.loss }
    summary.lastLoss = report.loss
    events(
      .progress(
        stage: "training", done: report.step, total: settings.schedule.steps, unit: "steps", rate: StageRate(rate, "tokens/s"),
        loss: report.loss, state: ranks?.description))
    // All processes have the same numbers, and do the same, whichever of them saves, and when.
    if trials != nil { try trainer.optimizer.requireFinite() }
    if let rise = watch?.add(report.loss) { try warn(of: rise) }
    let every = configuration.validateEvery
    if !validation.isEmpty, trainer.isFinished || every.map({ report.step % $0 == 0 }) ?? false {
      let loss = try validationLoss(step: report.step)
      summary.validationLoss = loss
      if every != nil {
        record.add(loss: loss, step: report.step)
        try log?.append(validationLoss: loss, step: report.step)
      }
    }
    // After the step's lines: a run killed in between takes the step again and writes them again.
    let due = configuration.saveEvery.map { report.step % $0 == 0 } ?? (clock.seconds - lastSave > 60)
    if due, !trainer.isFinished, !hasSettled() { try save(trainer.optimizer) }
  }

  /// - Throws: status 1 where the rate was found, and another one may do better.
  private func warn(of rise: LossWatch.Rise) throws(GoraError) {
    func text(_ window: LossWatch.Window) -> String {
      "\(NumberText.fixed(window.mean, 4)) over steps \(window.steps.lowerBound) to \(window.steps.upperBound)"
    }
    let problem = "the loss rises again: \(text(rise.from)), \(text(rise.to))"
    if trials != nil { throw GoraError(.negative, problem, hint: "give a rate with --lr") }
    if !hasWarned { events(.warning("\(problem); the rate may be too high")) }
    hasWarned = true
  }

  /// - Throws: status 1 where it is not finite; the last checkpoint stays.
  private func validationLoss(step: Int) throws(GoraError) -> Double {
    let loss = meanLoss(loaded.model, validation).loss
    guard loss.isFinite else {
      throw GoraError(.negative, "step \(step): the validation loss is \(loss)", hint: "lower --lr or set --max-grad-norm 1")
    }
    return loss
  }
}

import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Runs a task by the likelihoods of given answers.
struct ChoicesDriver {
  let inputs: EvalInputs

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let c = inputs.configuration
    guard let model = inputs.loaded.model as? any ScoringModel else {
      throw GoraError(
        .usage, "a \(inputs.loaded.config.modelType) model says no likelihoods of texts, as --task \(c.task.name) asks")
    }
    _ = try inputs.requiredTokenizer()
    let data = try inputs.rows(&summary, events) { row throws(GoraError) in try ChoiceQuestion(row) }
    let format = data.rows[0].format
    if let other = data.rows.firstIndex(where: { $0.format != format }) {
      throw GoraError(
        .data, at: data.places[other],
        "a row of \(data.rows[other].format.rawValue) among those of \(format.rawValue), which is measured in another way",
        hint: "measure each data set by itself")
    }
    events(.information("questions of \(format.rawValue)"))
    var questions: [[ChoiceScorer.Choice]] = []
    for (question, place) in zip(data.rows, data.places) {
      var choices: [ChoiceScorer.Choice] = []
      for choice in question.choices {
        guard let (ids, context) = inputs.text.encoder.encode(context: choice.context, continuation: choice.continuation) else {
          throw GoraError(.data, at: place, "the answer \"\(choice.text)\" adds no token to the question")
        }
        choices.append(ChoiceScorer.Choice(ids: ids, context: context))
      }
      questions.append(choices)
    }
    inputs.loaded.warn(ofLength: questions.joined().map(\.ids.count).max() ?? 0, events: events)
    let scorer = ChoiceScorer(model: model, batchSize: c.answering.batchSize)
    try inputs.require(scorer.byteCounts(questions), &summary, events)
    if c.dryRun { return }
    try inputs.requireSame(questions.joined().map { EncodedRow(ids: $0.ids, labels: [Int32($0.context)]) })
    let clock = Stopwatch()
    let groups = scorer.groups(questions)
    let shares = WorkShares(costs: groups.map { questions[$0].joined().reduce(0) { $0 + $1.ids.count } })
    let rows = shares.items(of: groups.map { Array($0) })
    var done = 0
    let count = SharedCount(pieces: rows.counts)
    func told(_ _: Int) {
      done += 1
      events(.progress(stage: "choices", done: done, total: questions.count, unit: "rows"))
    }
    var likelihoods = [[Double]](repeating: [], count: questions.count)
    try scorer.score(questions, groups: shares.own.map { groups[$0] }) { question, scores in
      likelihoods[question] = scores
      count.add(told: told)
    }
    count.finish(told: told)
    likelihoods = rows.gathered(likelihoods)
    summary.seconds = clock.seconds
    var (right, rightNormalised) = (0, 0)
    for (row, (question, scores)) in zip(data.rows, likelihoods).enumerated() {
      let choice = Self.best(scores)
      let normalised = Self.best(
        zip(scores, question.choices).map { question.format.isPartial ? $0 : $0 / Double($1.characters) })
      right += choice == question.gold ? 1 : 0
      rightNormalised += normalised == question.gold ? 1 : 0
      try inputs.write(
        sample: .object([
          "row": JSON(row + 1), "choices": JSON(question.choices.map { JSON($0.text) }),
          "log_likelihoods": JSON(scores.map { JSON($0) }), "choice": JSON(choice), "choice_norm": JSON(normalised),
          "gold": JSON(question.gold),
        ]))
    }
    summary.outcome = outcome(format, right, rightNormalised, of: questions.count)
  }

  /// The first of the largest.
  private static func best(_ scores: [Double]) -> Int { scores.firstIndex(of: scores.max() ?? 0) ?? 0 }

  private func outcome(_ format: ChoiceFormat, _ right: Int, _ rightNormalised: Int, of count: Int) -> TaskOutcome {
    var values: [(metric: String, value: Double)] = []
    var members = [JSON.Member("questions", JSON(format.rawValue))]
    var words: [String] = []
    for (metric, right) in [("acc", right), ("acc_norm", rightNormalised)] {
      let value = Double(right) / Double(max(1, count))
      let interval = wilsonInterval(successes: right, of: count)
      values.append((metric, value))
      members += [
        .init(metric, JSON(value)), .init("\(metric)_correct", JSON(right)), .init("\(metric)_interval", json(interval)),
      ]
      words.append("\(metric) \(NumberText.fixed(value * 100, 2)) % (95 %: \(percentages(interval)))")
    }
    return TaskOutcome(values: values, members: members, line: "\(words.joined(separator: ", ")) of \(count) questions")
  }
}

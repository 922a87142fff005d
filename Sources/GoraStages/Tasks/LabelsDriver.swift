import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraText

/// Runs a task of texts and labels.
struct LabelsDriver {
  let inputs: EvalInputs

  /// More different answers are no labels.
  private static let mostLabels = 256

  func measure(_ summary: inout EvalStage.Summary, _ events: EventHandler) throws(GoraError) {
    let (text, c) = (inputs.text, inputs.configuration)
    let data = try inputs.rows(&summary, events)
    var golds: [String] = []
    for (row, place) in zip(data.rows, data.places) {
      let gold = row.expectedAnswer.map(Self.trimmed) ?? ""
      guard !gold.isEmpty else { throw GoraError(.data, at: place, "the row has no answer to compare with") }
      golds.append(gold)
    }
    let labels = try labels(golds)
    let prompts = try text.encoder.encodePrompts(data)
    if let empty = prompts.firstIndex(where: \.isEmpty) {
      throw GoraError(.data, at: data.places[empty], "the row has an empty prompt")
    }
    let sources = try text.encoder.encodeSources(data)
    let generation = try AnswerGeneration(inputs, ends: try text.endTokens(for: data.rows), stops: [])
    let first: Result<FirstTokens, FirstTokens.Problem> =
      labels.isEmpty
      ? .failure(.init("numbers are no labels")) : try FirstTokens.make(data, labels: labels, encoder: text.encoder)
    if case .failure(let problem) = first, !labels.isEmpty {
      events(.information("first tokens are not compared: \(problem.text)"))
    }
    try generation.require(
      prompts, sources: sources, besides: (try? first.get())?.byteCount(inputs.loaded) ?? 0, &summary, events)
    if c.dryRun { return }
    try generation.requireSame(prompts, sources: sources)
    let predictions = try (try? first.get())?.predictions(inputs.loaded, events)
    let answers = try generation.answers(to: prompts, sources: sources, total: prompts.count, events).map(Self.trimmed)
    for (row, answer) in answers.enumerated() {
      var sample: [JSON.Member] = [.init("row", JSON(row + 1)), .init("answer", JSON(answer))]
      if let predictions { sample.append(.init("first_token", JSON(labels[predictions[row]]))) }
      sample += [.init("gold", JSON(golds[row])), .init("correct", JSON(answer == golds[row]))]
      try inputs.write(sample: JSON(.object(sample)))
    }
    generation.conclude(&summary)
    summary.outcome = outcome(answers, golds, labels, first, predictions, generation)
  }

  private static func trimmed(_ text: String) -> String {
    var scalars = Substring(text).unicodeScalars
    while let first = scalars.first, first.properties.isWhitespace { scalars.removeFirst() }
    while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
    return String(scalars)
  }

  /// The classes: those of GLUE's task, or the answers that occur, in the order of their bytes; none for numbers.
  private func labels(_ golds: [String]) throws(GoraError) -> [String] {
    if let glue = inputs.data.glue { return glue.task.words(glue.wording) }
    let labels = Set(golds).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    guard 2...Self.mostLabels ~= labels.count else {
      throw GoraError(
        .data, at: .file(inputs.data.paths.joined(separator: ", ")),
        labels.count < 2
          ? "all rows have one answer: there is nothing to tell apart" : "\(labels.count) different answers are no labels",
        hint: "--task \(ClassifyTask.name) needs from 2 to \(Self.mostLabels) answers that return")
    }
    return labels
  }

  private func outcome(
    _ answers: [String], _ golds: [String], _ labels: [String], _ first: Result<FirstTokens, FirstTokens.Problem>,
    _ predictions: [Int]?, _ generation: AnswerGeneration
  ) -> TaskOutcome {
    var found = Findings(prefix: "")
    var members: [JSON.Member] = []
    if let glue = inputs.data.glue {
      members += [.init("glue", JSON(glue.task.name)), .init("prompts", JSON(glue.wording.rawValue))]
    }
    if labels.isEmpty {
      found.add(correct: zip(answers, golds).count { $0 == $1 }, of: golds.count)
      found.add(numbers: answers, golds)
      members += found.members
    } else {
      let f1 = inputs.data.glue?.task.measuresF1 == true
      let places = golds.map { labels.firstIndex(of: $0) ?? 0 }
      found.add(agreement(labels, places, answers.map { labels.firstIndex(of: $0) }), labels, f1: f1)
      members += [.init("labels", JSON(labels.map { JSON($0) }))] + found.members
      if let predictions {
        var other = Findings(prefix: "first_token_")
        other.add(agreement(labels, places, predictions), labels, f1: f1)
        members += other.members
        found.values += other.values
        found.words += other.words.map { "first token \($0)" }
      } else if case .failure(let problem) = first {
        members.append(.init("first_token_not_compared", JSON(problem.text)))
      }
    }
    members.append(.init("new_tokens", JSON(generation.tokens)))
    return TaskOutcome(
      values: found.values, members: members, line: (found.words + [generation.rate]).joined(separator: ", "))
  }

  private func agreement(_ labels: [String], _ golds: [Int], _ predictions: [Int?]) -> Agreement {
    var agreement = Agreement(classes: labels.count)
    for (gold, prediction) in zip(golds, predictions) { agreement.add(truth: gold, predicted: prediction) }
    return agreement
  }
}

/// One way's numbers, as a result, as metrics and in words.
private struct Findings {
  let prefix: String
  var values: [(metric: String, value: Double)] = []
  var members: [JSON.Member] = []
  var words: [String] = []

  init(prefix: String) { self.prefix = prefix }

  mutating func add(correct: Int, of count: Int) {
    let accuracy = Double(correct) / Double(max(1, count))
    let interval = wilsonInterval(successes: correct, of: count)
    values.append((prefix + "accuracy", accuracy))
    members += [
      .init(prefix + "accuracy", JSON(accuracy)), .init(prefix + "correct", JSON(correct)),
      .init(prefix + "interval", json(interval)),
    ]
    words.append("accuracy \(NumberText.fixed(accuracy * 100, 2)) % (\(correct) of \(count); 95 %: \(percentages(interval)))")
  }

  mutating func add(_ agreement: Agreement, _ labels: [String], f1: Bool) {
    add(correct: agreement.correct, of: agreement.total)
    add("matthews", agreement.matthews)
    if f1 { add("f1", agreement.f1(of: 1)) }
    var classes: [JSON] = []
    for (place, label) in labels.enumerated() {
      let (right, count) = (agreement.counts[place][place], agreement.rows(of: place))
      classes.append(
        .object([
          "label": JSON(label), "rows": JSON(count), "correct": JSON(right),
          "interval": json(wilsonInterval(successes: right, of: count)),
          "predicted": JSON(agreement.counts[place].map { JSON($0) }),
        ]))
    }
    members.append(.init(prefix + "classes", JSON(classes)))
  }

  /// Both as numbers; an answer that is none counts as −1, as T5's evaluation has it.
  mutating func add(numbers answers: [String], _ golds: [String]) {
    let (x, y) = (answers.map { Double($0) ?? -1 }, golds.map { Double($0) ?? 0 })
    members.append(.init("numbers", JSON(answers.count { Double($0) != nil })))
    add("pearson", Correlation.pearson(x, y) ?? 0)
    add("spearman", RankCorrelation.spearman(x, y) ?? 0)
  }

  private mutating func add(_ metric: String, _ value: Double) {
    values.append((prefix + metric, value))
    members.append(.init(prefix + metric, JSON(value)))
    words.append("\(metric) \(NumberText.fixed(value, 4))")
  }
}

import GoraCore

/// The likelihoods of several continuations of a context, which is computed once.
package struct ChoiceScorer {
  /// A context with one continuation, as token ids.
  package struct Choice: Sendable, Equatable {
    package var ids: [Int32]
    /// How many of them are the context's: at least 1, and fewer than all.
    package var context: Int

    package init(ids: [Int32], context: Int) {
      precondition(1..<ids.count ~= context)
      self.ids = ids
      self.context = context
    }
  }

  private let model: any ScoringModel
  private let batchSize: Int

  /// - Parameter batchSize: choices that go through the model together, but for a question that has more.
  package init(model: any ScoringModel, batchSize: Int) {
    self.model = model
    self.batchSize = batchSize
  }

  /// Tokens that all choices of a question begin with and that tell nothing of what is measured.
  private static func shared(_ choices: [Choice]) -> Int {
    var shared = choices.map { $0.context - 1 }.min() ?? 0
    for choice in choices.dropFirst() {
      shared = zip(choice.ids, choices[0].ids).prefix(shared).prefix { $0 == $1 }.count
    }
    return shared
  }

  /// Tokens that go through the model together, but for a question that has more.
  private static let tokensAtOnce = 2048

  /// Questions that go through the model together.
  package func groups(_ questions: [[Choice]]) -> [Range<Int>] {
    var groups: [Range<Int>] = []
    var (from, choices, tokens) = (0, 0, 0)
    for (index, question) in questions.enumerated() {
      let count = question.reduce(0) { $0 + $1.ids.count }
      if index > from, choices + question.count > batchSize || tokens + count > Self.tokensAtOnce {
        groups.append(from..<index)
        (from, choices, tokens) = (index, 0, 0)
      }
      choices += question.count
      tokens += count
    }
    return groups + [from..<questions.count]
  }

  /// Slots of the cache, and tokens that each may come to.
  private func cacheSize(_ questions: [[Choice]]) -> (slots: Int, capacity: Int) {
    (
      groups(questions).map { questions[$0].reduce(0) { $0 + $1.count } }.max() ?? 0,
      questions.flatMap { $0 }.map { $0.ids.count - 1 }.max() ?? 0
    )
  }

  /// Bytes that `score` takes at most: of keys and values, and of the rest.
  package func byteCounts(_ questions: [[Choice]]) -> (cache: Int, activations: Int) {
    let (slots, capacity) = cacheSize(questions)
    let groups = groups(questions).map { questions[$0].joined() }
    let tokens = groups.map { $0.reduce(0) { $0 + $1.ids.count } }.max() ?? 0
    let targets = groups.map { $0.reduce(0) { $0 + $1.ids.count - $1.context } }.max() ?? 0
    return (
      KeyValueCache.byteCount(model.cachedWidth, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16),
      model.lossBytes(tokens: tokens, labelled: targets)
    )
  }

  /// - Parameters:
  ///   - questions: the choices of each, none without.
  ///   - groups: some of `groups`, whose questions alone are scored; nil for all.
  ///   - scored: told of each question's Σ log p over the tokens of its continuations.
  /// - Throws: status 1 where one is not finite.
  package func score(
    _ questions: [[Choice]], groups chosen: [Range<Int>]? = nil, scored: (_ question: Int, _ logLikelihoods: [Double]) -> Void
  ) throws(GoraError) {
    if questions.isEmpty { return }
    let (slots, capacity) = cacheSize(questions)
    let cache = KeyValueCache(model.cachedWidth, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16)
    for group in chosen ?? groups(questions) {
      var contexts: [(slot: Int, ids: [Int32])] = []
      var rows: [(slot: Int, ids: [Int32])] = []
      var copies: [(from: Int, to: Int)] = []
      var targets: [(token: Int, label: Int32)] = []
      var tokens = 0
      for question in questions[group] {
        let (shared, first) = (Self.shared(question), rows.count)
        if shared > 0 { contexts.append((first, Array(question[0].ids[..<shared]))) }
        for choice in question {
          cache.clear(rows.count)
          if rows.count > first, shared > 0 { copies.append((first, rows.count)) }
          for place in choice.context..<choice.ids.count {
            targets.append((tokens + place - 1 - shared, choice.ids[place]))
          }
          rows.append((rows.count, Array(choice.ids[shared..<(choice.ids.count - 1)])))
          tokens += choice.ids.count - 1 - shared
        }
      }
      if !contexts.isEmpty { _ = model.losses(CachedStep(cache: cache, rows: contexts), targets: []) }
      for copy in copies { cache.copy(copy.from, to: copy.to) }
      let losses = model.losses(CachedStep(cache: cache, rows: rows), targets: targets)
      var at = 0
      for question in group {
        var likelihoods: [Double] = []
        for choice in questions[question] {
          let count = choice.ids.count - choice.context
          likelihoods.append(-losses[at..<at + count].reduce(0, +))
          at += count
        }
        guard likelihoods.allSatisfy(\.isFinite) else {
          throw GoraError(.negative, "row \(question + 1): a likelihood is not finite")
        }
        scored(question, likelihoods)
      }
    }
  }
}

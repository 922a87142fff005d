import GoraCore
import GoraFormats
import GoraModels
import GoraText

/// Generates a task's answers: what that takes of memory, how far it is, how fast it went.
final class AnswerGeneration {
  private let inputs: EvalInputs
  private let model: any GenerativeModel
  private let tokenizer: Tokenizer
  private let ends: [Int32]
  private let stops: [String]
  private let clock = Stopwatch()
  private var rates = StepRates()
  private var round = (tokens: 0, start: 0.0)
  private var done = 0
  /// New ones so far.
  private(set) var tokens = 0
  /// Which process has generated which of the last answers.
  private(set) var shares = WorkShares(costs: [])
  private var seconds = 0.0

  private var answering: Answering { inputs.configuration.answering }

  /// - Parameters:
  ///   - ends: tokens that end an answer.
  ///   - stops: texts that do.
  /// - Throws: status 64 where the model does not answer, 66 where there is no tokenizer.
  init(_ inputs: EvalInputs, ends: [Int32], stops: [String]) throws(GoraError) {
    self.inputs = inputs
    guard let model = inputs.loaded.model as? any GenerativeModel else {
      throw GoraError(
        .usage,
        "a \(inputs.loaded.config.modelType) model does not answer, as --task \(inputs.configuration.task.name) asks")
    }
    self.model = model
    tokenizer = try inputs.requiredTokenizer()
    self.ends = ends
    self.stops = stops
  }

  /// Looks whether there is memory for the answers to these prompts.
  /// - Parameters:
  ///   - sources: what an encoder reads of each; none for a decoder alone.
  ///   - activations: bytes of what else runs, before or after.
  /// - Throws: status 71 where there is not, 64 for beams beside an encoder.
  func require(
    _ prompts: [[Int32]], sources: [[Int32]] = [], besides activations: Int = 0, _ summary: inout EvalStage.Summary,
    _ events: EventHandler
  ) throws(GoraError) {
    if answering.beams > 1, !sources.isEmpty { throw inputs.needsDecoder("--beams") }
    let longest = max((prompts.map(\.count).max() ?? 0) + answering.maxNewTokens, sources.map(\.count).max() ?? 0)
    inputs.loaded.warn(ofLength: longest, events: events)
    if !inputs.text.unapplied.isEmpty {
      events(.warning("not applied of generation_config.json: \(inputs.text.unapplied.joined(separator: ", "))"))
    }
    var bytes =
      answering.beams > 1
      ? search.byteCounts(prompts) : generator(answering.sampling).byteCounts(prompts, sources: sources)
    bytes.activations = max(bytes.activations, activations)
    try inputs.require(bytes, &summary, events)
  }

  /// Refuses to share the answers out where the processes do not all have the same before them.
  func requireSame(_ prompts: [[Int32]], sources: [[Int32]] = []) throws(GoraError) {
    var rows = prompts.map { EncodedRow(ids: $0, labels: ends) }
    for (row, source) in sources.enumerated() { rows[row].source = source }
    try inputs.requireSame(rows)
  }

  private func generator(_ sampling: Sampling) -> Generator {
    Generator(
      model: model, sampling: sampling, batchSize: answering.batchSize, maxNewTokens: answering.maxNewTokens, endTokens: ends)
  }

  private var search: BeamSearch {
    BeamSearch(
      model: model, beams: answering.beams, batchSize: answering.batchSize, maxNewTokens: answering.maxNewTokens,
      endTokens: ends)
  }

  /// Answers come about in `PromptGroups`, which the processes share out.
  /// - Parameters:
  ///   - prompts: token ids, none empty
  ///   - sources: what an encoder reads of each; none for a decoder alone
  ///   - rows: what the prompts are called in their random numbers' names; their places where nil
  ///   - temperatures: of each prompt's sampling; the user's where nil
  ///   - keepsBlanks: whether what an answer begins with counts; tokenizers of SentencePiece's kind drop a text's first blank
  ///   - total: answers of the whole run
  /// - Returns: texts in the prompts' order, ended before stops.
  func answers(
    to prompts: [[Int32]], sources: [[Int32]] = [], rows: [Int]? = nil, temperatures: [Double]? = nil, keepsBlanks: Bool = false,
    total: Int, _ events: EventHandler
  ) throws(GoraError) -> [String] {
    let rows = rows ?? Array(prompts.indices)
    let temperatures = temperatures ?? prompts.map { _ in answering.sampling.temperature }
    let lengths = (sources.isEmpty ? prompts : sources).map(\.count)
    let groups = PromptGroups(lengths: lengths, temperatures: temperatures, batchSize: answering.batchSize).groups
    let groupShares = WorkShares(costs: groups.map { $0.reduce(0) { $0 + lengths[$1] + answering.maxNewTokens } })
    shares = groupShares.items(of: groups)
    warn(ofIdle: groups.count, events)
    events(.progress(stage: "answers", done: done, total: total, unit: "rows"))
    let stops = { [stops, tokenizer] (_: Int, new: [Int32]) -> Bool in
      guard !stops.isEmpty else { return false }
      let tail = tokenizer.decode(Array(new.suffix(32)))
      return stops.contains { tail.contains($0) }
    }
    let before = tokens
    let count = SharedCount(pieces: shares.counts)
    func told(_ new: Int) {
      self.count(new)
      events(
        .progress(
          stage: "answers", done: self.done, total: total, unit: "rows",
          rate: StageRate(Double(self.tokens) / max(self.clock.seconds, 1e-9), "tokens/s")))
    }
    var found = [[Int32]](repeating: [], count: prompts.count)
    for group in groupShares.own.map({ groups[$0] }) {
      func finished(_ index: Int, _ new: [Int32]) {
        found[group[index]] = new
        count.add(new.count, told: told)
      }
      let (own, names) = (group.map { prompts[$0] }, group.map { rows[$0] })
      if answering.beams > 1 {
        try search.generate(own, rows: names, stops: stops, finished: finished)
      } else {
        try generator(answering.sampling(temperature: temperatures[group[0]])).generate(
          own, sources: sources.isEmpty ? [] : group.map { sources[$0] }, rows: names, stops: stops, finished: finished)
      }
    }
    count.finish(told: told)
    found = shares.gathered(found)
    tokens = found.reduce(before) { $0 + $1.count }
    seconds = clock.seconds
    return found.enumerated().map { text($1, after: keepsBlanks ? prompts[$0] : []) }
  }

  private func warn(ofIdle groups: Int, _ events: EventHandler) {
    guard groups < ProcessGroup.size, done == 0 else { return }
    events(
      .warning(
        "the answers are generated in \(groups) groups of \(PromptGroups.batches) batches at most, for \(ProcessGroup.size) "
          + "processes: the others have nothing to do; a smaller --batch-size makes more of them"))
  }

  private func count(_ new: Int) {
    done += 1
    tokens += new
    guard done % answering.batchSize == 0 else { return }
    let now = clock.seconds
    rates.append(tokens: tokens - round.tokens, seconds: now - round.start)
    round = (tokens, now)
  }

  private func text(_ new: [Int32], after prompt: [Int32]) -> String {
    // What comes before a token may decide on its blank, a few tokens are enough for that.
    let before = Array(prompt.suffix(16))
    let (start, whole) = (tokenizer.decode(before), tokenizer.decode(before + new))
    var answer =
      whole.utf8.starts(with: start.utf8)
      ? String(decoding: whole.utf8.dropFirst(start.utf8.count), as: UTF8.self) : tokenizer.decode(new)
    for stop in stops {
      if let range = answer.firstRange(of: stop) { answer = String(answer[..<range.lowerBound]) }
    }
    return answer
  }

  /// Says how fast it went.
  func conclude(_ summary: inout EvalStage.Summary) {
    summary.seconds = seconds
    summary.steadyTokensPerSecond = rates.steady
  }

  /// `1,234 tokens/s`.
  var rate: String { "\(NumberText.count(Int(Double(tokens) / max(seconds, 1e-9)))) tokens/s" }
}

extension EvalInputs {
  /// The refusal of what encoder-decoder models do not do here.
  func needsDecoder(_ what: String) -> GoraError {
    GoraError(.usage, "\(what) is for decoders, and a \(loaded.config.modelType) model has an encoder")
  }

  /// - Throws: status 64 for an encoder-decoder model.
  func requireDecoder() throws(GoraError) {
    if text.hasEncoder { throw needsDecoder("--task \(configuration.task.name)") }
  }

  /// - Throws: status 66 where the checkpoint has none.
  func requiredTokenizer() throws(GoraError) -> Tokenizer {
    guard let tokenizer = text.tokenizer else {
      throw GoraError(
        .noInput, at: .file(loaded.files.place("tokenizer.json")), "missing; --task \(configuration.task.name) reads texts")
    }
    return tokenizer
  }

  /// Notes what the run will take besides the model, and looks whether there is memory for it.
  /// - Throws: status 71 where there is not.
  func require(
    _ bytes: (cache: Int, activations: Int), _ summary: inout EvalStage.Summary, _ events: EventHandler
  ) throws(GoraError) {
    let c = configuration
    let estimate = RunEstimate(
      loaded,
      RunEstimate.ForwardDemand(
        activations: bytes.activations, cache: bytes.cache, distinctTokens: loaded.config.vocabularySize, releasesWeights: false),
      memory: c.context.memory)
    events(.note(estimate.description))
    try estimate.require(
      c.context.memory,
      options: MemoryOptions(cutsRows: false, answers: true, quantization: c.quantization, canQuantize: c.quantization == nil),
      isTried: c.dryRun, events: events)
    summary.estimate = estimate
  }
}

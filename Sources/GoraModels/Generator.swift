import CGoraKernels
import GoraCore

/// How the next token is chosen.
package struct Sampling: Sendable {
  /// 0 is greedy.
  package var temperature: Double
  /// Nucleus (Holtzman et al. 2020): the smallest set of tokens with at least this probability.
  package var topP: Double
  package var seed: UInt64

  package init(temperature: Double = 0, topP: Double = 1, seed: UInt64 = 0) {
    self.temperature = temperature
    self.topP = topP
    self.seed = seed
  }

  /// A token from one row of logits, which it may overwrite; nil where these are not finite.
  func token(_ logits: UnsafeMutablePointer<Float>, vocabulary: Int, random: inout Random) -> Int32? {
    let token =
      temperature == 0
      ? gora_argmax(logits, vocabulary)
      : gora_sample(logits, vocabulary, Float(temperature), topP, random.uniform())
    return token < vocabulary ? Int32(token) : nil
  }
}

/// Continues prompts with a key/value cache: a batch advances together, a finished row's slot goes to the next prompt.
package struct Generator {
  private let model: any GenerativeModel
  private let sampling: Sampling
  private let batchSize: Int
  private let maxNewTokens: Int
  private let endTokens: Set<Int32>

  package init(model: any GenerativeModel, sampling: Sampling, batchSize: Int, maxNewTokens: Int, endTokens: [Int32]) {
    self.model = model
    self.sampling = sampling
    self.batchSize = batchSize
    self.maxNewTokens = maxNewTokens
    self.endTokens = Set(endTokens)
  }

  /// Bytes that `generate` takes at most: of keys and values, which grow until answers are as long as they may be, and of the rest.
  package func byteCounts(_ prompts: [[Int32]], sources: [[Int32]] = []) -> (cache: Int, activations: Int) {
    let (slots, capacity) = cacheSize(prompts)
    let cache = KeyValueCache.byteCount(
      model.cachedWidth, slots: slots, capacity: capacity, sourceCapacity: Self.longest(sources),
      isBFloat16: model.roundsToBFloat16)
    let firstStep = prompts.indices.map { prompts[$0].count + (sources.isEmpty ? 0 : sources[$0].count) }.sorted(by: >)
      .prefix(slots)
    let tokens = min(firstStep.reduce(0, +), max(Self.tokensAtOnce, firstStep.first ?? 0))
    return (cache, model.forwardBytes(tokens: tokens, rows: slots))
  }

  /// Tokens that go through the model together, but for a prompt that is longer by itself.
  private static let tokensAtOnce = 2048

  /// Rows whose new tokens go through the model together.
  private static func pieces(_ counts: [Int]) -> [Range<Int>] {
    var pieces: [Range<Int>] = []
    var (from, tokens) = (0, 0)
    for (row, count) in counts.enumerated() {
      if row > from, tokens + count > tokensAtOnce {
        pieces.append(from..<row)
        (from, tokens) = (row, 0)
      }
      tokens += count
    }
    return pieces + [from..<counts.count]
  }

  /// Rows that advance together, and tokens that each may come to.
  private func cacheSize(_ prompts: [[Int32]]) -> (slots: Int, capacity: Int) {
    (min(batchSize, prompts.count), Self.longest(prompts) + maxNewTokens)
  }

  private static func longest(_ rows: [[Int32]]) -> Int { rows.map(\.count).max() ?? 0 }

  /// - Parameters:
  ///   - prompts: token ids, none empty
  ///   - sources: what an encoder reads for each prompt, none empty; none at all for a decoder alone
  ///   - rows: what the prompts are called in their random numbers' names, so that a prompt's do not depend on the others; their
  ///     places where nil
  ///   - stops: whether a prompt's new tokens so far end it (a stop string); asked after each token
  ///   - finished: told of each prompt's new tokens, end token excluded, as it finishes
  /// - Throws: status 1 where logits are not finite.
  package func generate(
    _ prompts: [[Int32]], sources: [[Int32]] = [], rows: [Int]? = nil,
    stops: (_ prompt: Int, _ new: [Int32]) -> Bool = { _, _ in false },
    finished: (_ prompt: Int, _ new: [Int32]) -> Void
  ) throws(GoraError) {
    if prompts.isEmpty { return }
    let rows = rows ?? Array(prompts.indices)
    let (slots, capacity) = cacheSize(prompts)
    let cache = KeyValueCache(
      model.cachedWidth, slots: slots, capacity: capacity, sourceCapacity: Self.longest(sources),
      isBFloat16: model.roundsToBFloat16)
    var waiting = prompts.indices.makeIterator()
    var active: [(prompt: Int, slot: Int, new: [Int32], random: Random)] = []
    var free = Array((0..<slots).reversed())
    let vocabulary = model.vocabularySize
    while true {
      while let slot = free.last, let prompt = waiting.next() {
        free.removeLast()
        cache.clear(slot)
        active.append((prompt, slot, [], Random(seed: sampling.seed, stream: "generate/\(rows[prompt])")))
      }
      if active.isEmpty { return }
      let next = active.map { (slot: $0.slot, ids: $0.new.last.map { [$0] } ?? prompts[$0.prompt]) }
      var still: [(prompt: Int, slot: Int, new: [Int32], random: Random)] = []
      let read = active.map { sources.isEmpty || !$0.new.isEmpty ? [] : sources[$0.prompt] }
      for piece in Self.pieces(zip(next, read).map { $0.ids.count + $1.count }) {
        let logits = model.next(
          CachedStep(cache: cache, rows: Array(next[piece]), sources: sources.isEmpty ? [] : Array(read[piece])))
        for (row, entry) in active[piece].enumerated() {
          var entry = entry
          guard let token = sampling.token(logits + row * vocabulary, vocabulary: vocabulary, random: &entry.random) else {
            throw GoraError(
              .negative, "row \(rows[entry.prompt] + 1): the model's logits are not finite after \(entry.new.count) new tokens")
          }
          let ended = endTokens.contains(token)
          if !ended { entry.new.append(token) }
          if ended || entry.new.count >= maxNewTokens || stops(entry.prompt, entry.new) {
            finished(entry.prompt, entry.new)
            free.append(entry.slot)
          } else {
            still.append(entry)
          }
        }
      }
      active = still
    }
  }
}

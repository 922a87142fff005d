import CGoraKernels
import Glibc
import GoraCore

/// Continues prompts by beam search, as Transformers' `generate` with `num_beams` and its defaults does (`_beam_search` of
/// generation/utils.py): scores Σ log p over the tokens' number, a length penalty of 1; `early_stopping` False.
package struct BeamSearch {
  private let model: any GenerativeModel
  private let beams: Int
  private let batchSize: Int
  private let maxNewTokens: Int
  private let endTokens: Set<Int32>

  /// - Parameter batchSize: prompts that advance together, each with all its beams.
  package init(model: any GenerativeModel, beams: Int, batchSize: Int, maxNewTokens: Int, endTokens: [Int32]) {
    self.model = model
    self.beams = beams
    self.batchSize = batchSize
    self.maxNewTokens = maxNewTokens
    self.endTokens = Set(endTokens)
  }

  /// A running or a finished continuation.
  private struct Beam {
    var tokens: [Int32]
    /// Σ log p of a running one, that over its length of a finished one; `never` for none.
    var score: Float
    var isFinished = false
    /// Where its keys and values are.
    var slot = 0
  }

  /// A score for what may not be chosen, as Transformers has it.
  private static let never: Float = -1e9

  private struct Search {
    var prompt: Int
    /// Of this prompt, as many as beams.
    var slots: [Int]
    /// The one that begins it is the only one until its prompt has run.
    var running: [Beam]
    /// Best first.
    var finished: [Beam]
    var length = 0
    var isDone = false
  }

  /// Rows that advance together, and tokens that each may come to.
  private func cacheSize(_ prompts: [[Int32]]) -> (slots: Int, capacity: Int) {
    (min(batchSize, prompts.count) * beams, (prompts.map(\.count).max() ?? 0) + maxNewTokens)
  }

  /// Bytes that `generate` takes at most: of keys and values, which grow until answers are as long as they may be, and of the rest.
  package func byteCounts(_ prompts: [[Int32]]) -> (cache: Int, activations: Int) {
    let (slots, capacity) = cacheSize(prompts)
    return (
      KeyValueCache.byteCount(model.cachedWidth, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16),
      model.forwardBytes(tokens: max(slots, prompts.map(\.count).max() ?? 0), rows: slots)
    )
  }

  /// - Parameters:
  ///   - prompts: token ids, none empty
  ///   - rows: what the prompts are called in messages; their places where nil
  ///   - stops: whether a prompt's new tokens end it (a stop string)
  ///   - finished: told of each prompt's best continuation, end token excluded
  /// - Throws: status 1 where logits are not finite.
  package func generate(
    _ prompts: [[Int32]], rows: [Int]? = nil, stops: (_ prompt: Int, _ new: [Int32]) -> Bool = { _, _ in false },
    finished: (_ prompt: Int, _ new: [Int32]) -> Void
  ) throws(GoraError) {
    if prompts.isEmpty { return }
    let (slots, capacity) = cacheSize(prompts)
    let cache = KeyValueCache(model.cachedWidth, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16)
    var waiting = prompts.indices.makeIterator()
    var free = stride(from: slots - beams, through: 0, by: -beams).map { Array($0..<$0 + beams) }
    var searches: [Search] = []
    let vocabulary = model.vocabularySize
    while true {
      while let own = free.last, let prompt = waiting.next() {
        free.removeLast()
        for slot in own { cache.clear(slot) }
        var search = Search(
          prompt: prompt, slots: own, running: [Beam(tokens: [], score: 0, slot: own[0])],
          finished: Array(repeating: Beam(tokens: [], score: Self.never), count: beams))
        // A prompt runs by itself: its first candidates are of one beam.
        let logits = model.next(CachedStep(cache: cache, rows: [(own[0], prompts[prompt])]))
        try advance(&search, logits, vocabulary, cache, row: rows?[prompt] ?? prompt, stops)
        searches.append(search)
      }
      if searches.isEmpty { return }
      let next = searches.filter { !$0.isDone }.flatMap { search in
        search.running.map { ($0.slot, [$0.tokens[$0.tokens.count - 1]]) }
      }
      if !next.isEmpty {
        var logits = model.next(CachedStep(cache: cache, rows: next))
        for index in searches.indices where !searches[index].isDone {
          let count = searches[index].running.count
          let prompt = searches[index].prompt
          try advance(&searches[index], logits, vocabulary, cache, row: rows?[prompt] ?? prompt, stops)
          logits += count * vocabulary
        }
      }
      for search in searches where search.isDone {
        var tokens = search.finished[0].tokens
        if let last = tokens.last, endTokens.contains(last) { tokens.removeLast() }
        finished(search.prompt, tokens)
        free.append(search.slots)
      }
      searches.removeAll(where: \.isDone)
    }
  }

  /// One step of a prompt: the best continuations of its beams by one token; which of them end, and which go on.
  /// - Parameter logits: [running beams, vocabulary]; overwritten
  private func advance(
    _ search: inout Search, _ logits: UnsafeMutablePointer<Float>, _ vocabulary: Int, _ cache: KeyValueCache, row: Int,
    _ stops: (Int, [Int32]) -> Bool
  ) throws(GoraError) {
    // So many that enough go on where each beam's best tokens are ends.
    let kept = max(2, 1 + endTokens.count) * beams
    var candidates: [(beam: Int, token: Int32, score: Float)] = []
    for (index, beam) in search.running.enumerated() {
      guard let best = Self.best(kept, logits + index * vocabulary, vocabulary) else {
        throw GoraError(
          .negative, "row \(row + 1): the model's logits are not finite after \(search.length) new tokens")
      }
      candidates += best.map { (index, $0.token, beam.score + $0.logProbability) }
    }
    // Of equals the one that comes first.
    let order = candidates.indices.sorted { (-candidates[$0].score, $0) < (-candidates[$1].score, $1) }
    search.length += 1
    var (going, ended): ([Beam], [Beam]) = ([], [])
    for (place, index) in order.prefix(kept).enumerated() {
      let candidate = candidates[index]
      let parent = search.running[candidate.beam]
      let tokens = parent.tokens + [candidate.token]
      let isEnd = endTokens.contains(candidate.token) || search.length >= maxNewTokens || stops(search.prompt, tokens)
      if !isEnd {
        going.append(Beam(tokens: tokens, score: candidate.score, slot: parent.slot))
      } else if place < beams {
        // Those further down are there to go on only.
        ended.append(Beam(tokens: tokens, score: candidate.score / Float(search.length), isFinished: true))
      }
    }
    going = Array(going.prefix(beams))
    let all = search.finished + ended
    search.finished = all.indices.sorted { (-all[$0].score, $0) < (-all[$1].score, $1) }.prefix(beams).map { all[$0] }
    guard let first = going.first else { return search.isDone = true }
    // Whether the best running one could still beat the worst that has ended, were its mean to stay.
    let isOpen = search.finished.contains { !$0.isFinished }
    if !isOpen, first.score / Float(search.length) <= search.finished[beams - 1].score { return search.isDone = true }
    search.running = Self.placed(going, in: search.slots, cache)
  }

  /// Gives each beam a slot of its own with its parent's keys and values.
  private static func placed(_ beams: [Beam], in slots: [Int], _ cache: KeyValueCache) -> [Beam] {
    var beams = beams
    var free = slots.filter { slot in !beams.contains { $0.slot == slot } }
    var taken: Set<Int> = []
    for index in beams.indices where !taken.insert(beams[index].slot).inserted {
      let slot = free.removeLast()
      cache.copy(beams[index].slot, to: slot)
      beams[index].slot = slot
    }
    return beams
  }

  /// The most likely tokens, best first, the lower id of equals; nil where a logit is not finite.
  /// - Parameter logits: overwritten
  private static func best(
    _ count: Int, _ logits: UnsafeMutablePointer<Float>, _ vocabulary: Int
  ) -> [(token: Int32, logProbability: Float)]? {
    let first = gora_argmax(logits, vocabulary)
    guard first < vocabulary else { return nil }
    var best: [(token: Int32, value: Float)] = []
    for token in 0..<vocabulary {
      let value = logits[token]
      if best.count == count {
        if value <= best[count - 1].value { continue }
        best.removeLast()
      }
      let place = best.firstIndex { $0.value < value } ?? best.count
      best.insert((Int32(token), value), at: place)
    }
    let top = logits[first]
    let logSum = Float(log(gora_softmax_weights(logits, vocabulary, top, 1)))
    return best.map { ($0.token, $0.value - top - logSum) }
  }
}

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

  /// A token from one row of logits, which it may overwrite.
  func token(_ logits: UnsafeMutablePointer<Float>, vocabulary: Int, random: inout Random) -> Int32 {
    if temperature == 0 { return Int32(gora_argmax(logits, vocabulary)) }
    gora_scale(logits, Float(1 / temperature), vocabulary)
    gora_softmax(logits, vocabulary)
    let order = (0..<vocabulary).sorted { logits[$0] > logits[$1] || (logits[$0] == logits[$1] && $0 < $1) }
    var mass = 0.0
    var nucleus = 0
    while nucleus < vocabulary {
      mass += Double(logits[order[nucleus]])
      nucleus += 1
      if mass >= topP { break }
    }
    var point = random.uniform() * mass
    for candidate in order[..<nucleus] {
      point -= Double(logits[candidate])
      if point < 0 { return Int32(candidate) }
    }
    return Int32(order[nucleus - 1])
  }
}

/// Continues prompts with a key/value cache: a batch advances together, a finished row's slot goes to the next prompt.
package struct Generator {
  private let model: Llama
  private let sampling: Sampling
  private let batchSize: Int
  private let maxNewTokens: Int
  private let endTokens: Set<Int32>

  package init(model: Llama, sampling: Sampling, batchSize: Int, maxNewTokens: Int, endTokens: [Int32]) {
    self.model = model
    self.sampling = sampling
    self.batchSize = batchSize
    self.maxNewTokens = maxNewTokens
    self.endTokens = Set(endTokens)
  }

  /// Bytes that `generate` takes at most: of keys and values, which grow until answers are as long as they may be, and of the rest.
  package func byteCounts(_ prompts: [[Int32]]) -> (cache: Int, activations: Int) {
    let (slots, capacity) = cacheSize(prompts)
    let cache = KeyValueCache.byteCount(model.config, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16)
    let firstStep = prompts.map(\.count).sorted(by: >).prefix(slots).reduce(0, +)
    return (cache, model.forwardBytes(tokens: firstStep, rows: slots))
  }

  /// Rows that advance together, and tokens that each may come to.
  private func cacheSize(_ prompts: [[Int32]]) -> (slots: Int, capacity: Int) {
    (min(batchSize, prompts.count), (prompts.map(\.count).max() ?? 0) + maxNewTokens)
  }

  /// - Parameters:
  ///   - prompts: token ids, none empty
  ///   - stops: whether a prompt's new tokens so far end it (a stop string); asked after each token
  ///   - finished: told of each prompt's new tokens, end token excluded, as it finishes
  package func generate(
    _ prompts: [[Int32]], stops: (_ prompt: Int, _ new: [Int32]) -> Bool = { _, _ in false },
    finished: (_ prompt: Int, _ new: [Int32]) -> Void
  ) {
    if prompts.isEmpty { return }
    let (slots, capacity) = cacheSize(prompts)
    let cache = KeyValueCache(config: model.config, slots: slots, capacity: capacity, isBFloat16: model.roundsToBFloat16)
    var waiting = prompts.indices.makeIterator()
    var active: [(prompt: Int, slot: Int, new: [Int32], random: Random)] = []
    var free = Array((0..<slots).reversed())
    while true {
      while let slot = free.last, let prompt = waiting.next() {
        free.removeLast()
        cache.clear(slot)
        active.append((prompt, slot, [], Random(seed: sampling.seed, stream: "generate/\(prompt)")))
      }
      if active.isEmpty { return }
      let step = CachedStep(cache: cache, rows: active.map { ($0.slot, $0.new.last.map { [$0] } ?? prompts[$0.prompt]) })
      let logits = model.next(step)
      let vocabulary = model.config.vocabularySize
      var row = 0
      var still: [(prompt: Int, slot: Int, new: [Int32], random: Random)] = []
      for var entry in active {
        let token = sampling.token(logits + row * vocabulary, vocabulary: vocabulary, random: &entry.random)
        row += 1
        let ended = endTokens.contains(token)
        if !ended { entry.new.append(token) }
        if ended || entry.new.count >= maxNewTokens || stops(entry.prompt, entry.new) {
          finished(entry.prompt, entry.new)
          free.append(entry.slot)
        } else {
          still.append(entry)
        }
      }
      active = still
    }
  }
}

/// The BPE model of a tokenizer.json: splits a word into characters and merges pairs, lowest rank first.
///
/// Order of merges, unknown characters, byte fallback and `ignore_merges` follow HF `tokenizers` `models/bpe`.
struct TokenizerBPE: Sendable {
  var vocabulary: TokenizerVocabulary
  var merges: TokenizerMerges
  /// Taken for a character that is neither in the vocabulary nor spelt by byte tokens; nil drops it.
  var unknown: Int32?
  var fusesUnknown = false
  /// A word that is a token by itself is not merged.
  var ignoresMerges = false
  /// Ids of `<0x00>`…`<0xFF>`, -1 where absent; empty without byte fallback.
  var byteTokens: [Int32]
  /// The word's bytes stand for one character each of the byte-level alphabet.
  var isByteLevel: Bool
  /// What the last character of a word is looked up with (`</w>`).
  var endOfWord: [UInt8] = []

  /// Words up to this many symbols are merged by scanning, longer ones with a heap.
  private static let scanLimit = 48

  /// Appends the tokens of one word, whose bytes are valid UTF-8.
  func tokenize(_ word: UnsafeRawBufferPointer, scratch: inout TokenizerScratch, into tokens: inout WordTokens) {
    if word.isEmpty { return }
    guard isByteLevel else { return tokenizeMapped(word, count: word.count, scratch: &scratch, into: &tokens) }
    var mapped = scratch.mapped
    scratch.mapped = []
    mapped.removeAll(keepingCapacity: true)
    for byte in word { ByteLevel.append(byte, to: &mapped) }
    mapped.withUnsafeBytes { tokenizeMapped($0, count: word.count, scratch: &scratch, into: &tokens) }
    scratch.mapped = mapped
  }

  private func tokenizeMapped(
    _ word: UnsafeRawBufferPointer, count: Int, scratch: inout TokenizerScratch, into tokens: inout WordTokens
  ) {
    if ignoresMerges, let id = vocabulary.id(of: word) { return tokens.append(id, end: count) }
    scratch.symbols.removeAll(keepingCapacity: true)
    appendCharacters(of: word, to: &scratch.symbols)
    if scratch.symbols.ids.count <= Self.scanLimit { mergeByScan(&scratch) } else { mergeByHeap(&scratch) }
    tokens.append(scratch.symbols)
  }

  private func appendCharacters(of word: UnsafeRawBufferPointer, to symbols: inout WordTokens) {
    var pending: Int32?
    var at = 0
    var end = 0
    while at < word.count {
      let next = at + utf8Length(word[at])
      let character = UnsafeRawBufferPointer(rebasing: word[at..<next])
      let start = end
      end += isByteLevel ? 1 : character.count
      at = next
      let id = at == word.count && !endOfWord.isEmpty ? vocabulary.id(of: character + endOfWord) : vocabulary.id(of: character)
      if let id {
        if let unknown = pending { symbols.append(unknown, end: start) }
        pending = nil
        symbols.append(id, end: end)
        continue
      }
      // Byte tokens do not flush a pending unknown: HF's order.
      if !byteTokens.isEmpty, character.allSatisfy({ byteTokens[Int($0)] >= 0 }) {
        for (i, byte) in character.enumerated() { symbols.append(byteTokens[Int(byte)], end: start + i + 1) }
        continue
      }
      guard let unknown else { continue }
      if let before = pending, !fusesUnknown { symbols.append(before, end: start) }
      pending = unknown
    }
    if let unknown = pending { symbols.append(unknown, end: end) }
  }

  private func mergeByScan(_ scratch: inout TokenizerScratch) {
    var count = scratch.symbols.ids.count
    if count < 2 { return }
    scratch.pairs.removeAll(keepingCapacity: true)
    scratch.symbols.ids.withUnsafeBufferPointer { symbols in
      for i in 0..<count - 1 { scratch.pairs.append(merges[symbols[i], symbols[i + 1]]) }
    }
    scratch.symbols.withUnsafeMutableBuffers { symbols, ends in
      scratch.pairs.withUnsafeMutableBufferPointer { pairs in
        while count > 1 {
          var best = 0
          for i in 1..<max(count - 1, 1) where pairs[i] &>> 32 < pairs[best] &>> 32 { best = i }
          let merge = pairs[best]
          if merge == TokenizerMerges.none { break }
          symbols[best] = Int32(truncatingIfNeeded: merge)
          count -= 1
          for i in best..<count { ends[i] = ends[i + 1] }
          for i in best + 1..<max(count, best + 1) { symbols[i] = symbols[i + 1] }
          for i in best..<max(count - 1, best) { pairs[i] = pairs[i + 1] }
          if best > 0 { pairs[best - 1] = merges[symbols[best - 1], symbols[best]] }
          if best + 1 < count { pairs[best] = merges[symbols[best], symbols[best + 1]] }
        }
      }
    }
    scratch.symbols.removeLast(scratch.symbols.ids.count - count)
  }

  /// The same result in n log n. An entry is stale when the pair at its place has another rank by now: symbols only
  /// grow, so a place never comes back to a pair it had.
  private func mergeByHeap(_ scratch: inout TokenizerScratch) {
    var symbols = scratch.symbols.ids
    let ends = scratch.symbols.ends
    let count = symbols.count
    var next = (0..<count).map { $0 + 1 }
    var previous = (0..<count).map { $0 - 1 }
    var heap = MinimumHeap<UInt64>()
    func push(_ left: Int, _ right: Int) {
      let merge = merges[symbols[left], symbols[right]]
      if merge != TokenizerMerges.none { heap.push(merge & ~0xFFFF_FFFF | UInt64(left)) }
    }
    for i in 0..<count - 1 { push(i, i + 1) }
    while let entry = heap.pop() {
      let left = Int(entry & 0xFFFF_FFFF)
      guard symbols[left] >= 0, next[left] < count else { continue }
      let right = next[left]
      let merge = merges[symbols[left], symbols[right]]
      guard merge != TokenizerMerges.none, merge &>> 32 == entry &>> 32 else { continue }
      symbols[left] = Int32(truncatingIfNeeded: merge)
      symbols[right] = -1
      next[left] = next[right]
      if next[left] < count {
        previous[next[left]] = left
        push(left, next[left])
      }
      if previous[left] >= 0 { push(previous[left], left) }
    }
    scratch.symbols.removeAll(keepingCapacity: true)
    for i in 0..<count where symbols[i] >= 0 { scratch.symbols.append(symbols[i], end: Int(ends[next[i] - 1])) }
  }
}

/// Bytes of the UTF-8 character that starts with `byte`.
@inline(__always)
func utf8Length(_ byte: UInt8) -> Int { byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4 }

/// Pairs of ids to their merge: rank in the upper, new id in the lower 32 bits.
struct TokenizerMerges: Sendable {
  /// What a pair that does not merge gives: a rank above all ranks.
  static let none = UInt64.max

  /// Whether a merge joins U+2581 to another character before it.
  var crossesMetaspace = false

  private var keys: [UInt64]
  private var values: [UInt64]
  private let shift: UInt64

  init(capacity: Int) {
    var bits = 4
    while 1 << bits < capacity + capacity / 2 { bits += 1 }
    keys = Array(repeating: .max, count: 1 << bits)
    values = Array(repeating: Self.none, count: 1 << bits)
    shift = UInt64(64 - bits)
  }

  /// - Precondition: fewer insertions of different pairs than the capacity; a repeated pair keeps the later rank, as in HF.
  mutating func insert(_ left: Int32, _ right: Int32, rank: Int, id: Int32) {
    let slot = slot(left, right)
    keys[slot] = Self.key(left, right)
    values[slot] = UInt64(rank) &<< 32 | UInt64(UInt32(bitPattern: id))
  }

  @inline(__always)
  subscript(left: Int32, right: Int32) -> UInt64 { values[slot(left, right)] }

  @inline(__always)
  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) &<< 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always)
  private func slot(_ left: Int32, _ right: Int32) -> Int {
    let key = Self.key(left, right)
    let mask = keys.count - 1
    var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> shift)
    while keys[slot] != key && keys[slot] != .max { slot = (slot + 1) & mask }
    return slot
  }
}

/// The tokens of a word and where each ends: bytes from the word's start, the next one begins there.
struct WordTokens: Sendable {
  private(set) var ids: [Int32] = []
  private(set) var ends: [Int32] = []

  mutating func append(_ id: Int32, end: Int) {
    ids.append(id)
    ends.append(Int32(truncatingIfNeeded: end))
  }

  mutating func append(_ tokens: WordTokens) { append(tokens, tokens.ids.indices) }

  mutating func append(_ tokens: WordTokens, _ range: Range<Int>) {
    ids.append(contentsOf: tokens.ids[range])
    ends.append(contentsOf: tokens.ends[range])
  }

  mutating func removeAll(keepingCapacity: Bool) {
    ids.removeAll(keepingCapacity: keepingCapacity)
    ends.removeAll(keepingCapacity: keepingCapacity)
  }

  mutating func removeLast(_ count: Int) {
    ids.removeLast(count)
    ends.removeLast(count)
  }

  mutating func withUnsafeMutableBuffers(
    _ body: (UnsafeMutableBufferPointer<Int32>, UnsafeMutableBufferPointer<Int32>) -> Void
  ) {
    ids.withUnsafeMutableBufferPointer { ids in ends.withUnsafeMutableBufferPointer { ends in body(ids, ends) } }
  }
}

/// Working memory of the model and the words seen so far with their tokens.
struct TokenizerScratch: Sendable {
  var symbols = WordTokens()
  var pairs: [UInt64] = []
  var mapped: [UInt8] = []

  private struct Entry {
    var hash: UInt64
    var key: Range<Int32>
    var tokens: Range<Int32>
  }
  private var bytes: [UInt8] = []
  private var tokens = WordTokens()
  private var entries: [Entry] = []
  /// Open addressing; -1 is an empty slot.
  private var slots: [Int32] = []
  private static let slotCount = 1 << 17
  private static let longestWord = 64

  /// Appends the tokens of a word, from memory where the word was seen before.
  mutating func tokenize(_ word: UnsafeRawBufferPointer, with model: TokenizerModel, into output: inout WordTokens) {
    if word.count > Self.longestWord { return model.tokenize(word, scratch: &self, into: &output) }
    if slots.isEmpty || entries.count * 2 > Self.slotCount { forget() }
    let hash = tokenizerHash(word)
    var slot = Int(truncatingIfNeeded: hash) & (Self.slotCount - 1)
    while slots[slot] >= 0 {
      let entry = entries[Int(slots[slot])]
      if entry.hash == hash, entry.key.count == word.count, holds(word, at: Int(entry.key.lowerBound)) {
        return output.append(tokens, Int(entry.tokens.lowerBound)..<Int(entry.tokens.upperBound))
      }
      slot = (slot + 1) & (Self.slotCount - 1)
    }
    let start = output.ids.count
    model.tokenize(word, scratch: &self, into: &output)
    let key = Int32(bytes.count)
    let first = Int32(tokens.ids.count)
    bytes.append(contentsOf: word)
    tokens.append(output, start..<output.ids.count)
    slots[slot] = Int32(entries.count)
    entries.append(Entry(hash: hash, key: key..<Int32(bytes.count), tokens: first..<Int32(tokens.ids.count)))
  }

  @inline(__always)
  private func holds(_ word: UnsafeRawBufferPointer, at start: Int) -> Bool {
    for i in 0..<word.count where bytes[start + i] != word[i] { return false }
    return true
  }

  private mutating func forget() {
    bytes.removeAll(keepingCapacity: true)
    tokens.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
    slots = Array(repeating: -1, count: Self.slotCount)
  }
}

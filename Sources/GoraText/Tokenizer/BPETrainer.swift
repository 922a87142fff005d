import GoraFormats

/// Trains a small byte-level BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909) for base models of this project.
package enum BPETrainer {
  /// A complete tokenizer.json, which HF `tokenizers` and `Tokenizer` read alike.
  ///
  /// Text is cut as Qwen 2 cuts it, so every digit is a token of its own and words take their space along. Ids: the
  /// special tokens in their order, the 256 bytes in the order of their characters, the merges. The first special token
  /// is put in front of a text on request (TemplateProcessing). The same lines give the same JSON: of equally frequent
  /// pairs the one with the lower ids is merged first.
  /// - Parameters:
  ///   - vocabularySize: number of tokens at most; training ends earlier when no pair occurs twice. Special tokens and
  ///     bytes are there in any case.
  ///   - specialTokens: different texts of two characters or more, such as `<s>` and `</s>`.
  package static func train(text: [String], vocabularySize: Int, specialTokens: [String]) -> JSON {
    var training = Training(specialTokens: specialTokens)
    training.count(text)
    training.merge(upTo: vocabularySize)
    return json(specialTokens: specialTokens, training)
  }

  private static let split = TokenizerSplit(pattern: .words(digits: 1), behavior: .isolated)

  private struct Pair: Comparable {
    var count: Int
    var left: Int32
    var right: Int32

    /// Most frequent first, then lower ids.
    static func < (a: Pair, b: Pair) -> Bool { (-a.count, a.left, a.right) < (-b.count, b.left, b.right) }

    var key: UInt64 { UInt64(left) << 32 | UInt64(right) }
  }

  private struct Training {
    /// Spelling of each id in the byte-level alphabet.
    var tokens: [[UInt8]]
    var merges: [(Int32, Int32)] = []
    private var ids: [[UInt8]: Int32] = [:]
    private let specialCount: Int
    private var byteIds = [Int32](repeating: 0, count: 256)
    private var words: [(symbols: [Int32], count: Int)] = []
    private var counts: [UInt64: Int] = [:]
    /// Words in which a pair stood at some time.
    private var places: [UInt64: Set<Int>] = [:]
    private var heap = MinimumHeap<Pair>()

    init(specialTokens: [String]) {
      tokens = specialTokens.map { Array($0.utf8) }
      specialCount = tokens.count
      for byte in (0...255).sorted(by: { ByteLevel.characters[$0] < ByteLevel.characters[$1] }) {
        byteIds[byte] = Int32(tokens.count)
        var spelling: [UInt8] = []
        ByteLevel.append(UInt8(byte), to: &spelling)
        tokens.append(spelling)
      }
      for (id, token) in tokens.enumerated() { ids[token] = Int32(id) }
      precondition(ids.count == tokens.count, "special tokens must differ from one another and from single characters")
    }

    /// Cuts the lines into words and counts the pairs in them.
    mutating func count(_ text: [String]) {
      var frequencies: [[UInt8]: Int] = [:]
      for line in text {
        var pieces = TextPieces(AlignedText(Array(line.utf8), tracksSources: false))
        pieces.split(BPETrainer.split)
        for range in pieces.ranges where range.count > 1 { frequencies[Array(pieces.text.bytes[range]), default: 0] += 1 }
      }
      words = frequencies.map { word, count in (word.map { byteIds[Int($0)] }, count) }
      for (i, word) in words.enumerated() { addPairs(of: word.symbols, word.count, at: i) }
      for (key, count) in counts { heap.push(pair(key, count)) }
    }

    private func pair(_ key: UInt64, _ count: Int) -> Pair {
      Pair(count: count, left: Int32(key >> 32), right: Int32(key & 0xFFFF_FFFF))
    }

    private mutating func addPairs(of symbols: [Int32], _ count: Int, at word: Int) {
      for (left, right) in zip(symbols, symbols.dropFirst()) {
        let key = UInt64(left) << 32 | UInt64(right)
        counts[key, default: 0] += count
        if count > 0 { places[key, default: []].insert(word) }
      }
    }

    mutating func merge(upTo vocabularySize: Int) {
      while tokens.count < vocabularySize, let best = heap.pop(), best.count >= 2 {
        // The heap keeps old counts; the true one may have fallen since.
        let count = counts[best.key] ?? 0
        if count != best.count {
          if count > 0, count < best.count { heap.push(pair(best.key, count)) }
          continue
        }
        let spelling = tokens[Int(best.left)] + tokens[Int(best.right)]
        let known = ids[spelling]
        // A text must not spell a special token.
        if let known, known < specialCount { continue }
        let id = known ?? Int32(tokens.count)
        if known == nil {
          ids[spelling] = id
          tokens.append(spelling)
        }
        merges.append((best.left, best.right))
        replace(best, by: id)
      }
    }

    private mutating func replace(_ pair: Pair, by id: Int32) {
      var changed: Set<UInt64> = []
      for i in places.removeValue(forKey: pair.key) ?? [] {
        let (old, count) = words[i]
        var new: [Int32] = []
        var at = 0
        while at < old.count {
          if at + 1 < old.count, old[at] == pair.left, old[at + 1] == pair.right {
            new.append(id)
            at += 2
          } else {
            new.append(old[at])
            at += 1
          }
        }
        addPairs(of: old, -count, at: i)
        addPairs(of: new, count, at: i)
        words[i].symbols = new
        for (left, right) in zip(new, new.dropFirst()) where left == id || right == id {
          changed.insert(UInt64(left) << 32 | UInt64(right))
        }
      }
      counts[pair.key] = nil
      for key in changed { heap.push(self.pair(key, counts[key] ?? 0)) }
    }
  }

  private static func json(specialTokens: [String], _ training: Training) -> JSON {
    let tokens = training.tokens.map { String(decoding: $0, as: UTF8.self) }
    let added = specialTokens.enumerated().map { id, content in
      JSON.object([
        "id": JSON(id), "content": JSON(content), "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
      ])
    }
    let byteLevel: JSON = .object([
      "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    ])
    let regex = TokenizerPattern.known.first { $0.pattern == split.pattern }.map { JSON($0.regex) } ?? nil
    return .object([
      "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": JSON(added), "normalizer": nil,
      "pre_tokenizer": .object([
        "type": "Sequence",
        "pretokenizers": [
          .object([
            "type": "Split", "pattern": .object(["Regex": regex]), "behavior": JSON(split.behavior.rawValue),
            "invert": false,
          ]), byteLevel,
        ],
      ]),
      "post_processor": specialTokens.first.map(template) ?? nil, "decoder": byteLevel,
      "model": .object([
        "type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
        "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": JSON(.object(tokens.enumerated().map { JSON.Member($1, JSON($0)) })),
        "merges": JSON(training.merges.map { [JSON(tokens[Int($0.0)]), JSON(tokens[Int($0.1)])] }),
      ]),
    ])
  }

  /// Puts the token, whose id is 0, in front of every text.
  private static func template(_ token: String) -> JSON {
    func special(_ type: Int) -> JSON { .object(["SpecialToken": .object(["id": JSON(token), "type_id": JSON(type)])]) }
    func sequence(_ id: String, _ type: Int) -> JSON {
      .object(["Sequence": .object(["id": JSON(id), "type_id": JSON(type)])])
    }
    let entry: JSON = .object(["id": JSON(token), "ids": [0], "tokens": [JSON(token)]])
    return .object([
      "type": "TemplateProcessing", "single": [special(0), sequence("A", 0)],
      "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
      "special_tokens": JSON(.object([JSON.Member(token, entry)])),
    ])
  }
}

import Glibc
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// Beam search and likelihoods of choices against Transformers in float64 (Fixtures/tasks).
@Suite struct BeamSearchTests {
  init() throws {
    try Matmul.open()
    ThreadPool.start(threads: 2)
  }

  /// The same tokens, prompt by prompt and all prompts of a setting together.
  @Test func tokens() throws {
    let model = try Fixtures.model("llama")
    let cases = try Fixtures.golden("tasks").required("beams").elements
    var lengths: Set<Int> = []
    var start = 0
    while start < cases.count {
      let first = cases[start]
      let (beams, length) = (try first.required("beams").int, try first.required("length").int)
      let ends = try first.required("ends").ints.map(Int32.init)
      var group: [JSONField] = []
      while start < cases.count, try cases[start].required("beams").int == beams,
        try cases[start].required("length").int == length,
        try cases[start].required("ends").ints.map(Int32.init) == ends
      {
        group.append(cases[start])
        start += 1
      }
      let prompts = try group.map { try $0.required("prompt").ints.map(Int32.init) }
      let expected = try group.map { try $0.required("tokens").ints.map(Int32.init) }
      for batchSize in [1, 4] {
        var found = [[Int32]](repeating: [], count: prompts.count)
        try BeamSearch(model: model, beams: beams, batchSize: batchSize, maxNewTokens: length, endTokens: ends)
          .generate(prompts) { found[$0] = $1 }
        #expect(found == expected, "\(beams) beams, ends \(ends)")
      }
      lengths.formUnion(expected.map(\.count))
    }
    // Some end before they must.
    #expect(lengths.count > 5)
  }

  /// One beam of one step takes what is likeliest; a stop ends a continuation.
  @Test func limits() throws {
    let model = try Fixtures.model("llama")
    var (greedy, stopped): ([Int32], [Int32]) = ([], [])
    try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: 9, endTokens: []).generate([[1, 30]]) {
      greedy = $1
    }
    var one: [Int32] = []
    try BeamSearch(model: model, beams: 1, batchSize: 1, maxNewTokens: 9, endTokens: []).generate([[1, 30]]) { one = $1 }
    #expect(one == greedy)
    try BeamSearch(model: model, beams: 3, batchSize: 2, maxNewTokens: 9, endTokens: [])
      .generate([[1, 30]], stops: { _, new in new.count == 4 }) { stopped = $1 }
    #expect(stopped.count == 4)
    try BeamSearch(model: model, beams: 3, batchSize: 2, maxNewTokens: 9, endTokens: []).generate([]) { _, _ in
      Issue.record("none")
    }
  }

  @Test func notFinite() throws {
    let model = try Fixtures.model("llama")
    let norm = try #require(model.parameters.first { $0.name == "model.norm.weight" })
    try #require(norm.values).pointer[3] = .nan
    let search = BeamSearch(model: model, beams: 2, batchSize: 2, maxNewTokens: 3, endTokens: [])
    let error = #expect(throws: GoraError.self) { try search.generate([[1, 2]], rows: [6]) { _, _ in } }
    #expect(error?.status == .negative && error?.problem.hasPrefix("row 7: ") == true)
  }

  /// Σ log p within 1e-4, the issue's bound; f32 products of this model lose 1e-5 of sums of up to 20.
  @Test(arguments: [1, 3, 100]) func likelihoods(_ batchSize: Int) throws {
    let model = try Fixtures.model("llama")
    let cases = try Fixtures.golden("tasks").required("choices").elements.map { try $0.required("choices").elements }
    let questions = try cases.map { choices in
      try choices.map {
        ChoiceScorer.Choice(ids: try $0.required("ids").ints.map(Int32.init), context: try $0.required("context").int)
      }
    }
    var told = 0
    try ChoiceScorer(model: model, batchSize: batchSize).score(questions) { question, found in
      #expect(question == told)
      told += 1
      do {
        let expected = try cases[question].map { try $0.required("log_likelihood").double }
        #expect(found.count == expected.count)
        for (a, b) in zip(found, expected) { #expect(abs(a - b) < 1e-4, "question \(question): \(a), \(b)") }
      } catch { Issue.record(error) }
    }
    #expect(told == questions.count)
    let bytes = ChoiceScorer(model: model, batchSize: batchSize).byteCounts(questions)
    // Two layers of two heads of 8 floats, keys and values, of 152 tokens; the largest question has three choices, all have eleven.
    #expect(bytes.cache == 2 * 2 * 16 * 4 * 152 * (batchSize < 100 ? 3 : 11))
  }

  /// A row goes on by several tokens: the same logits as of the whole row, with windows and soft caps too.
  @Test func severalTokensAtOnce() throws {
    let golden = try Fixtures.golden("families")
    let windowed = try Fixtures.model(of: golden, "gemma2", in: "families")
    for (name, model) in [("llama", try Fixtures.model("llama")), ("llama", windowed)] {
      let row = try Fixtures.rows(name)[0].ids.prefix(14).map { $0 % Int32(model.vocabularySize) }
      let batch = PackedBatch(rows: [(row, [Int32](repeating: -100, count: row.count))])
      let whole = model.logits(batch)
      let cache = KeyValueCache(model.cachedWidth, slots: 3, capacity: 20, isBFloat16: false)
      _ = model.next(CachedStep(cache: cache, rows: [(1, Array(row[..<6]))]))
      cache.copy(1, to: 2)
      for slot in [1, 2] {
        let last = model.next(CachedStep(cache: cache, rows: [(slot, Array(row[6...]))]))
        let logits = Array(UnsafeBufferPointer(start: last, count: model.vocabularySize))
        #expect(relativeError(logits, Array(whole.suffix(model.vocabularySize))) < 1e-5)
      }
      let losses = model.losses(
        CachedStep(cache: cache, rows: [(0, row)]), targets: [(token: 2, label: 5), (token: 13, label: 9)])
      for (loss, (token, label)) in zip(losses, [(2, 5), (13, 9)]) {
        let logits = whole[(token * model.vocabularySize)..<((token + 1) * model.vocabularySize)].map(Double.init)
        let top = logits.max() ?? 0
        #expect(abs(loss - (top + log(logits.reduce(0) { $0 + exp($1 - top) }) - logits[label])) < 1e-5)
      }
    }
  }
}

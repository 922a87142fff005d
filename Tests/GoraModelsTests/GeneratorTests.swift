import GoraCore
import GoraFormats
import Testing

import Glibc
@testable import GoraModels

@Suite struct GeneratorTests {
  init() throws {
    try Matmul.open()
    ThreadPool.start(threads: 2)
  }

  /// Exact probabilities of the token after `prompt`, in double from the model's logits; outside the nucleus 0.
  static func probabilities(_ model: Decoder, _ prompt: [Int32], temperature: Double, topP: Double) -> [Double] {
    let batch = PackedBatch(rows: [(prompt, [Int32](repeating: -100, count: prompt.count))])
    let last = model.logits(batch).suffix(model.config.vocabularySize).map { Double($0) / temperature }
    let top = last.max() ?? 0
    let weights = last.map { exp($0 - top) }
    let total = weights.reduce(0, +)
    let all = weights.map { $0 / total }
    var kept = [Double](repeating: 0, count: all.count)
    var mass = 0.0
    for i in all.indices.sorted(by: { all[$0] > all[$1] }) {
      if mass >= topP { break }
      kept[i] = all[i]
      mass += all[i]
    }
    return kept.map { $0 / mass }
  }

  /// χ² of 2000 first tokens; cells of less than eight expected draws are put together.
  @Test(arguments: [(1.0, 1.0), (0.7, 1.0), (1.0, 0.6), (2.0, 0.9)]) func distribution(temperature: Double, topP: Double) throws {
    let model = try Fixtures.model("llama")
    let prompt: [Int32] = [1, 33, 62]
    let expected = Self.probabilities(model, prompt, temperature: temperature, topP: topP)
    let draws = 2000
    var counts = [Int](repeating: 0, count: expected.count)
    try Generator(
      model: model, sampling: Sampling(temperature: temperature, topP: topP, seed: 3), batchSize: 50, maxNewTokens: 1,
      endTokens: []
    ).generate([[Int32]](repeating: prompt, count: draws)) { counts[Int($1[0])] += 1 }
    #expect(counts.reduce(0, +) == draws)
    var rest = (expected: 0.0, count: 0)
    var cells: [(expected: Double, count: Int)] = []
    for (i, probability) in expected.enumerated() {
      if probability == 0 { #expect(counts[i] == 0, "token \(i) is outside the nucleus") }
      if probability * Double(draws) < 8 {
        rest.expected += probability * Double(draws)
        rest.count += counts[i]
      } else {
        cells.append((probability * Double(draws), counts[i]))
      }
    }
    if rest.expected > 0 { cells.append(rest) }
    let statistic = cells.reduce(0.0) { $0 + (Double($1.count) - $1.expected) * (Double($1.count) - $1.expected) / $1.expected }
    let freedom = Double(cells.count - 1)
    #expect(cells.count > 5)
    #expect(statistic < freedom + 4 * (2 * freedom).squareRoot())
    // And it is no greedy choice in disguise.
    #expect(counts.filter { $0 > 0 }.count > 5)
  }

  @Test func seeds() throws {
    let model = try Fixtures.model("llama")
    func sample(_ seed: UInt64) throws -> [[Int32]] {
      var results = [[Int32]](repeating: [], count: 3)
      try Generator(model: model, sampling: Sampling(temperature: 1, seed: seed), batchSize: 2, maxNewTokens: 8, endTokens: [])
        .generate([[1, 2], [1, 2], [1, 5, 9]]) { results[$0] = $1 }
      return results
    }
    let first = try sample(1)
    #expect(try sample(1) == first)
    #expect(try sample(2) != first)
    // Equal prompts get numbers of their own.
    #expect(first[0] != first[1])
  }

  static let prompts: [[Int32]] = [
    [1], [1, 62, 40, 55, 25, 11, 34], [1, 30], [9, 9, 9, 9], [1, 30, 43, 63, 19, 55, 11, 24, 51, 18, 43], [7, 3, 60],
    [1, 2, 3, 4, 5],
  ]

  /// Seven prompts through three slots, rows ending at different times: each as if it were alone.
  @Test(arguments: LlamaGoldenTests.models, [0, 0.8]) func slotsEqualOneByOne(_ name: String, temperature: Double) throws {
    let model = try Fixtures.model(name)
    func run(_ batchSize: Int) throws -> [[Int32]] {
      var results = [[Int32]](repeating: [], count: Self.prompts.count)
      var told = [Int](repeating: 0, count: Self.prompts.count)
      try Generator(
        model: model, sampling: Sampling(temperature: temperature, seed: 5), batchSize: batchSize, maxNewTokens: 14,
        endTokens: [33, 53, 14, 2]
      ).generate(Self.prompts, stops: { prompt, new in new.count == 4 + prompt }) {
        results[$0] = $1
        told[$0] += 1
      }
      #expect(told.allSatisfy { $0 == 1 })
      return results
    }
    let alone = try run(1)
    #expect(try run(3) == alone)
    #expect(try run(100) == alone)
    #expect(Set(alone.map(\.count)).count > 2)
  }

  /// The cache's next tokens are those of the whole row run again from its beginning.
  @Test(arguments: LlamaGoldenTests.models) func cacheEqualsRunningAgain(_ name: String) throws {
    let model = try Fixtures.model(name)
    for prompt in Self.prompts.prefix(3) {
      var row = prompt
      for _ in 0..<10 {
        let batch = PackedBatch(rows: [(row, [Int32](repeating: -100, count: row.count))])
        let last = Array(model.logits(batch).suffix(model.config.vocabularySize))
        row.append(Int32(try #require(last.firstIndex(of: last.max() ?? 0))))
      }
      var result: [Int32] = []
      try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: 10, endTokens: []).generate([prompt]) {
        result = $1
      }
      #expect(result == Array(row.dropFirst(prompt.count)))
    }
  }

  /// A bf16 model's cache is in bf16. Keys were rounded before, values lose 2⁻⁹, and other roundings downstream fall out
  /// differently: as much as bf16 itself loses (`bf16Precision`), 2e-2 over all positions. A CPU that multiplies bf16 itself rounds the
  /// whole row's weights and values too.
  @Test func cacheInBFloat16() throws {
    let model = try Fixtures.model("llama-bf16", precision: .bf16)
    let row = Array(try Fixtures.rows("llama-bf16")[0].ids.prefix(12))
    let vocabulary = model.config.vocabularySize
    let expected = model.logits(PackedBatch(rows: [(row, [Int32](repeating: -100, count: row.count))]))
    for isBFloat16 in [false, true] {
      let cache = KeyValueCache(model.cachedWidth, slots: 2, capacity: row.count, isBFloat16: isBFloat16)
      var logits: [Float] = []
      for count in 5...row.count {
        let new = Array(count == 5 ? row[..<5] : row[(count - 1)..<count])
        let last = model.next(CachedStep(cache: cache, rows: [(1, new)]))
        logits += UnsafeBufferPointer(start: last, count: vocabulary)
      }
      let error = relativeError(logits, Array(expected[(4 * vocabulary)...]))
      if isBFloat16 { #expect(error < 2e-2 && error > 1e-4) } else { #expect(error < (Matmul.hasBFloat16 ? 2e-2 : 1e-5)) }
    }
  }

  /// By hand: keys and values, 2 layers, 2 slots of 5 + 8 tokens, 2 heads of 8; no more slots than prompts.
  @Test func bytesOfCache() throws {
    let prompts: [[Int32]] = [[1, 2, 3], [1, 2, 3, 4, 5], [1]]
    func bytes(_ name: String, _ precision: Precision, batchSize: Int) throws -> Int {
      Generator(
        model: try Fixtures.model(name, precision: precision), sampling: Sampling(), batchSize: batchSize, maxNewTokens: 8,
        endTokens: []
      ).byteCounts(prompts).cache
    }
    #expect(try bytes("llama", .f32, batchSize: 2) == 2 * 2 * 2 * 13 * 16 * 4)
    #expect(try bytes("llama-bf16", .bf16, batchSize: 2) == 2 * 2 * 2 * 13 * 16 * 2)
    #expect(try bytes("llama", .f32, batchSize: 1) == 2 * 2 * 13 * 16 * 4)
    #expect(try bytes("llama", .f32, batchSize: 9) == 2 * 2 * 3 * 13 * 16 * 4)
  }

  /// A row's numbers are its own: other rows beside it, or before it, move none of its tokens.
  @Test func numbersOfARow() throws {
    let model = try Fixtures.model("llama")
    func sample(_ rows: [Int]) throws -> [Int: [Int32]] {
      var results: [Int: [Int32]] = [:]
      try Generator(model: model, sampling: Sampling(temperature: 1, seed: 4), batchSize: 2, maxNewTokens: 8, endTokens: [])
        .generate(rows.map { Self.prompts[$0] }, rows: rows) { results[rows[$0]] = $1 }
      return results
    }
    let all = try sample([4, 1, 6, 3, 5, 2, 0])
    #expect(try sample([2]) == all.filter { $0.key == 2 })
    #expect(try sample([3, 0, 6]) == all.filter { [0, 3, 6].contains($0.key) })
  }

  /// More tokens of prompts than go through the model at once: each row as if it were alone, and no more memory.
  @Test func promptsInPieces() throws {
    let model = try Fixtures.model("llama")
    let prompts = (0..<60).map { (row: Int) -> [Int32] in
      (0..<50).map { (column: Int) -> Int32 in Int32(3 + (7 * row + 5 * column + row * column) % 60) }
    }
    let generator = Generator(model: model, sampling: Sampling(), batchSize: 60, maxNewTokens: 3, endTokens: [])
    var together = [[Int32]](repeating: [], count: prompts.count)
    try generator.generate(prompts) { together[$0] = $1 }
    for (row, prompt) in prompts.enumerated() {
      try generator.generate([prompt]) { #expect(together[row] == $1) }
    }
    #expect(generator.byteCounts(prompts).activations < 2 * generator.byteCounts(Array(prompts.prefix(30))).activations)
  }

  /// No token is chosen from what is not finite.
  @Test(arguments: [0, 1.0]) func notFinite(_ temperature: Double) throws {
    let model = try Fixtures.model("llama")
    let norm = try #require(model.parameters.first { $0.name == "model.norm.weight" })
    try #require(norm.values).pointer[3] = .nan
    let generator = Generator(
      model: model, sampling: Sampling(temperature: temperature), batchSize: 2, maxNewTokens: 3, endTokens: [])
    let error = #expect(throws: GoraError.self) { try generator.generate([[1, 2]], rows: [6]) { _, _ in } }
    #expect(error?.status == .negative && error?.problem.hasPrefix("row 7: ") == true)
  }

  /// A temperature that 1/x of is infinite in single precision is greedy.
  @Test(arguments: [1e-40, 1e-300, .leastNonzeroMagnitude]) func coldest(_ temperature: Double) throws {
    let model = try Fixtures.model("llama")
    func run(_ temperature: Double) throws -> [Int32] {
      var result: [Int32] = []
      try Generator(model: model, sampling: Sampling(temperature: temperature), batchSize: 1, maxNewTokens: 12, endTokens: [])
        .generate([[1, 33, 62]]) { result = $1 }
      return result
    }
    #expect(try run(temperature) == run(0))
  }

  /// An end token ends the row and is not part of it; a stop ends it after the token that asked for it.
  @Test func ends() throws {
    let model = try Fixtures.model("llama")
    let golden = try Fixtures.golden("llama").required("greedy").elements[0]
    let prompt = try golden.required("prompt").ints.map { Int32($0) }
    let tokens = try golden.required("tokens").ints.map { Int32($0) }
    func run(_ ends: [Int32], _ limit: Int, _ stops: @escaping (Int, [Int32]) -> Bool = { _, _ in false }) throws -> [Int32] {
      var result: [Int32] = []
      try Generator(model: model, sampling: Sampling(), batchSize: 4, maxNewTokens: limit, endTokens: ends)
        .generate([prompt], stops: stops) { result = $1 }
      return result
    }
    let end = tokens[5]
    let first = try #require(tokens.firstIndex(of: end))
    #expect(try run([end], 20) == Array(tokens[..<first]))
    #expect(try run([end, tokens[1]], 20) == Array(tokens[..<1]))
    #expect(try run([tokens[0]], 20).isEmpty)
    #expect(try run([], 1) == Array(tokens[..<1]))
    #expect(try run([], 20) { prompt, new in prompt == 0 && new.count == 7 } == Array(tokens[..<7]))
    #expect(try run([], 20) { _, new in new.contains(32) } == Array(tokens[...(tokens.firstIndex(of: 32) ?? 0)]))
    try Generator(model: model, sampling: Sampling(), batchSize: 4, maxNewTokens: 3, endTokens: []).generate([]) { _, _ in
      Issue.record("no prompt, no result")
    }
  }
}

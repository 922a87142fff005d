import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// Windows, rotary kinds and whole configurations beside Transformers in float64 (Fixtures/attention/make_fixtures.py).
@Suite(.serialized) struct AttentionFixtureTests {
  static let golden = try! Fixtures.golden("attention")
  static let cases = try! golden.required("cases").members.map(\.key)
  static let configs = try! golden.required("configs").members.map(\.key)
  static let rows = try! golden.required("rows").elements.map { try $0.ints.map(Int32.init) }

  init() throws {
    try Matmul.open()
    ThreadPool.start(threads: 2)
  }

  static func model(_ name: String) throws -> Decoder { try Fixtures.model(of: golden, name, in: "attention") }

  /// Rows of 7, 40 and 300 tokens, packed: windows shorter and longer than they are, and limits of lengths between them.
  /// A missing key, or one too many, moves these numbers by 1e-2 or more; f32 by some 1e-6.
  @Test(arguments: cases) func logitsAndLoss(_ name: String) throws {
    let model = try Self.model(name)
    let batch = PackedBatch(rows: Self.rows.map { ($0, $0) })
    let logits = model.logits(batch)
    let vocabulary = model.config.vocabularySize
    let last = batch.starts.dropFirst().flatMap { logits[($0 - 4) * vocabulary..<$0 * vocabulary] }
    #expect(relativeError(last, try #require(try Fixtures.tensors("attention/golden.safetensors")["\(name)/logits"])) < 1e-4)
    let loss = try Self.golden.required("cases").required(name).required("loss").double
    #expect(abs(model.loss(batch) / Double(batch.targets.count) - loss) < 1e-4)
  }

  @Test(arguments: cases, [1, 2, 7]) func gradients(_ name: String, threads: Int) throws {
    let model = try Self.model(name)
    ThreadPool.start(threads: threads)
    let batch = PackedBatch(rows: Self.rows.map { ($0, $0) })
    let expected = try Fixtures.tensors("attention/golden.safetensors")
    for parameter in model.parameters { parameter.makeTrainable() }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    var compared = 0
    for parameter in model.parameters {
      guard let exact = expected["\(name)/gradient/\(parameter.name)"] else { continue }
      compared += 1
      if parameter.gradient!.array.allSatisfy({ abs($0) < 1e-6 }) {
        // A window of one key: nothing flows to queries and keys.
        #expect(exact.allSatisfy { abs($0) < 1e-6 }, "\(parameter.name)")
      } else {
        #expect(relativeError(parameter.gradient!.array, exact) < 2e-4, "\(parameter.name)")
      }
    }
    #expect(compared == 7)
  }

  /// Transformers' own continuations; over the limit of a rotary kind the keys that are cached keep their old angles, as there.
  /// Not with a window of one key: Transformers' cache then keeps all keys, and its continuation is not that of its own forward
  /// pass.
  @Test(arguments: cases.filter { $0 != "window-1" }) func greedy(_ name: String) throws {
    let model = try Self.model(name)
    let prompt = Array(Self.rows[1].prefix(try Self.golden.required("prompt").int))
    let expected = try Self.golden.required("cases").required(name).required("greedy").ints.map(Int32.init)
    var result: [Int32] = []
    try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: expected.count, endTokens: [])
      .generate([prompt]) { result = $1 }
    #expect(result == expected)
  }

  /// The cache's next tokens are those of the whole row run again; rotary kinds that follow the length are Transformers' above.
  @Test(arguments: cases.filter { !["dynamic", "longrope"].contains($0) }) func cacheEqualsRunningAgain(_ name: String) throws {
    let model = try Self.model(name)
    let prompt = Array(Self.rows[1].prefix(9))
    var row = prompt
    for _ in 0..<20 {
      let last = Array(model.logits(PackedBatch(rows: [(row, row)])).suffix(model.config.vocabularySize))
      row.append(Int32(try #require(last.firstIndex(of: last.max() ?? 0))))
    }
    var result: [Int32] = []
    try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: 20, endTokens: [])
      .generate([prompt]) { result = $1 }
    #expect(prompt + result == row)
  }

  /// What configuration classes say: sizes, defaults, windows, frequencies of short and long rows.
  @Test(arguments: configs) func configuration(_ name: String) throws {
    let test = try Self.golden.required("configs").required(name)
    let text = [UInt8](try test.required("config").value.compact().utf8)
    let config = try DecoderConfig(reading: JSONDocument(path: "config.json", text: text))
    func int(_ key: String) throws -> Int { try test.required(key).int }
    #expect(try config.hiddenSize == int("hidden") && config.intermediateSize == int("intermediate"))
    #expect(try config.layers == int("layers") && config.heads == int("heads") && config.keyValueHeads == int("key_value_heads"))
    #expect(try config.headSize == int("head_size") && config.vocabularySize == int("vocabulary"))
    #expect(try config.maxPositions == int("max_positions") && config.parameterCount == int("parameters"))
    #expect(config.normEpsilon == Float(try test.required("epsilon").double))
    // −1 stands for none.
    let bos = try test.optional("bos")?.int ?? -1
    #expect(Int(config.bosToken ?? -1) == bos)
    #expect(try config.eosTokens.map(Int.init) == test.required("eos").ints)
    let windows = try test.required("windows").elements.map { $0.value.content == .null ? nil : try $0.int }
    #expect(config.windows == windows)
    #expect(abs(config.rotary.attentionFactor - (try test.required("attention_factor").double)) < 1e-6)
    let lengths = try Self.golden.required("lengths").ints
    for (length, row) in zip(lengths, try test.required("frequencies").elements) {
      let all = config.rotary.inverseFrequencies(headSize: config.headSize, length: length)
      let found = [0, 1, 9, 20, 40, all.count - 1].map { all[$0] }
      for (frequency, exact) in zip(found, try row.elements.map { try $0.double }) {
        #expect(abs(frequency - exact) <= 1e-6 * exact, "length \(length)")
      }
    }
  }
}

import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// GGUF files of the tiny models beside PyTorch, and beside folders of their decoded weights (Fixtures/gguf).
@Suite(.serialized) struct GGUFModelTests {
  init() { ThreadPool.start(threads: 2) }

  static func model(_ name: String, precision: Precision = .f32) throws -> Decoder {
    try Matmul.open()
    let folder = try ModelFolder(path: "\(Fixtures.folder)/gguf/\(name)")
    return try Decoder(config: DecoderConfig(of: folder), from: CheckpointSource(folder: folder, precision: precision))
  }

  /// The configuration is that of the folder that the file was made from; Llama 3's scaling comes as divisors, which f32 rounds.
  @Test(arguments: ["llama3", "qwen2", "mistral"]) func configuration(_ name: String) throws {
    let file = try DecoderConfig(of: ModelFolder(path: "\(Fixtures.folder)/gguf/\(name).gguf"))
    var folder = try DecoderConfig(of: ModelFolder(path: "\(Fixtures.folder)/\(name)/model"))
    let (own, golden) = (file.rotary, folder.rotary)
    for (a, b) in zip(
      own.inverseFrequencies(headSize: file.headSize, length: 1000), golden.inverseFrequencies(headSize: file.headSize))
    {
      #expect(abs(a - b) <= 1e-7 * b)
    }
    #expect(own.theta == golden.theta && own.attentionFactor == golden.attentionFactor)
    // Mistral is an architecture of its own at Hugging Face alone, and the rest is not in the file or says nothing of the numbers.
    folder.rotary = own
    (folder.modelType, folder.bosToken, folder.eosTokens) = (file.modelType, file.bosToken, file.eosTokens)
    (folder.notes, folder.initializerRange) = (file.notes, file.initializerRange)
    #expect(file == folder)
  }

  /// q and k put back in order, biases too, tied and untied embeddings, each rotary setting: the tolerances of `LlamaGoldenTests`.
  @Test(arguments: ["llama3", "qwen2", "mistral"]) func goldenGradients(_ name: String) throws {
    let model = try Self.model("\(name).gguf")
    let batch = PackedBatch(rows: try Fixtures.rows(name))
    let expected = try Fixtures.tensors("\(name)/golden.safetensors")
    for parameter in model.parameters { parameter.makeTrainable() }
    let loss = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count)) / Double(batch.targets.count)
    #expect(abs(loss - (try Fixtures.golden(name).required("token_mean_loss").double)) < 1e-4)
    for parameter in model.parameters {
      let error = relativeError(parameter.gradient!.array, try #require(expected["gradient/\(parameter.name)"]))
      #expect(error < 2e-4, "\(parameter.name)")
    }
  }

  /// Qwen3 with the norms of its heads: the configuration and the gradients of the same case from a folder.
  @Test func qwen3() throws {
    let (model, folder) = (try Self.model("qwen3.gguf"), try FamilyFixtureTests.model("qwen3"))
    var config = model.config
    (config.bosToken, config.notes) = (folder.config.bosToken, folder.config.notes)
    #expect(config == folder.config)
    let batch = PackedBatch(rows: FamilyFixtureTests.rows.map { ($0, $0) })
    let expected = try Fixtures.tensors("families/golden.safetensors")
    for parameter in model.parameters { parameter.makeTrainable() }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    for parameter in model.parameters {
      let error = relativeError(parameter.gradient!.array, try #require(expected["qwen3/gradient/\(parameter.name)"]))
      #expect(error < 2e-4, "\(parameter.name)")
    }
  }

  /// Gemma's norms less one, caps, windows and both rotary bases, scores over the root of a head's size: the same model as the folder of the
  /// same case that says so. A norm's 1 is taken off and added again, which f32 rounds.
  @Test(arguments: ["gemma2", "gemma3"]) func gemma(_ name: String) throws {
    let model = try Self.model("\(name).gguf")
    let folder = try Fixtures.model(
      of: FamilyFixtureTests.golden, name, in: "families", changed: ["query_pre_attn_scalar": "8"])
    var config = model.config
    (config.bosToken, config.notes) = (folder.config.bosToken, folder.config.notes)
    #expect(config == folder.config)
    let batch = PackedBatch(rows: FamilyFixtureTests.rows.map { ($0, $0) })
    #expect(relativeError(model.logits(batch), folder.logits(batch)) < 1e-6)
    // And another one than with the case's own divisor.
    #expect(relativeError(model.logits(batch), try FamilyFixtureTests.model(name).logits(batch)) > 1e-3)
  }

  /// A folder with the weights of `mixed`, decoded by gguf-py.
  final class Decoded {
    let path: String

    init() throws {
      path = FileManager.default.temporaryDirectory.appending(path: "gora-models-\(UUID().uuidString)").path()
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      try FileManager.default.copyItem(atPath: "\(Fixtures.folder)/llama/model/config.json", toPath: "\(path)/config.json")
      try FileManager.default.copyItem(
        atPath: "\(Fixtures.folder)/gguf/mixed.safetensors", toPath: "\(path)/model.safetensors")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func model() throws -> Decoder {
      let folder = try ModelFolder(path: path)
      return try Decoder(config: DecoderConfig(of: folder), from: CheckpointSource(folder: folder, precision: .f32))
    }
  }

  static let mixed = "mixed-00001-of-00003.gguf"

  /// Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, F16, BF16 and F32 in one model of three files: the tensors are gguf-py's to the bit.
  @Test func decodedTensors() throws {
    let decoded = try Decoded()
    let (own, other) = (try ModelFolder(path: "\(Fixtures.folder)/gguf/\(Self.mixed)"), try ModelFolder(path: decoded.path))
    #expect(own.names == other.names && own.dtype == .q80)
    #expect(Set(own.names.compactMap { own.tensor($0)?.dtype }).count == 8)
    for name in own.names {
      let (a, b) = (try #require(own.tensor(name)), try #require(other.tensor(name)))
      #expect(a.shape == b.shape)
      #expect(try a.toFloat().map(\.bitPattern) == b.toFloat().map(\.bitPattern), "\(name)")
    }
  }

  /// The weights stay as they are in the file, and losses, gradients and continuations are those of the decoded ones to f32 rounding.
  @Test func quantisedInPlace() throws {
    let decoded = try Decoded()
    let (own, other) = (try Self.model(Self.mixed), try decoded.model())
    for linear in own.linears where linear.name.hasSuffix("q_proj") || linear.name.hasSuffix("up_proj") {
      guard case .blocks = linear.weight.matrix.storage else {
        Issue.record("\(linear.name) was copied")
        continue
      }
      #expect(linear.weight.mappedBytes * 8 < 9 * linear.weight.count)
    }
    let batch = PackedBatch(rows: try Fixtures.rows("llama"))
    func gradients(_ model: Decoder) throws -> (loss: Double, values: [Float]) {
      model.attachAdapters()
      for linear in model.linears { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
      let loss = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
      return (loss, model.linears.flatMap { $0.weight.gradient!.array + $0.adapter!.b.gradient!.array })
    }
    let (a, b) = (try gradients(own), try gradients(other))
    #expect(abs(a.loss - b.loss) < 1e-6 * b.loss)
    #expect(relativeError(a.values, b.values) < 1e-5)
    // And they are not those of the checkpoint before it was quantised.
    #expect(abs(b.loss - (try Fixtures.model("llama")).loss(batch)) > 1e-3)
  }

  /// Q4_K, Q5_K and Q6_K with the others: Transformers in float64 on gguf-py's decoded weights. Loss, norms of gradients,
  /// and twenty tokens of two greedy answers, each of which multiplies the blocks themselves; the first choice is ahead by 0.05.
  @Test func kTypes() throws {
    let model = try Self.model("k-types.gguf")
    let folder = try ModelFolder(path: "\(Fixtures.folder)/gguf/k-types.gguf")
    #expect(Set(folder.names.compactMap { folder.tensor($0)?.dtype }) == [.f32, .q4k, .q5k, .q6k, .q51, .q80])
    let golden = try JSONDocument(
      path: "k-types", text: [UInt8](Data(contentsOf: URL(filePath: "\(Fixtures.folder)/gguf/k-types.json")))
    ).root
    let batch = PackedBatch(rows: try Fixtures.rows("llama"))
    let expected = try golden.required("token_mean_loss").double
    #expect(abs(model.loss(batch) / Double(batch.targets.count) - expected) < 1e-5)
    for linear in model.linears { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    let norms = try golden.required("gradient_norms")
    for linear in model.linears {
      let norm = linear.weight.gradient!.array.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
      #expect(abs(norm / (try norms.required("\(linear.name).weight").double) - 1) < 1e-4, "\(linear.name)")
    }
    for answer in try golden.required("greedy").elements {
      let (prompt, tokens) = (try answer.required("prompt").ints, try answer.required("tokens").ints)
      var made: [Int32] = []
      try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: tokens.count, endTokens: []).generate([
        prompt.map(Int32.init)
      ]) { made = $1 }
      #expect(made.map(Int.init) == tokens)
    }
  }

  /// A weight that learns begins at its decoded values, whatever products round to.
  @Test(arguments: [Precision.f32, .bf16]) func learnsFromExactValues(_ precision: Precision) throws {
    let decoded = try Decoded().model()
    for (own, other) in zip(try Self.model(Self.mixed, precision: precision).parameters, decoded.parameters) {
      own.makeTrainable()
      other.makeTrainable()
      #expect(own.name == other.name && own.values!.array == other.values!.array)
    }
  }

  @Test func refusesASecondQuantisation() throws {
    let folder = try ModelFolder(path: "\(Fixtures.folder)/gguf/\(Self.mixed)")
    let source = CheckpointSource(folder: folder, precision: .f32, quantization: .nf4)
    let error = #expect(throws: GoraError.self) { try Decoder(config: DecoderConfig(of: folder), from: source) }
    #expect(error?.status == .usage && error?.problem.contains("is in Q4_1 already") == true, "\(String(describing: error))")
  }
}

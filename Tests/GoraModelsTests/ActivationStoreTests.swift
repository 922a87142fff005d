import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// Models in bf16, whose layers keep their activations in 16 bits.
@Suite struct ActivationStoreTests {
  init() { ThreadPool.start(threads: 2) }

  static func model(_ name: String, _ precision: Precision) throws -> Decoder {
    try Matmul.open()
    let folder = try ModelFolder(path: "\(Fixtures.folder)/\(name)/model")
    return try Decoder(
      config: try DecoderConfig(of: folder), from: CheckpointSource(folder: folder, precision: precision))
  }

  static func run(_ name: String, _ precision: Precision, recompute: Bool) throws -> (loss: Double, gradients: [[Float]]) {
    let model = try model(name, precision)
    model.recomputesActivations = recompute
    #expect(model.keeping == (recompute ? .input : precision == .bf16 ? .packed : .whole))
    model.attachAdapters()
    for linear in model.linears { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    let rows = try Fixtures.rows(name)
    // Another batch first, so that what an earlier one leaves behind would show.
    _ = model.accumulateGradient(PackedBatch(rows: Array(rows.prefix(1))), scale: 0)
    let batch = PackedBatch(rows: rows)
    let loss = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    return (loss, model.linears.flatMap { [$0.weight, $0.adapter!.a, $0.adapter!.b].map { $0.gradient!.array } })
  }

  /// Recomputed or kept: the same bits, in either precision, so that nothing depends on how much memory is free.
  @Test(arguments: ["llama", "llama3", "qwen2", "mistral"], Precision.allCases)
  func recomputedEqualsKept(_ name: String, _ precision: Precision) throws {
    let kept = try Self.run(name, precision, recompute: false)
    let again = try Self.run(name, precision, recompute: true)
    #expect(kept.loss == again.loss)
    #expect(kept.gradients == again.gradients)
  }

  /// What 16 bits leave out is of the size of what the products lose by rounding their operands to 16 bits.
  @Test(arguments: ["llama", "llama3", "qwen2", "mistral"]) func losesNoMoreThanTheProducts(_ name: String) throws {
    let packed = try Self.run(name, .bf16, recompute: false)
    let single = try Self.run(name, .f32, recompute: false)
    for (a, b) in zip(packed.gradients, single.gradients) {
      let error = relativeError(a, b)
      #expect(error > 0 && error < 0.15, "\(error)")
    }
  }

  /// What is counted before a run is what the run takes, to the float: with adapters, one of them with magnitudes, of another rank in
  /// each layer, from the lowest layer or the second on.
  @Test(arguments: [0, 1], [(Precision.f32, false), (.bf16, false), (.f32, true), (.bf16, true)])
  func countedIsTaken(_ lowest: Int, _ run: (precision: Precision, recomputes: Bool)) throws {
    try check(lowest, run) { try Self.model("llama", $0) }
  }

  /// The same of layers with all norms there are.
  @Test(arguments: [0, 1], [(Precision.f32, false), (.bf16, false), (.f32, true), (.bf16, true)])
  func countedIsTakenWithNorms(_ lowest: Int, _ run: (precision: Precision, recomputes: Bool)) throws {
    try check(lowest, run) { try FamilyFixtureTests.model("gemma3", $0) }
  }

  private func check(
    _ lowest: Int, _ run: (precision: Precision, recomputes: Bool), open: (Precision) throws -> Decoder
  ) throws {
    let model = try open(run.precision)
    model.recomputesActivations = run.recomputes
    for (index, layer) in model.layers.enumerated() where index >= lowest {
      for linear in layer.linears {
        let rank = 2 + index
        let adapter = LowRankAdapter(
          module: linear.name, rank: rank, scaling: 1, a: FloatBuffer(zeros: rank * linear.inputSize),
          b: FloatBuffer(zeros: rank * linear.outputSize), inputSize: linear.inputSize, outputSize: linear.outputSize)
        if linear === layer.linear(.v) {
          let ones = [Float](repeating: 1, count: linear.outputSize)
          adapter.outputScale = Magnitude(module: linear.name, values: ones, weight: linear.weight.matrix)
        }
        for parameter in adapter.parameters { parameter.gradient = FloatBuffer(zeros: parameter.count) }
        linear.adapter = adapter
      }
    }
    let top = Int32(model.config.vocabularySize - 1)
    let batch = PackedBatch(
      rows: try Fixtures.rows("llama").map { ($0.ids.map { min($0, top) }, $0.labels.map { min($0, top) }) })
    let (config, kept) = (model.config, model.layers.map(\.kept))
    // Forward alone first, whose buffers backward's then grow from.
    _ = model.loss(batch)
    #expect(
      model.activations.floats
        == ActivationStore.floats(kept, lowest: config.layers, model.keeping, tokens: batch.tokens))
    #expect(model.scratch.floats == LayerScratch.floats(config, tokens: batch.tokens, backward: false))
    let fresh = try open(run.precision)
    fresh.recomputesActivations = run.recomputes
    for (from, to) in zip(model.linears, fresh.linears) { to.adapter = from.adapter }
    _ = fresh.accumulateGradient(batch, scale: 1)
    #expect(
      fresh.activations.floats == ActivationStore.floats(kept, lowest: lowest, fresh.keeping, tokens: batch.tokens))
    #expect(fresh.scratch.floats == LayerScratch.floats(config, tokens: batch.tokens, backward: true))
    // By hand: a layer's buffers at two bytes or four.
    let (h, f, q, kv) = (config.hiddenSize, config.intermediateSize, config.querySize, config.keyValueSize)
    var (single, half) = (2 * h + 2 + config.heads, 2 * q + 2 * kv + 2 * f)
    if config.hasHeadNorms { (single, half) = (single + config.heads + config.keyValueHeads, half + q + kv) }
    if config.hasBranchNorms { (single, half) = (single + 2, half + 2 * h) }
    func adapters(_ index: Int) -> Int { 7 * (2 + index) + kv }
    let layers = lowest..<config.layers
    let learnt = layers.reduce(0) { $0 + adapters($1) }
    // What all share: of layers that learn what they do not have for themselves, of others all.
    let others = lowest > 0
    let expected =
      switch fresh.keeping {
      case .whole: layers.count * (single + half) + learnt + (others ? single + half : 0)
      case .packed: layers.count * (single + half / 2) + learnt + half + (others ? single : 0)
      case .input: layers.count * h + single + half + adapters(config.layers - 1) - (others ? 0 : h)
      }
    #expect(fresh.activations.floats == batch.tokens * expected)
  }

  /// B learns beside an A that does not, as much as beside one that does.
  @Test func frozenDownProjection() throws {
    func gradients(_ trainsA: Bool) throws -> [[Float]] {
      let model = try Self.model("llama", .f32)
      model.attachAdapters()
      if !trainsA { for linear in model.linears { linear.adapter?.a.gradient = nil } }
      _ = model.accumulateGradient(PackedBatch(rows: try Fixtures.rows("llama")), scale: 1)
      return model.linears.compactMap { $0.adapter?.b.gradient?.array }
    }
    let alone = try gradients(false)
    #expect(try alone == gradients(true) && alone.allSatisfy { $0.contains { $0 != 0 } })
  }

  /// A working copy of q's weights, as exploration makes one, does not change what is kept.
  @Test func workingCopies() throws {
    let model = try Self.model("llama", .bf16)
    let weight = model.layers[0].linear(.q).weight
    weight.makeWorkingCopy(in: FloatBuffer(capacity: weight.count))
    #expect(model.roundsToBFloat16 && model.keeping == .packed)
    weight.dropWorkingCopy()
    #expect(model.roundsToBFloat16 && model.keeping == .packed)
  }

  /// An id beyond the vocabulary, or a label, ends the process before memory is read there.
  @Test func tokenBeyondTheVocabulary() async {
    await #expect(processExitsWith: .exitCode(65)) {
      let model = try ActivationStoreTests.model("llama", .f32)
      _ = model.loss(PackedBatch(rows: [([1, 9_000_000], [-100, 2])]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      let model = try ActivationStoreTests.model("llama", .f32)
      _ = model.loss(PackedBatch(rows: [([1, 2], [-100, -1])]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      let model = try ActivationStoreTests.model("llama", .f32)
      try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: 1, endTokens: []).generate([[-3]]) { _, _ in }
    }
  }
}

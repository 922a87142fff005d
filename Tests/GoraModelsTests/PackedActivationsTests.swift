import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// Models in bf16, whose layers keep their activations in 16 bits.
@Suite struct PackedActivationsTests {
  init() { ThreadPool.start(threads: 2) }

  static func model(_ name: String, _ precision: Precision) throws -> Llama {
    try Matmul.open()
    let folder = try ModelFolder(path: "\(Fixtures.folder)/\(name)/model")
    return try Llama(
      config: try ModelConfig(of: folder), from: CheckpointSource(folder: folder, precision: precision))
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
      let model = try PackedActivationsTests.model("llama", .f32)
      _ = model.loss(PackedBatch(rows: [([1, 9_000_000], [-100, 2])]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      let model = try PackedActivationsTests.model("llama", .f32)
      _ = model.loss(PackedBatch(rows: [([1, 2], [-100, -1])]))
    }
    await #expect(processExitsWith: .exitCode(65)) {
      let model = try PackedActivationsTests.model("llama", .f32)
      try Generator(model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: 1, endTokens: []).generate([[-3]]) { _, _ in }
    }
  }
}

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
      config: try ModelConfig(reading: folder.config), from: CheckpointSource(folder: folder, precision: precision))
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

  /// Beside recomputation, which keeps every float, the loss is the same, and the gradients differ by what 16 bits leave out: less than
  /// what the products of the same run lose by rounding their operands to 16 bits, which is measured against a run in f32.
  @Test(arguments: ["llama", "llama3", "qwen2", "mistral"]) func losesLessThanTheProducts(_ name: String) throws {
    let packed = try Self.run(name, .bf16, recompute: false)
    let exact = try Self.run(name, .bf16, recompute: true)
    let single = try Self.run(name, .f32, recompute: true)
    #expect(packed.loss == exact.loss)
    var (lost, rounded) = (0.0, 0.0)
    for ((a, b), c) in zip(zip(packed.gradients, exact.gradients), single.gradients) {
      let error = relativeError(a, b)
      #expect(error < 0.05)
      lost += error
      rounded += relativeError(b, c)
    }
    #expect(lost > 0 && lost < 0.8 * rounded, "\(lost) \(rounded)")
  }
}

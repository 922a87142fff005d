import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// A model with NF4 linears beside the same model with the dequantised weights in f32.
@Suite struct QuantizedModelTests {
  init() { ThreadPool.start(threads: 2) }

  /// NF4 weights, widened to f32 once and for all.
  struct Dequantized: ParameterSource {
    let source: CheckpointSource

    func parameter(_ name: String, shape: [Int]) throws(GoraError) -> Parameter { try source.parameter(name, shape: shape) }

    func linearWeight(_ name: String, shape: [Int]) throws(GoraError) -> Parameter {
      let weight = try source.linearWeight(name, shape: shape)
      try weight.quantize()
      weight.makeTrainable()
      weight.gradient = nil
      return weight
    }
  }

  static func source(_ name: String) throws -> CheckpointSource {
    try Matmul.open()
    return CheckpointSource(
      folder: try ModelFolder(path: "\(Fixtures.folder)/\(name)/model"), precision: .f32, quantization: .nf4)
  }

  static func model(_ name: String, dense: Bool = false) throws -> Decoder {
    let source = try source(name)
    let config = try DecoderConfig(reading: source.folder.config)
    let model = try Decoder(config: config, from: dense ? Dequantized(source: source) as any ParameterSource : source)
    try model.quantize()
    return model
  }

  static func isQuantized(_ parameter: Parameter) -> Bool {
    if case .nf4 = parameter.matrix.storage { true } else { false }
  }

  /// All linears of the layers and nothing else: not embedding, head, norms or biases.
  @Test(arguments: ["llama", "llama3", "qwen2", "mistral"]) func whatIsQuantized(_ name: String) throws {
    let model = try Self.model(name)
    let quantized = model.parameters.filter(Self.isQuantized).map(\.name)
    #expect(quantized == model.linears.map { "\($0.name).weight" })
    #expect(quantized.count == 14)
  }

  /// The products differ in nothing but where the floats come from: losses and gradients agree to f32 rounding.
  @Test(arguments: ["llama", "qwen2"]) func gradients(_ name: String) throws {
    let rows = try Fixtures.rows(name)
    func run(dense: Bool) throws -> (loss: Double, gradients: [Float]) {
      let model = try Self.model(name, dense: dense)
      model.attachAdapters()
      let loss = model.accumulateGradient(PackedBatch(rows: rows), scale: 0.1)
      return (loss, model.linears.flatMap { [$0.adapter?.a, $0.adapter?.b].flatMap { $0?.gradient?.array ?? [] } })
    }
    let (quantized, dense) = (try run(dense: false), try run(dense: true))
    #expect(abs(quantized.loss - dense.loss) < 1e-6 * dense.loss)
    #expect(relativeError(quantized.gradients, dense.gradients) < 1e-5)
    #expect(dense.gradients.contains { abs($0) > 1e-3 })
    // And the weights are not those of the checkpoint.
    let exact = try Fixtures.model(name)
    #expect(abs(exact.loss(PackedBatch(rows: rows)) - (try Self.model(name)).loss(PackedBatch(rows: rows))) > 1e-3)
  }

  /// Codes of a bf16 checkpoint in shards, read where it lies, are those of its numbers in f32.
  @Test func sixteenBits() throws {
    for linear in try Self.model("llama-bf16").linears {
      guard case .nf4(let codes) = linear.weight.matrix.storage else { continue }
      let tensor = try #require(try Self.source("llama-bf16").folder.tensor(linear.weight.name))
      #expect(tensor.dtype == .bf16)
      let values = FloatBuffer(try tensor.toFloat())
      let expected = try NF4Weight(count: values.count, at: tensor.location) { range, out in
        out.update(from: values.pointer + range.lowerBound, count: range.count)
      }
      #expect(codes.codes == expected.codes && codes.scales == expected.scales && codes.second == expected.second)
      #expect(codes.offset == expected.offset)
      // Pages that were given back are read again.
      #expect(try tensor.toFloat() == values.array)
    }
  }
}

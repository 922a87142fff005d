import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// The engine beside PyTorch in float64 (Fixtures/make_fixtures.py).
///
/// f32 sums over at most 64 terms carry about 1e-6 of relative error; 1e-4 (2e-4 for gradients, which pass two layers twice) leaves
/// room for cancellation and would still show any wrong term, since a missing bias, scale or mask moves the result by 1e-2 or more.
@Suite(.serialized) struct LlamaGoldenTests {
  static let models = ["llama", "llama3", "qwen2", "mistral"]

  @Test(arguments: models) func logits(_ name: String) throws {
    let model = try Fixtures.model(name)
    let batch = PackedBatch(rows: try Fixtures.rows(name))
    let expected = try Fixtures.tensors("\(name)/golden.safetensors")["logits"]!
    #expect(relativeError(model.logits(batch), expected) < 1e-4)
  }

  @Test(arguments: models) func rowLosses(_ name: String) throws {
    let model = try Fixtures.model(name)
    let expected = try Fixtures.golden(name).required("row_losses").elements.map { try $0.double }
    for (row, loss) in zip(try Fixtures.rows(name), expected) {
      let batch = PackedBatch(rows: [row])
      #expect(abs(model.loss(batch) / Double(batch.targets.count) - loss) < 1e-4)
    }
  }

  @Test(arguments: models, [false, true]) func gradients(_ name: String, recompute: Bool) throws {
    let model = try Fixtures.model(name)
    model.recomputesActivations = recompute
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

  /// Only the targets learn: the backward pass stops early and must not change their gradients.
  @Test(arguments: [["o_proj"], ["q_proj", "k_proj", "v_proj", "o_proj"], ["down_proj"]]) func targetsOnly(_ targets: [String])
    throws
  {
    let model = try Fixtures.model("llama3")
    let batch = PackedBatch(rows: try Fixtures.rows("llama3"))
    let expected = try Fixtures.tensors("llama3/golden.safetensors")
    let chosen = model.linears.filter { linear in
      linear.name.contains("layers.1") && targets.contains { linear.name.hasSuffix($0) }
    }
    for linear in chosen { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    for linear in chosen {
      #expect(relativeError(linear.weight.gradient!.array, expected["gradient/\(linear.weight.name)"]!) < 2e-4, "\(linear.name)")
    }
  }

  /// gora-grad's mean over micro-batches of one row, each with its own mean loss.
  @Test func meanOfRowGradients() throws {
    let model = try Fixtures.model("llama")
    let rows = try Fixtures.rows("llama")
    let expected = try Fixtures.tensors("llama/gora_gradient.safetensors")
    let chosen = model.linears.filter { expected[$0.weight.name] != nil }
    #expect(chosen.count == 8)
    for linear in chosen { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    for row in rows {
      let batch = PackedBatch(rows: [row])
      _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count * rows.count))
    }
    for linear in chosen {
      #expect(relativeError(linear.weight.gradient!.array, expected[linear.weight.name]!) < 2e-4, "\(linear.name)")
    }
  }

  /// bf16 weights against float64 on the same rounded weights: only f32's own error remains.
  @Test func sharded16BitWeights() throws {
    let model = try Fixtures.model("llama-bf16")
    let batch = PackedBatch(rows: try Fixtures.rows("llama-bf16"))
    let expected = try Fixtures.tensors("llama-bf16/golden.safetensors")["logits"]!
    #expect(relativeError(model.logits(batch), expected) < 1e-4)
  }

  /// In bf16 each product rounds its input to 8 bits: an error of 2⁻⁹ a product, some √(4 products × 2 layers) of it at the end.
  @Test func bf16Precision() throws {
    let model = try Fixtures.model("llama-bf16", precision: .bf16)
    let batch = PackedBatch(rows: try Fixtures.rows("llama-bf16"))
    let expected = try Fixtures.tensors("llama-bf16/golden.safetensors")
    let error = relativeError(model.logits(batch), expected["logits"]!)
    #expect(error < 2e-2)
    #expect(error > 1e-5)
    let targets = model.linears.filter { $0.name.contains("self_attn") }
    for linear in targets { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
    _ = model.accumulateGradient(batch, scale: 1 / Float(batch.targets.count))
    for linear in targets {
      #expect(relativeError(linear.weight.gradient!.array, expected["gradient/\(linear.weight.name)"]!) < 5e-2, "\(linear.name)")
    }
  }

  /// Greedy continuations, prompts decoded together and one at a time.
  @Test(arguments: models, [1, 2]) func greedy(_ name: String, batchSize: Int) throws {
    let model = try Fixtures.model(name)
    let cases = try Fixtures.golden(name).required("greedy").elements
    let prompts = try cases.map { try $0.required("prompt").ints.map(Int32.init) }
    let expected = try cases.map { try $0.required("tokens").ints.map(Int32.init) }
    var results = [[Int32]](repeating: [], count: prompts.count)
    try Generator(model: model, sampling: Sampling(), batchSize: batchSize, maxNewTokens: 20, endTokens: [])
      .generate(prompts) { results[$0] = $1 }
    #expect(results == expected)
  }
}

import Glibc
import GoraCore
import GoraFormats
import GoraModels
import GoraText
import Testing

@testable import GoraTraining

/// Whole training runs beside PEFT and torch.optim.AdamW in float64.
///
/// AdamW divides by √v: where a gradient is near its own rounding error the step's size is near lr whatever the gradient is, so final
/// tensors agree to 1e-3, losses and first gradients far better.
@Suite struct TrainingGoldenTests {
  init() { ThreadPool.start(threads: 2) }

  /// As Transformers' Trainer, which leaves norms and biases out of the decay.
  @Test func vectorsMayBeLeftOutOfTheDecay() {
    for decaysVectors in [true, false] {
      let parameters = [
        Parameter(name: "w", shape: [2, 2], values: FloatBuffer([1, 1, 1, 1])),
        Parameter(name: "norm", shape: [2], values: FloatBuffer([1, 1])),
      ]
      for parameter in parameters { parameter.gradient = FloatBuffer(zeros: parameter.count) }
      let optimizer = AdamW(
        parameters.map { ($0, 1) }, settings: AdamW.Settings(weightDecay: 0.5, decaysVectors: decaysVectors))
      optimizer.update(lr: 0.1, gradientScale: 1)
      #expect(parameters[0].values?.array == [0.95, 0.95, 0.95, 0.95])
      #expect(parameters[1].values?.array == (decaysVectors ? [0.95, 0.95] : [1, 1]))
      #expect(optimizer.isFinite)
      parameters[1].gradient?.pointer[1] = 1e30
      optimizer.update(lr: 0.1, gradientScale: 1)
      #expect(!optimizer.isFinite)
    }
  }

  /// Tensor names of adapter_model.safetensors.
  static func name(_ parameter: Parameter) -> String { "base_model.model.\(parameter.name)" }

  @Test(arguments: ["llama", "qwen2"]) func adapter(_ name: String) throws {
    let expected = try Fixtures.json("\(name)/lora_training.json")
    let tensors = try Fixtures.tensors("\(name)/lora_training.safetensors")
    let (model, adapter) = try Fixtures.adapted(name)
    // What PEFT makes of rank and alpha patterns.
    let ranks = try expected.required("ranks").members
    #expect(adapter.modules.count == ranks.count)
    for (module, rank) in ranks {
      let read = try #require(adapter.modules.first { $0.name == module })
      #expect(read.rank == (try rank.int))
      let scaling = try expected.required("scalings").required(module).double
      #expect(abs(read.scaling - scaling) < 1e-9 * scaling)
    }

    let rateA = try expected.required("lr_a").double
    let rateB = try expected.required("lr_b").double
    let trained = model.adapterParameters(ratio: rateB / rateA)
    let losses = try expected.required("losses").elements.map { try $0.double }
    let norms = try expected.required("gradient_norms").elements.map { try $0.double }
    let trainer = trainer(
      model, trained, rows: try Fixtures.rows(name), steps: losses.count, lr: rateA,
      weightDecay: try expected.required("weight_decay").double)
    for (step, (loss, norm)) in zip(losses, norms).enumerated() {
      let report = try trainer.advance()
      #expect(report.step == step + 1)
      #expect(abs(report.loss - loss) < 2e-4 * loss, "step \(step + 1)")
      #expect(abs(report.gradientNorm - norm) < 2e-3 * norm, "step \(step + 1)")
      if step > 0 { continue }
      for (parameter, _) in trained {
        let gradient = try #require(tensors["gradient/\(Self.name(parameter))"])
        #expect(relativeError(try #require(parameter.gradient).array, gradient) < 2e-4, "\(parameter.name)")
      }
    }
    #expect(trainer.isFinished)
    for (parameter, _) in trained {
      let final = try #require(tensors["final/\(Self.name(parameter))"])
      #expect(relativeError(try #require(parameter.values).array, final) < 1e-3, "\(parameter.name)")
    }
  }

  /// PEFT's run in float64 beside one whose products are in bf16: as this CPU makes them by itself (by tiles where it has some), as oneDNN
  /// makes them, and as it emulates them on a CPU that has AVX-512 without the unit for them. On others they are rounded products in f32.
  @Test func bf16() async {
    await #expect(processExitsWith: .success) { try TrainingGoldenTests.trainInBFloat16() }
    await #expect(processExitsWith: .success) {
      setenv("GORA_MATMUL", "bf16", 1)
      try TrainingGoldenTests.trainInBFloat16()
    }
    await #expect(processExitsWith: .success) {
      setenv("GORA_MATMUL", "bf16", 1)
      setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE", 1)
      try TrainingGoldenTests.trainInBFloat16()
    }
  }

  /// Weights, activations and their gradients are rounded to 8 bits wherever they are multiplied, a dozen times in a row, in a model so small
  /// that little averages out: gradients of the first step are 0.03 to 0.11 off, with the unit and without it the same to 6 digits; one of the
  /// wrong sign, size or order would be off by 1. Losses are within 0.4 % for three steps, after which the runs go ways of their own.
  private static func trainInBFloat16() throws {
    ThreadPool.start(threads: 2)
    let expected = try Fixtures.json("llama/lora_training.json")
    let tensors = try Fixtures.tensors("llama/lora_training.safetensors")
    let (model, _) = try Fixtures.adapted("llama", precision: .bf16)
    let rateA = try expected.required("lr_a").double
    let trained = model.adapterParameters(ratio: try expected.required("lr_b").double / rateA)
    let losses = try expected.required("losses").elements.map { try $0.double }
    let trainer = trainer(
      model, trained, rows: try Fixtures.rows("llama"), steps: losses.count, lr: rateA,
      weightDecay: try expected.required("weight_decay").double)
    for (step, loss) in losses.enumerated() {
      let report = try trainer.advance()
      if step < 3 { #expect(abs(report.loss - loss) < 1e-2 * loss, "step \(step + 1)") }
      if step > 0 { continue }
      for (parameter, _) in trained {
        let gradient = try #require(tensors["gradient/\(name(parameter))"])
        let error = relativeError(try #require(parameter.gradient).array, gradient)
        #expect(error < 0.2 && error > 1e-5, "\(parameter.name)")
      }
    }
  }

  @Test func fullTraining() throws {
    let expected = try Fixtures.json("llama/full_training.json")
    let tensors = try Fixtures.tensors("llama/full_training.safetensors")
    let model = try Fixtures.model("llama")
    for parameter in model.parameters { parameter.makeTrainable() }
    let losses = try expected.required("losses").elements.map { try $0.double }
    let norms = try expected.required("gradient_norms").elements.map { try $0.double }
    let trainer = trainer(
      model, model.parameters.map { ($0, 1) }, rows: try Fixtures.rows("llama"), steps: losses.count,
      lr: try expected.required("lr").double, weightDecay: try expected.required("weight_decay").double)
    for (loss, norm) in zip(losses, norms) {
      let report = try trainer.advance()
      #expect(abs(report.loss - loss) < 2e-4 * loss)
      #expect(abs(report.gradientNorm - norm) < 2e-3 * norm)
    }
    #expect(tensors.count == 4)
    for (name, values) in tensors {
      let plain = name.hasPrefix("final/") ? String(name.dropFirst("final/".count)) : name
      let parameter = try #require(model.parameters.first { $0.name == plain }, "\(name)")
      #expect(relativeError(try #require(parameter.values).array, values) < 1e-3, "\(name)")
    }
  }

  /// A batch cut into pieces of any size has the same loss and the same gradients.
  @Test(arguments: [1, 20, 45, 60]) func microBatches(_ tokens: Int) throws {
    func run(_ limit: Int) throws -> (StepReport, [Parameter]) {
      let (model, _) = try Fixtures.adapted("llama")
      let trained = model.adapterParameters(ratio: 1)
      let trainer = trainer(
        model, trained, rows: try Fixtures.rows("llama"), steps: 1, lr: 0, weightDecay: 0, batchSize: 6, microBatchTokens: limit)
      return (try trainer.advance(), trained.map(\.parameter))
    }
    let (whole, expected) = try run(8192)
    let (cut, parameters) = try run(tokens)
    #expect(cut.tokens == 110 && whole.tokens == 110)
    #expect(abs(cut.loss - whole.loss) < 1e-5 * whole.loss)
    for (parameter, other) in zip(parameters, expected) {
      #expect(
        relativeError(try #require(parameter.gradient).array, try #require(other.gradient).array) < 1e-5, "\(parameter.name)")
    }
  }

  /// Every row is in one piece, in order; no piece is too long but for a row that is longer than the limit itself.
  @Test(arguments: [1, 5, 17, 39, 40, 60, 109, 110]) func cutting(_ limit: Int) throws {
    let rows = try Fixtures.rows("llama")
    let pieces = GoraTraining.microBatches(rows, maxTokens: limit)
    #expect(pieces.flatMap(\.ids) == rows.flatMap(\.ids))
    #expect(pieces.reduce(0) { $0 + $1.rows } == rows.count)
    #expect(pieces.allSatisfy { $0.tokens <= limit || $0.rows == 1 })
  }

  /// Clipping scales the gradient to the norm it is given; AdamW's first step is lr·sign whatever the scale, so look at the moments.
  @Test func clipping() throws {
    func moments(_ clip: Double) throws -> (norm: Double, first: [Float]) {
      let (model, _) = try Fixtures.adapted("llama")
      let trainer = trainer(
        model, model.adapterParameters(ratio: 1), rows: try Fixtures.rows("llama"), steps: 1, lr: 1e-3, weightDecay: 0, clip: clip
      )
      let report = try trainer.advance()
      return (
        report.gradientNorm, trainer.optimizer.state.filter { $0.name.hasPrefix("first_moment/") }.flatMap { $0.buffer.array }
      )
    }
    let free = try moments(0)
    let clipped = try moments(0.5)
    let loose = try moments(1e6)
    #expect(clipped.norm == free.norm)
    #expect(loose.first == free.first)
    let scale = Float(0.5 / free.norm)
    #expect(relativeError(clipped.first, free.first.map { $0 * scale }) < 1e-5)
  }

  /// The update does not happen: the values stay as they were.
  @Test(arguments: [Float.nan, .infinity]) func nonFiniteLossIsRefused(_ bad: Float) throws {
    let (model, _) = try Fixtures.adapted("llama")
    let trained = model.adapterParameters(ratio: 16)
    let trainer = trainer(model, trained, rows: try Fixtures.rows("llama"), steps: 5, lr: 1e-3, weightDecay: 0)
    _ = try trainer.advance()
    let first = try #require(trained[0].parameter.values)
    first.pointer[3] = bad
    let before = trained.map { $0.parameter.values?.array.map(\.bitPattern) }
    let error = #expect(throws: GoraError.self) { try trainer.advance() }
    #expect(error?.status == .negative && error?.problem.contains("step 2") == true)
    #expect(trained.map { $0.parameter.values?.array.map(\.bitPattern) } == before)
    #expect(trainer.step == 1)
  }

  @Test func foreignAdapters() throws {
    let model = try Fixtures.model("llama")
    for (module, rank, a, b) in [
      ("model.layers.7.self_attn.q_proj", 1, 32, 32), ("model.layers.0.self_attn.q_proj", 2, 32, 64),
      ("model.layers.0.self_attn.k_proj", 1, 32, 32),
    ] {
      let error = #expect(throws: GoraError.self) {
        try model.attach(
          module: module, rank: rank, scaling: 1, a: [Float](repeating: 0, count: a), b: [Float](repeating: 0, count: b))
      }
      #expect(error?.status == .data && error?.problem.contains(module) == true)
    }
  }
}

import Glibc
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import Testing

@testable import GoraTraining

/// DoRA beside PEFT's own in float64 (Fixtures/dora/make_fixtures.py).
@Suite struct MagnitudeTests {
  init() { ThreadPool.start(threads: 2) }

  private static func adapted(_ name: String) throws -> (model: Decoder, adapter: Adapter) {
    let model = try Fixtures.model(name)
    let adapter = try Adapter(readingFolder: "\(Fixtures.folder)/dora/\(name)/adapter")
    for module in adapter.modules {
      try model.attach(
        module: module.name, rank: module.rank, scaling: module.scaling, a: module.a, b: module.b, kind: adapter.kind,
        vector: module.vector)
    }
    return (model, adapter)
  }

  /// Ten steps: losses to 2e-4, first gradients to 1e-4, and as in TrainingGoldenTests final values to 1e-3.
  @Test(arguments: ["llama", "qwen2"]) func tenSteps(_ name: String) throws {
    let expected = try Fixtures.json("dora/\(name)/training.json")
    let tensors = try Fixtures.tensors("dora/\(name)/training.safetensors")
    let (model, adapter) = try Self.adapted(name)
    #expect(adapter.kind == DoRAKind.self && adapter.modules.allSatisfy { $0.vector?.count == $0.shape[0] })
    let (rateA, rateB) = (try expected.required("lr_a").double, try expected.required("lr_b").double)
    let trained = model.adapterParameters(ratio: rateB / rateA)
    let losses = try expected.required("losses").elements.map { try $0.double }
    let norms = try expected.required("gradient_norms").elements.map { try $0.double }
    let trainer = trainer(
      model, trained, rows: try Fixtures.rows(name), steps: losses.count, lr: rateA,
      weightDecay: try expected.required("weight_decay").double)
    for (step, loss) in losses.enumerated() {
      let report = try trainer.advance()
      #expect(abs(report.loss - loss) < 2e-4, "step \(step + 1): \(report.loss), \(loss)")
      #expect(abs(report.gradientNorm / norms[step] - 1) < 1e-3)
      guard step == 0 else { continue }
      for (parameter, _) in trained {
        let gradient = try #require(tensors["gradient/base_model.model.\(parameter.name)"])
        #expect(relativeError(try #require(parameter.gradient).array, gradient) < 1e-4, "\(parameter.name)")
      }
    }
    #expect(trained.count == 3 * adapter.modules.count)
    for (parameter, _) in trained {
      let final = try #require(tensors["final/base_model.model.\(parameter.name)"])
      #expect(relativeError(try #require(parameter.values).array, final) < 1e-3, "\(parameter.name)")
    }
  }

  /// One row under dropout's masks, which PEFT was given too: the loss to 2e-4, gradients to 1e-4 as above.
  @Test(arguments: ["llama", "qwen2"], [false, true]) func dropout(_ name: String, recomputes: Bool) throws {
    let expected = try Fixtures.json("dora/\(name)/dropout.json")
    let gradients = try Fixtures.tensors("dora/\(name)/dropout.safetensors")
    let (model, _) = try Self.adapted(name)
    model.recomputesActivations = recomputes
    let trained = model.adapterParameters(ratio: 1).map { $0.parameter }
    let sums = GradientSums(of: trained, blocks: model.blocks)
    sums.zero()
    let row = try microBatches([Fixtures.rows(name)[0]], maxTokens: 8192)[0]
    let without = model.loss(row) / Double(row.targets.count)
    for (module, key) in try expected.required("keys").members {
      let adapter = try #require(model.adapters.first { $0.a.name == "\(module).lora_A.weight" })
      adapter.dropoutRate = try expected.required("rate").double
      adapter.dropoutKey = UInt64(try key.string)
    }
    #expect(model.adapters.allSatisfy { $0.dropoutKey != nil })
    let loss = model.accumulateGradient(row, scale: 1 / Float(row.targets.count)) / Double(row.targets.count)
    let right = try expected.required("loss").double
    #expect(abs(loss - right) < 2e-4 && abs(without - right) > 1e-2, "\(loss), \(right), without \(without)")
    #expect(gradients.count == trained.count)
    for parameter in trained {
      let gradient = try #require(gradients["base_model.model.\(parameter.name)"])
      #expect(relativeError(try #require(parameter.gradient).array, gradient) < 1e-4, "\(parameter.name)")
    }
  }

  /// PEFT's merged weights, to what binary32 leaves.
  @Test(arguments: ["llama", "qwen2"]) func merged(_ name: String) throws {
    let tensors = try Fixtures.tensors("dora/\(name)/training.safetensors")
    let folder = try ModelFolder(path: "\(Fixtures.folder)/\(name)/model")
    for module in try Self.adapted(name).adapter.modules {
      var weight = try #require(folder.tensor("\(module.name).weight")).toFloat()
      Merge.add(
        a: module.a, b: module.b, scaling: module.scaling, to: &weight, rows: module.shape[0], columns: module.shape[1],
        rank: module.rank)
      DoRAKind.merge(try #require(module.vector), into: &weight, columns: module.shape[1])
      #expect(relativeError(weight, try #require(tensors["merged/\(module.name).weight"])) < 1e-6, "\(module.name)")
    }
  }

  /// With magnitudes that are the norms of V the model is the one of plain LoRA.
  @Test func normsOfVAreNoChange() throws {
    let rows = try Fixtures.rows("llama")
    let plain = try Fixtures.adapted("llama").model
    let (dora, adapter) = try Fixtures.adapted("llama")
    let folder = try ModelFolder(path: "\(Fixtures.folder)/llama/model")
    for module in adapter.modules {
      var weight = try #require(folder.tensor("\(module.name).weight")).toFloat()
      let (out, columns) = (module.shape[0], module.shape[1])
      Merge.add(a: module.a, b: module.b, scaling: module.scaling, to: &weight, rows: out, columns: columns, rank: module.rank)
      try dora.attach(
        module: module.name, rank: module.rank, scaling: module.scaling, a: module.a, b: module.b,
        kind: DoRAKind.self,
        vector: DoRAKind.rowNorms(weight, columns: columns))
    }
    let losses = [plain, dora].map { meanLoss($0, microBatches(rows, maxTokens: 8192)).loss }
    #expect(abs(losses[0] - losses[1]) < 1e-6 * losses[0])
    // Layers that run again in backward see the same.
    let reports = try [false, true].map { recomputes in
      dora.recomputesActivations = recomputes
      return try trainer(dora, dora.adapterParameters(ratio: 1), rows: rows, steps: 1, lr: 0, weightDecay: 0).advance()
    }
    #expect(reports[0].loss == reports[1].loss && reports[0].gradientNorm == reports[1].gradientNorm)
  }

  @Test func wrongFolders() throws {
    let source = "\(Fixtures.folder)/dora/llama/adapter"
    let adapter = try Adapter(readingFolder: source)
    func refused(_ change: (inout Adapter) -> Void, _ word: String) throws {
      var other = adapter
      change(&other)
      let folder = Fixtures.temporaryFolder + "gora-dora-\(getpid())-\(word.hashValue)"
      defer {
        for name in Adapter.fileNames { unlink("\(folder)/\(name)") }
        rmdir(folder)
      }
      let error = #expect(throws: GoraError.self) {
        try other.write(folder: folder, profile: .native, baseModel: "b", provenance: nil)
        _ = try Adapter(readingFolder: folder)
      }
      #expect(error?.status == .data && error?.description.contains(word) == true, "\(error?.description ?? "")")
    }
    try refused({ $0.modules[1].vector = nil }, "no lora_magnitude_vector")
    try refused({ $0.modules[1].vector?.removeLast() }, "DoRA one of shape")
    try refused({ $0.modules[1].vector?[3] = .nan }, "not finite")
    let error = #expect(throws: GoraError.self) {
      try adapter.write(folder: Fixtures.temporaryFolder + "none", profile: .padded, baseModel: "b", provenance: nil)
    }
    #expect(error?.status == .usage)
  }
}

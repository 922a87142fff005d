import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraStages
import GoraTraining
import Testing

/// The whole flow through the stages' own types, on the llama fixture.
@Suite(.serialized) struct FlowTests {
  init() { ThreadPool.start(threads: 2) }

  static func context(_ tool: String) -> RunContext {
    RunContext(tool: tool, version: "test", arguments: ["a", "b"], seed: 3, threads: 2, recordsProvenance: true)
  }

  static func data(_ bench: Workbench) -> DataOptions { DataOptions(paths: [bench.file("rows.jsonl")]) }

  static func grad(_ bench: Workbench, model: String = "model") throws -> GradStage.Summary {
    var configuration = GradStage.Configuration(
      model: bench.file(model), data: data(bench), output: bench.file("out/grad.h5"),
      targets: try TargetSelection("q_proj,k_proj,v_proj,o_proj"), context: context("gora-grad"))
    configuration.recipe.steps = 6
    return try GradStage(configuration).run { _ in }
  }

  static func score(_ bench: Workbench, model: String = "model") throws -> StageSummary {
    try ScoreStage(
      ScoreStage.Configuration(
        model: bench.file(model), gradients: bench.file("out/grad.h5"), metric: MetricBlend(.sensitivity),
        output: .file(bench.file("out/scores.json")), dryRun: false, context: context("gora-score"))
    ).run { _ in }
  }

  static func plan(_ bench: Workbench) throws -> StageSummary {
    try PlanStage(
      PlanStage.Configuration(
        source: .scores(bench.file("out/scores.json")), allocation: RankAllocation(referenceRank: 4, minRank: nil, maxRank: nil),
        alpha: 16, scaling: .rslora, format: .json, output: .file(bench.file("out/plan.json")), unicode: false, dryRun: false,
        context: context("gora-plan"))
    ).run { _ in }
  }

  static func initialise(_ bench: Workbench, model: String = "model", gamma: Double = 0.05) throws -> StageSummary {
    try InitStage(
      InitStage.Configuration(
        plan: bench.file("out/plan.json"), model: bench.file(model), gradients: bench.file("out/grad.h5"),
        output: bench.file("out/init"), start: GoRAStart(a: .kaiming, gamma: gamma), dryRun: false, context: context("gora-init"))
    ).run { _ in }
  }

  static func train(_ bench: Workbench, model: String = "model") throws -> TrainStage.Summary {
    var configuration = TrainStage.Configuration(
      method: .adapter(bench.file("out/init")), model: bench.file(model), data: data(bench), output: bench.file("out/tuned"),
      context: context("gora-train"))
    configuration.recipe.maxSteps = 6
    configuration.recipe.batchSize = 3
    configuration.recipe.lr = 1e-3
    configuration.log = bench.file("out/metrics.jsonl")
    return try TrainStage(configuration).run { _ in }
  }

  static func eval(_ bench: Workbench, model: String = "model", adapter: String?) throws -> EvalStage.Summary {
    var configuration = EvalStage.Configuration(
      model: bench.file(model), task: LossTask.self, data: data(bench), context: context("gora-eval"))
    configuration.adapter = adapter.map(bench.file)
    return try EvalStage(configuration).run { _ in }
  }

  static func flow(_ bench: Workbench) throws {
    try FileManager.default.createDirectory(atPath: bench.file("out"), withIntermediateDirectories: true)
    _ = try grad(bench)
    _ = try score(bench)
    _ = try plan(bench)
    _ = try initialise(bench)
    _ = try train(bench)
    let result = try eval(bench, adapter: "out/tuned")
    try bench.write(result.json(timed: false).pretty(), to: "out/result.json")
  }

  static func refusal<T>(_ body: () throws -> T) -> GoraError? {
    do {
      _ = try body()
      return nil
    } catch { return error as? GoraError }
  }

  /// The same commands twice: the same bytes in every file they write; and every file is one the contract names.
  @Test func sameBytesTwice() throws {
    let bench = try Workbench()
    try Self.flow(bench)
    let first = try bench.contents("out")
    #expect(
      first.keys.sorted() == [
        "grad.h5", "init/README.md", "init/adapter_config.json", "init/adapter_model.safetensors", "metrics.jsonl", "plan.json",
        "result.json",
        "scores.json", "tuned/README.md", "tuned/adapter_config.json", "tuned/adapter_model.safetensors",
        "tuned/checkpoint/state.safetensors",
      ])
    try bench.remove("out")
    try Self.flow(bench)
    let second = try bench.contents("out")
    for (name, bytes) in first { #expect(second[name] == bytes, "\(name)") }
  }

  /// The gradients that the file holds are PyTorch's, the importances those of W and G, and every step lowers the loss it should.
  @Test func resultsHangTogether() throws {
    let bench = try Workbench()
    try Self.flow(bench)
    let reader = try GradientFileReader(path: bench.file("out/grad.h5"))
    let expected = try SafetensorsFile(path: "\(Workbench.fixtures)/llama/gora_gradient.safetensors")
    let weights = try SafetensorsFile(path: bench.file("model/model.safetensors"))
    let table = try ScoreTable(reading: JSONDocument(path: "scores.json", text: bench.bytes("out/scores.json")).root)
    #expect(table.modules.count == expected.tensors.count)
    for tensor in expected.tensors {
      let (gradient, exact) = (try reader.read(tensor.name), try tensor.toFloat())
      let weight = try #require(try weights.tensor(tensor.name)?.toFloat())
      var (difference, norm, importance) = (0.0, 0.0, 0.0)
      for i in exact.indices {
        difference += Double(gradient[i] - exact[i]) * Double(gradient[i] - exact[i])
        norm += Double(exact[i]) * Double(exact[i])
        importance += abs(Double(gradient[i]) * Double(weight[i])) / Double(exact.count)
      }
      #expect(difference.squareRoot() < 2e-4 * norm.squareRoot(), "\(tensor.name)")
      let module = try #require(table.modules.first { "\($0.name).weight" == tensor.name })
      #expect(abs(module.importance - importance) < 1e-9 * importance)
    }
    // Token-mean loss as PyTorch has it; the initialisation's step lowers it, training more so.
    let golden = try JSONDocument(path: "golden.json", text: readWholeFile("\(Workbench.fixtures)/llama/golden.json")).root
    let before = try Self.eval(bench, adapter: nil)
    #expect(abs((before.loss ?? 0) - (try golden.required("token_mean_loss").double)) < 1e-4)
    #expect(before.outcome?.line.hasSuffix("(6 rows, 69 learnt tokens)") == true)
    let after = try Self.eval(bench, adapter: "out/init")
    #expect(try #require(after.loss) < #require(before.loss) - 1e-3)
    let tuned = try Self.eval(bench, adapter: "out/tuned")
    #expect(try #require(tuned.loss) < #require(after.loss) - 1e-2)
    let lines = try String(decoding: bench.bytes("out/metrics.jsonl"), as: UTF8.self).split(separator: "\n")
    #expect(lines.count == 6)
  }

  /// γ = 0 changes nothing: the adapted model is the base.
  @Test func zeroGamma() throws {
    let bench = try Workbench()
    try FileManager.default.createDirectory(atPath: bench.file("out"), withIntermediateDirectories: true)
    _ = try Self.grad(bench)
    _ = try Self.score(bench)
    _ = try Self.plan(bench)
    _ = try Self.initialise(bench, gamma: 0)
    let (before, after) = (try Self.eval(bench, adapter: nil), try Self.eval(bench, adapter: "out/init"))
    #expect(abs(try #require(after.loss) - #require(before.loss)) < 1e-6)
  }

  /// The adapter beside the weights, the weights with it merged in, and the adapter in every profile: one loss.
  @Test(arguments: ["llama", "qwen3-windows", "qwen3-bias", "gemma2", "gemma2-silu", "gemma3", "gemma3-layers"])
  func mergedEqualsAdapter(_ name: String) throws {
    let bench = try name == "llama" ? Workbench() : Workbench(family: name)
    try Self.flow(bench)
    let before = try #require(try Self.eval(bench, adapter: nil).loss)
    let loss = try #require(try Self.eval(bench, adapter: "out/tuned").loss)
    #expect(loss < before - 1e-2)
    for profile in ExportStage.Profile.allCases where profile != .gguf {
      let name = "export-\(profile.rawValue)"
      _ = try ExportStage(
        ExportStage.Configuration(
          adapter: bench.file("out/tuned"), model: bench.file("model"), profile: profile, output: bench.file(name), dryRun: false,
          context: Self.context("gora-export"))
      ).run { _ in }
      let again =
        profile == .merged ? try Self.eval(bench, model: name, adapter: nil) : try Self.eval(bench, adapter: name)
      #expect(abs(try #require(again.loss) - loss) < 1e-5 * loss, "\(profile)")
    }
  }

  /// What was made for another model is refused, whichever file it is.
  @Test func anotherModelIsRefused() throws {
    let bench = try Workbench()
    try Self.flow(bench)
    let before = try bench.contents("out")
    for error in [
      Self.refusal { try Self.score(bench, model: "other") }, Self.refusal { try Self.initialise(bench, model: "other") },
      Self.refusal { try Self.train(bench, model: "other") },
      Self.refusal { try Self.eval(bench, model: "other", adapter: "out/tuned") },
      Self.refusal { try Self.eval(bench, model: "other", adapter: "out/init") },
      Self.refusal {
        try ExportStage(
          ExportStage.Configuration(
            adapter: bench.file("out/tuned"), model: bench.file("other"), profile: .merged, output: bench.file("merged"),
            dryRun: false, context: Self.context("gora-export"))
        ).run { _ in }
      },
    ] {
      #expect(error?.status == .data)
      #expect(error?.location != nil && error?.hint != nil)
    }
    // A plan that names the other model, with gradients of the right one.
    try bench.change("out/plan.json") { bytes in
      let text = String(decoding: bytes, as: UTF8.self)
      let pattern = #/"model": "([0-9a-f])/#
      bytes = Array(text.replacing(pattern) { "\"model\": \"\($0.output.1 == "0" ? "1" : "0")" }.utf8)
    }
    #expect(Self.refusal { try Self.initialise(bench) }?.status == .data)
    let after = try bench.contents("out")
    for (name, bytes) in before where name != "out/plan.json" && name != "plan.json" { #expect(after[name] == bytes, "\(name)") }
    #expect(!bench.exists("merged/model.safetensors"))
  }
}

extension EvalStage.Summary {
  var loss: Double? { value(of: "loss") }
}

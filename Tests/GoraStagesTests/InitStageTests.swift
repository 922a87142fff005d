import GoraCore
import GoraFormats
import GoraModels
import GoraMethods
import GoraStages
import Testing

@Suite struct InitStageTests {
  @Test func theUpdateGoesDownTheGradientWithNormGamma() throws {
    let toy = try ToyCheckpoint()
    let adapter = try toy.adapter(start: GoRAStart(a: .gradientSVD, gamma: 0.05))
    #expect(adapter.model == (try ModelIdentity(of: ModelFolder(path: toy.model)).text))
    #expect(adapter.modules.map(\.name) == toy.shapes.map(\.name))
    for module in adapter.modules {
      #expect(module.scaling == 16 / Double(module.rank).squareRoot())
      let update = toy.update(module)
      let g = toy.gradient(module.name).map(Double.init)
      let inner = zip(update, g).reduce(0) { $0 + $1.0 * $1.1 }
      func norm(_ x: [Double]) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
      #expect(inner < 0)
      #expect(abs(norm(update) / (0.05 * norm(g)) - 1) < 1e-4)
    }
  }

  @Test func plainLoRANeedsNoGradientsAndStartsAtZero() throws {
    let toy = try ToyCheckpoint()
    let adapter = try toy.adapter(start: LoRAStart(a: .kaiming), gradients: nil)
    #expect(adapter.modules.allSatisfy { $0.b.allSatisfy { $0 == 0 } && $0.a.contains { $0 != 0 } })
  }

  @Test func equalRunsGiveEqualBytes() throws {
    let toy = try ToyCheckpoint()
    let start = GoRAStart(a: .kaiming, gamma: 0.05)
    _ = try toy.adapter(start: start, folder: "one")
    _ = try toy.adapter(start: start, folder: "two")
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
      #expect(try readWholeFile("\(toy.folder)/one/\(name)") == readWholeFile("\(toy.folder)/two/\(name)"))
    }
  }

  @Test func whatDoesNotBelongTogetherIsRefused() throws {
    let toy = try ToyCheckpoint()
    let other = try ToyCheckpoint(seed: 1)
    let start = GoRAStart(a: .kaiming, gamma: 0.05)
    func run(plan: RankPlan, model: String, gradients: String) throws {
      let path = "\(toy.folder)/refused.json"
      try AtomicFile.write(path: path, text: plan.json.pretty())
      _ = try InitStage(
        InitStage.Configuration(
          plan: path, model: model, gradients: gradients, output: "\(toy.folder)/refused", start: start, dryRun: false,
          context: toy.context)
      ).run { _ in }
    }
    var ofOther = toy.plan()
    ofOther.model = try ModelIdentity(of: ModelFolder(path: other.model)).text
    var missing = toy.plan()
    missing.modules[0].name = "model.layers.7.self_attn.q_proj"
    var reshaped = toy.plan()
    reshaped.modules[0].shape = [24, 48]
    // The plan's line, where a line of the plan is wrong.
    func line(_ text: String, _ plan: RankPlan) -> Int? {
      plan.json.pretty().split(separator: "\n", omittingEmptySubsequences: false).firstIndex { $0.contains(text) }.map { $0 + 1 }
    }
    for (plan, model, gradients, line) in [
      (ofOther, toy.model, toy.gradients, nil), (missing, toy.model, toy.gradients, line("layers.7", missing)),
      (reshaped, toy.model, toy.gradients, line("layers.0.mlp", reshaped)),
      (toy.plan(), toy.model, other.gradients, nil),
    ] {
      let error = #expect(throws: GoraError.self) { try run(plan: plan, model: model, gradients: gradients) }
      #expect(error?.status == .data)
      if let line { #expect(error?.description.contains("refused.json:\(line):") == true, "\(error?.description ?? "")") }
    }
    #expect(!exists("\(toy.folder)/refused"))
  }

  @Test func modulesOfRankZeroGetNoAdapter() throws {
    let toy = try ToyCheckpoint()
    var plan = toy.plan()
    plan.modules[1].rank = 0
    let adapter = try toy.adapter(start: LoRAStart(a: .gaussian), gradients: nil, plan: plan)
    #expect(adapter.modules.count == toy.shapes.count - 1)
    #expect(!adapter.modules.contains { $0.name == plan.modules[1].name })
  }
}

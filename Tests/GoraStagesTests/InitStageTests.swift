import GoraCore
import GoraFormats
import GoraModels
import GoraMethods
import GoraStages
import Testing

@Suite struct InitStageTests {
  @Test func theUpdateGoesDownTheGradientWithNormGamma() throws {
    let toy = try ToyCheckpoint()
    let adapter = try toy.adapter(method: .gora(a: .gradientSVD, gamma: 0.05))
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
    let adapter = try toy.adapter(method: .lora(a: .kaiming), gradients: nil)
    #expect(adapter.modules.allSatisfy { $0.b.allSatisfy { $0 == 0 } && $0.a.contains { $0 != 0 } })
  }

  @Test func equalRunsGiveEqualBytes() throws {
    let toy = try ToyCheckpoint()
    let method = InitialisationMethod.gora(a: .kaiming, gamma: 0.05)
    _ = try toy.adapter(method: method, folder: "one")
    _ = try toy.adapter(method: method, folder: "two")
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
      #expect(try readWholeFile("\(toy.folder)/one/\(name)") == readWholeFile("\(toy.folder)/two/\(name)"))
    }
  }

  @Test func whatDoesNotBelongTogetherIsRefused() throws {
    let toy = try ToyCheckpoint()
    let other = try ToyCheckpoint(seed: 1)
    let method = InitialisationMethod.gora(a: .kaiming, gamma: 0.05)
    func run(plan: RankPlan, model: String, gradients: String) throws {
      let path = "\(toy.folder)/refused.json"
      try AtomicFile.write(path: path, text: plan.json.pretty())
      _ = try InitStage(
        try InitStage.Configuration(
          plan: path, model: model, gradients: gradients, output: "\(toy.folder)/refused", method: method, dryRun: false,
          context: toy.context)
      ).run { _ in }
    }
    var ofOther = toy.plan()
    ofOther.model = try ModelIdentity(of: ModelFolder(path: other.model)).text
    var missing = toy.plan()
    missing.modules[0].name = "model.layers.7.self_attn.q_proj"
    var reshaped = toy.plan()
    reshaped.modules[0].shape = [24, 48]
    for (plan, model, gradients) in [
      (ofOther, toy.model, toy.gradients), (missing, toy.model, toy.gradients), (reshaped, toy.model, toy.gradients),
      (toy.plan(), toy.model, other.gradients),
    ] {
      #expect { try run(plan: plan, model: model, gradients: gradients) } throws: { ($0 as? GoraError)?.status == .data }
    }
    #expect(!exists("\(toy.folder)/refused"))
  }

  @Test func modulesOfRankZeroGetNoAdapter() throws {
    let toy = try ToyCheckpoint()
    var plan = toy.plan()
    plan.modules[1].rank = 0
    let adapter = try toy.adapter(method: .lora(a: .gaussian), gradients: nil, plan: plan)
    #expect(adapter.modules.count == toy.shapes.count - 1)
    #expect(!adapter.modules.contains { $0.name == plan.modules[1].name })
  }
}

import GoraCore
import GoraFormats
import GoraModels
import GoraMethods
import GoraStages
import Testing

@Suite struct PlanStageTests {
  private func plan(
    _ toy: ToyCheckpoint, source: PlanStage.Source, format: PlanStage.Format = .json, unicode: Bool = true
  ) throws -> String {
    let stage = PlanStage(
      PlanStage.Configuration(
        source: source, allocation: try RankAllocation(referenceRank: 4), alpha: 16, scaling: .rslora, format: format,
        output: .standardOutput, unicode: unicode, dryRun: false, context: toy.context))
    return try #require(try stage.run { _ in }.output)
  }

  private func scores(_ toy: ToyCheckpoint) throws -> PlanStage.Source {
    let path = "\(toy.folder)/scores.json"
    try AtomicFile.write(path: path, text: try #require(try toy.score(metric: .sensitivity).output))
    return .scores(path)
  }

  @Test func thePlanKeepsModelShapesAndProvenance() throws {
    let toy = try ToyCheckpoint(recordsProvenance: true)
    let plan = try RankPlan(reading: toy.document(try self.plan(toy, source: try scores(toy))))
    #expect(plan.modules.map(\.shape) == toy.shapes.map { [$0.rows, $0.columns] })
    #expect(plan.model == (try ModelIdentity(of: ModelFolder(path: toy.model)).text))
    #expect(plan.provenance.records.count == 2)
    #expect(plan.referenceRank == 4 && plan.minRank == 2 && plan.maxRank == 16)
    #expect(plan.modules.allSatisfy { 2...16 ~= $0.rank && $0.importance != nil })
  }

  /// What gora-score recorded decides, here a softmax, and not the importances over again.
  @Test func advantagesDecide() throws {
    let toy = try ToyCheckpoint()
    let text = try #require(try toy.score(MetricBlend(.sensitivity), try Advantage(.softmax)).output)
    let table = try ScoreTable(reading: toy.document(text))
    let path = "\(toy.folder)/scores.json"
    try AtomicFile.write(path: path, text: text)
    let plan = try RankPlan(reading: toy.document(try self.plan(toy, source: .scores(path))))
    func ranks(_ advantages: [Double]) throws -> [Int] {
      try RankAllocation(referenceRank: 4).ranks(
        for: zip(table.modules, advantages).map {
          RankCandidate(name: $0.name, rows: $0.shape[0], columns: $0.shape[1], advantage: $1)
        })
    }
    #expect(plan.modules.map(\.rank) == (try ranks(table.modules.map(\.advantage))))
    #expect(plan.modules.map(\.rank) != (try ranks(table.modules.map(\.importance))))
    #expect(plan.modules.map(\.importance) == table.modules.map(\.importance))
  }

  /// A table as gora wrote them before normalisations were recorded, and one that was cut down: shares are of what is there.
  @Test func olderAndShorterTablesAreRead() throws {
    let toy = try ToyCheckpoint()
    let path = "\(toy.folder)/scores.json"
    try AtomicFile.write(
      path: path,
      text: """
        {"format": "gora-scores", "format_version": 1, "metric": "sensitivity", "modules": [
          {"name": "a", "shape": [64, 64], "importance": 3e-7, "advantage": 0.03},
          {"name": "b", "shape": [64, 64], "importance": 1e-7, "advantage": 0.01}], "provenance": []}
        """)
    let plan = try RankPlan(reading: toy.document(try self.plan(toy, source: .scores(path))))
    #expect(plan.modules.map(\.rank) == [6, 2])
  }

  @Test(arguments: [true, false]) func tablesFitTheirTerminal(_ unicode: Bool) throws {
    let toy = try ToyCheckpoint()
    let table = try plan(toy, source: try scores(toy), format: .table, unicode: unicode)
    let lines = table.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines.allSatisfy { $0.count <= 80 && $0.last != " " })
    #expect(lines.contains { $0.hasPrefix("model.layers.") && $0.hasSuffix("rank") })
    #expect(lines.contains { $0.hasPrefix("1.mlp.down_proj") })
    #expect(table.utf8.allSatisfy { $0 < 128 } == !unicode)
    // The module of the largest rank has the longest bar, and it reaches the edge.
    #expect(lines.map(\.count).max() == 80)
  }

  @Test func aUniformPlanNeedsTheConfigurationAlone() throws {
    let toy = try ToyCheckpoint()
    let folder = "\(toy.folder)/config-only"
    try makeFolder(folder)
    try AtomicFile.write(
      path: "\(folder)/config.json",
      text: """
        {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}
        """)
    for (targets, parameters) in [("q_proj,k_proj,v_proj,o_proj", 3_407_872), ("all-linear", 10_485_760)] {
      let text = try plan(toy, source: .uniform(model: folder, targets: try TargetSelection(targets)))
      let plan = try RankPlan(reading: toy.document(text))
      #expect(plan.parameters == parameters && plan.loraParameters == parameters)
    }
  }

  @Test func thePEFTConfigurationNamesEveryModule() throws {
    let toy = try ToyCheckpoint()
    let source = try scores(toy)
    let ranks = try RankPlan(reading: toy.document(try plan(toy, source: source))).modules
    let text = try plan(toy, source: source, format: .peft)
    for module in ranks {
      #expect(text.contains("        \"\(module.name)\",\n"))
      #expect(text.contains("        \"\(module.name)\": \(module.rank),\n") == (module.rank != 4))
    }
    #expect(text.hasPrefix("LoraConfig(\n") && text.contains("use_rslora=True") && text.contains("lora_alpha=16,"))
  }
}

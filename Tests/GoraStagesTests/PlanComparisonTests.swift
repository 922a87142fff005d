import GoraCore
import GoraFormats
import GoraStages
import Testing

@Suite struct PlanComparisonTests {
  private func plan(_ ranks: KeyValuePairs<String, Int>, model: String? = nil) -> RankPlan {
    RankPlan(
      referenceRank: 8, minRank: 0, maxRank: 32, alpha: 16, scaling: .rslora, model: model,
      modules: ranks.map { RankPlan.Module(name: $0.key, shape: [64, 192], rank: $0.value) })
  }

  private func compare(
    _ toy: ToyCheckpoint, _ first: RankPlan, _ second: RankPlan, format: PlanStage.Format = .json, unicode: Bool = true,
    events: (StageEvent) -> Void = { _ in }
  ) throws -> String {
    let paths = ["\(toy.folder)/a.json", "\(toy.folder)/b.json"]
    try AtomicFile.write(path: paths[0], text: first.json.pretty())
    try AtomicFile.write(path: paths[1], text: second.json.pretty())
    let stage = PlanComparisonStage(
      try PlanComparisonStage.Configuration(
        first: paths[0], second: paths[1], format: format, output: .standardOutput, unicode: unicode, dryRun: false))
    return try #require(try stage.run(events: events).output)
  }

  private let first: KeyValuePairs = ["layers.0.q": 8, "layers.0.v": 4, "layers.1.q": 6, "layers.1.v": 5, "layers.2.v": 3]
  private let second: KeyValuePairs = ["layers.0.q": 8, "layers.0.v": 32, "layers.1.q": 4, "layers.1.v": 7, "layers.3.v": 2]

  @Test func numbersAreCounted() throws {
    let toy = try ToyCheckpoint()
    let root = try toy.document(try compare(toy, plan(first), plan(second)))
    #expect(try root.required("parameters").ints == [26 * 256, 53 * 256])
    #expect(try root.required("changed").int == 5)
    // Places of 8 4 6 5 are 3 0 2 1, of 8 32 4 7 they are 2 3 0 1: 1 − 6·(1 + 9 + 4 + 0)/(4·15).
    #expect(abs(try root.required("rank_correlation").double - (1 - 6 * 14 / 60.0)) < 1e-15)
    let modules = try root.required("modules").elements
    #expect(try modules.map { try $0.required("change").int } == [0, 28, -2, 2, -3, 2])
    #expect(modules.last?.value.compact().contains("\"ranks\":[null,2]") == true)
  }

  @Test(arguments: [true, false]) func theLargestChangeComesFirst(_ unicode: Bool) throws {
    let toy = try ToyCheckpoint()
    let table = try compare(toy, plan(first), plan(second), format: .table, unicode: unicode)
    let lines = table.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(lines[2...].allSatisfy { $0.count <= 80 && $0.last != " " })
    let rows = lines.filter { $0.contains(unicode ? "64×192" : "64x192") }.map { $0.split(separator: " ").map(String.init) }
    #expect(rows.map(\.first) == ["0.v", "2.v", "1.q", "1.v", "3.v"])
    #expect(rows.map(\.last) == ["+28", "-3", "-2", "+2", "+2"])
    #expect(rows[1][2...] == ["3", "-", "-3"])
    #expect(table.contains("5 of 6 modules differ; b has +103.85 % parameters"))
    #expect(table.utf8.allSatisfy { $0 < 128 } == !unicode)
  }

  @Test func equalPlansDoNotDiffer() throws {
    let toy = try ToyCheckpoint()
    let root = try toy.document(try compare(toy, plan(first), plan(first)))
    #expect(try root.required("changed").int == 0 && root.required("rank_correlation").double == 1)
    let uniform: KeyValuePairs = ["a": 8, "b": 8]
    let table = try compare(toy, plan(uniform), plan(uniform), format: .table)
    #expect(table.contains("0 of 2 modules differ; b has +0.00 % parameters") && table.contains("not defined"))
  }

  @Test func otherModelsAreTold() throws {
    let toy = try ToyCheckpoint()
    var warnings = 0
    _ = try compare(toy, plan(first, model: "one"), plan(first, model: "other")) { event in
      if case .warning = event { warnings += 1 }
    }
    #expect(warnings == 1)
    var other = plan(first)
    other.modules[1].shape = [64, 64]
    #expect { try compare(toy, plan(first), other) } throws: { ($0 as? GoraError)?.status == .data }
  }
}

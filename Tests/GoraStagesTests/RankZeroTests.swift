import Foundation
import GoraFormats
import GoraModels
import Testing

/// Modules without an adapter, through every tool that comes after the plan.
@Suite struct RankZeroTests {
  @Test func modulesOfRankZeroAreLeftOutEverywhere() throws {
    let bench = try Workbench()
    try bench.prepare()
    func run(_ line: String) throws {
      let outcome = try bench.run(line)
      #expect(outcome.status == 0, "\(line): \(outcome.error)")
    }
    // Shares that leave the second layer nothing.
    var table = try ScoreTable(reading: JSONDocument(path: "scores.json", text: bench.bytes("scores.json")).root)
    let dropped = table.modules.filter { $0.name.contains("layers.1.") }.map(\.name)
    #expect(!dropped.isEmpty && dropped.count < table.modules.count)
    for i in table.modules.indices where dropped.contains(table.modules[i].name) { table.modules[i].advantage = 0 }
    try bench.write(table.json.pretty(), to: "scores.json")
    try run("gora-plan scores.json --rank 2 --min-rank 0 -o plan.json")
    let plan = try RankPlan(reading: JSONDocument(path: "plan.json", text: bench.bytes("plan.json")).root)
    #expect(plan.modules.filter { $0.rank == 0 }.map(\.name) == dropped)

    try run("gora-plan plan.json --compare plan.json")
    try run("gora-plan scores.json --rank 2 --min-rank 0 --format peft -o peft.py")
    #expect(!String(decoding: try bench.bytes("peft.py"), as: UTF8.self).contains("layers.1."))
    try run("gora-init plan.json --model model --gradients grad.h5 -o init")
    try run("gora-train init --model model --data rows.jsonl --max-steps 2 --batch-size 3 -o tuned")
    try run("gora-eval --model model --adapter tuned --task loss --data rows.jsonl -o result.json")
    for profile in ["compact", "padded", "native", "merged"] {
      try run("gora-export tuned --model model --profile \(profile) -o \(profile)")
      if profile == "merged" { continue }
      let adapter = try Adapter(readingFolder: bench.file(profile))
      #expect(adapter.modules.map(\.name) == plan.modules.filter { $0.rank > 0 }.map(\.name))
      #expect(!String(decoding: try bench.bytes("\(profile)/adapter_config.json"), as: UTF8.self).contains("layers.1."))
    }
    // The second layer's weights are the base's, bit for bit.
    let (base, merged) = (try ModelFolder(path: bench.file("model")), try ModelFolder(path: bench.file("merged")))
    for module in plan.modules {
      let name = "\(module.name).weight"
      let same = try #require(base.tensor(name)).toFloat() == #require(merged.tensor(name)).toFloat()
      #expect(same == dropped.contains(module.name))
    }
  }
}

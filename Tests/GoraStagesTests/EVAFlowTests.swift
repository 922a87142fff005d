import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraStages
import Testing

/// EVA from inputs to adapters, beside PEFT (Fixtures/eva/make_fixtures.py).
@Suite struct EVAFlowTests {
  private static let base =
    "gora-grad --model model --data eva.jsonl --no-shuffle --batch-size 2 --targets all-linear --no-provenance"

  private static func bench() throws -> Workbench {
    let bench = try Workbench()
    try FileManager.default.copyItem(atPath: "\(Workbench.fixtures)/eva/rows.jsonl", toPath: bench.file("eva.jsonl"))
    return bench
  }

  private static func run(_ bench: Workbench, _ line: String) throws {
    let outcome = try bench.run(line)
    #expect(outcome.status == 0, "\(line): \(outcome.error)")
  }

  /// Ranks exactly PEFT's, s = α/R, A its components up to the error of its randomised decomposition (cosines above 0.99; the whole one's are
  /// in InputCollectorTests), B = 0. A run without gradients sees the same.
  @Test(arguments: ["gradients,inputs", "inputs"]) func ranksAndAdaptersArePEFTs(_ collect: String) throws {
    let bench = try Self.bench()
    let golden = try JSONDocument(path: "golden", text: readWholeFile("\(Workbench.fixtures)/eva/golden.json")).root
    try Self.run(bench, "\(Self.base) --collect \(collect) --input-components 8 -o grad.h5")
    try Self.run(bench, "gora-score --model model grad.h5 --metric explained-variance -o scores.json")
    try Self.run(bench, "gora-plan --preset eva --rank 4 scores.json -o plan.json")
    let plan = try RankPlan(reading: JSONDocument(path: "plan.json", text: bench.bytes("plan.json")).root)
    #expect(plan.scaling == .constant && plan.maxRank == 8 && plan.minRank == 0 && plan.alpha == 16)
    let ranks = try golden.required("ranks").members
    #expect(ranks.count == plan.modules.count)
    for (name, rank) in ranks { #expect(plan.modules.first { $0.name == name }?.rank == (try rank.int), "\(name)") }

    try Self.run(bench, "gora-init plan.json --model model --gradients grad.h5 --method eva -o init")
    let adapter = try Adapter(readingFolder: bench.file("init"))
    #expect(adapter.modules.count == 14)
    let file = try SafetensorsFile(path: "\(Workbench.fixtures)/eva/golden.safetensors")
    for module in adapter.modules {
      #expect(abs(module.scaling - 4) < 1e-12 && module.b.allSatisfy { $0 == 0 })
      guard let tensor = file.tensors.first(where: { $0.name == "peft/\(module.name)" }) else { continue }
      let (components, width) = (try tensor.toFloat(), module.shape[1])
      for i in 0..<module.rank {
        let product = (i * width..<(i + 1) * width).reduce(0.0) { $0 + Double(components[$1]) * Double(module.a[$1]) }
        #expect(product > 0.99, "\(module.name) \(i): \(product)")
      }
    }
    let config = try JSONDocument(path: "config", text: bench.bytes("init/adapter_config.json")).root
    #expect(try config.required("init_lora_weights").bool)
    // The plan as PEFT's configuration: alpha_pattern has r·α/R where the rank is not R.
    let peft = try bench.run("gora-plan --preset eva --rank 4 scores.json --format peft").output
    #expect(peft.contains("task_type=\"CAUSAL_LM\",\n    r=4,"))
    #expect(peft.contains("use_rslora=False") && peft.contains("\"model.layers.0.mlp.down_proj\": 8,"))
    #expect(peft.contains("    alpha_pattern={\n") && peft.contains("\"model.layers.0.mlp.gate_proj\": 20,"))
    // It trains.
    try Self.run(bench, "gora-train init --model model --data eva.jsonl --max-steps 2 --batch-size 2 -o tuned")
    let tuned = try Adapter(readingFolder: bench.file("tuned"))
    #expect(tuned.modules.contains { $0.b.contains { $0 != 0 } })
  }

  /// What is collected beside them leaves gradients and steps as they are.
  @Test func gradientsStay() throws {
    let bench = try Self.bench()
    for (options, name) in [("", "a.h5"), ("--collect inputs,gradients --squares", "b.h5")] {
      try Self.run(bench, "\(Self.base) \(options) -o \(name)")
    }
    let (a, b) = (try GradientFileReader(path: bench.file("a.h5")), try GradientFileReader(path: bench.file("b.h5")))
    #expect(a.names == b.names && a.names.count == 14)
    for name in a.names {
      // Through a buffer of the micro-batch's own: in another order of sums.
      for (x, y) in zip(try a.read(name), try b.read(name)) { #expect(abs(x - y) <= 1e-6 * max(1, abs(x))) }
    }
    #expect(try a.inputs().isEmpty && !a.has(.squares) && b.has(.squares))
    #expect(try b.inputs().flatMap(\.modules).count == 14 && b.inputs()[0].ratios.count == 16)
    #expect(try a.attribute("collect") == nil && b.attribute("collect") == "gradients,inputs")
    #expect(try a.steps().loss == b.steps().loss)
  }

  @Test func refusals() throws {
    let bench = try Self.bench()
    try Self.run(bench, "\(Self.base) --collect inputs --input-components 8 -o inputs.h5")
    try Self.run(bench, "\(Self.base) -o gradients.h5")
    try Self.run(bench, "gora-score --model model inputs.h5 --metric explained-variance -o scores.json")
    try Self.run(bench, "gora-plan --preset eva --rank 4 scores.json -o plan.json")
    try Self.run(bench, "gora-plan --uniform --model model --targets all-linear --rank 9 -o nine.json")
    for (line, status, words) in [
      ("\(Self.base) --collect inputs --squares -o x.h5", 64, "--squares goes with --collect gradients"),
      ("\(Self.base) --collect inputs --until-stable -o x.h5", 64, "--until-stable goes with --collect gradients"),
      ("\(Self.base) --collect input -o x.h5", 64, "--collect"), ("\(Self.base) --collect inputs, -o x.h5", 64, "--collect"),
      ("\(Self.base) --input-components 4 -o x.h5", 64, "--input-components goes with --collect inputs"),
      ("gora-grad --model model --data rows.jsonl --no-shuffle --collect inputs --steps 1 -o x.h5", 65, "11 labelled tokens"),
      ("gora-score --model model gradients.h5 --metric explained-variance", 65, "--collect gradients,inputs"),
      ("gora-score --model model gradients.h5 --metric fisher", 65, "--squares"),
      ("gora-score --model model inputs.h5", 65, "no gradients"),
      ("gora-score --model model inputs.h5 --metric sensitivity+explained-variance", 65, "no gradients"),
      ("gora-plan --preset eva --rank 8 scores.json", 65, "--input-components 16"),
      ("gora-plan --preset eva --min-rank 1 --rank 4 scores.json", 64, "--min-rank"),
      ("gora-init plan.json --model model --gradients gradients.h5 --method eva -o x", 65, "--collect gradients,inputs"),
      ("gora-init nine.json --model model --gradients inputs.h5 --method eva -o x", 65, "--input-components 9"),
      ("gora-init plan.json --model model --method eva -o x", 64, "--gradients"),
      ("gora-init plan.json --model model --gradients inputs.h5 -o x", 65, "no gradient of"),
    ] {
      let outcome = try bench.run(line)
      #expect(outcome.status == Int32(status) && outcome.error.contains(words), "\(line): \(outcome.status) \(outcome.error)")
      #expect(!bench.exists("x.h5") && !bench.exists("x"))
    }
  }

  /// Squares and effective ranks beside float64 (Fixtures/squares/make_fixtures.py): f32 gradients agree to some 1e-6 relative.
  @Test func fisherAndEffectiveRank() throws {
    let bench = try Workbench()
    try Self.run(bench, "gora-grad --model model --data rows.jsonl --no-shuffle --squares -o grad.h5")
    let golden = try JSONDocument(path: "golden", text: readWholeFile("\(Workbench.fixtures)/squares/golden.json")).root
    for (metric, key) in [("fisher", "fisher"), ("fisher-sensitivity", "fisher_sensitivity"), ("gradient-erank", "erank")] {
      try Self.run(bench, "gora-score --model model grad.h5 --metric \(metric) -o scores.json")
      let table = try ScoreTable(reading: JSONDocument(path: "scores", text: bench.bytes("scores.json")).root)
      #expect(table.modules.count == 8)
      for module in table.modules {
        let expected = try golden.required(module.name).required(key).double
        #expect(abs(module.importance / expected - 1) < 1e-4, "\(metric) \(module.name): \(module.importance), \(expected)")
        #expect(module.erank == (metric == "gradient-erank" ? module.importance : nil))
      }
    }
    let file = try SafetensorsFile(path: "\(Workbench.fixtures)/squares/golden.safetensors")
    let reader = try GradientFileReader(path: bench.file("grad.h5"))
    for tensor in file.tensors {
      let expected = try tensor.toFloat()
      var values = [Float](repeating: 0, count: expected.count)
      try reader.readRows(tensor.name, of: .squares, 0..<tensor.shape[0], into: &values)
      let norm = expected.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
      let error = zip(values, expected).reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) }.squareRoot()
      #expect(error < 1e-4 * norm, "\(tensor.name): \(error / norm)")
    }
    // The table shows effective ranks where the scores have them, within its 80 columns.
    try Self.run(bench, "gora-score --model model grad.h5 --metric gradient-nuclear -o scores.json")
    let table = try bench.run("gora-plan scores.json --rank 4 --format table").output
    #expect(table.contains(" erank") && table.contains("  15.8  ") && table.split(separator: "\n").allSatisfy { $0.count <= 80 })
    try Self.run(bench, "gora-score --model model grad.h5 -o scores.json")
    #expect(!(try bench.run("gora-plan scores.json --rank 4 --format table").output.contains("erank")))
  }

  /// The estimate counts the passes' own buffers, here by hand for inputs of 32, 32, 32 and 56 in each of two layers.
  @Test func memory() throws {
    let bench = try Self.bench()
    func estimate(_ change: (inout GradStage.Recipe) -> Void) throws -> RunEstimate {
      var configuration = GradStage.Configuration(
        model: bench.file("model"), data: DataOptions(paths: [bench.file("eva.jsonl")]), output: bench.file("x.h5"),
        targets: try TargetSelection("all-linear"),
        context: RunContext(tool: "gora-test", version: "0", arguments: [], seed: 0, threads: 1, recordsProvenance: false))
      configuration.recipe.batchSize = 2
      configuration.recipe.shuffles = false
      configuration.dryRun = true
      change(&configuration.recipe)
      return try GradStage(configuration).run { _ in }.estimate
    }
    let weights = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 56)
    let plain = try estimate { _ in }
    // The sums, and the largest weight's gradient of the piece at work; then the squares.
    #expect(plain.gradients == 4 * (weights + 32 * 56))
    #expect(try estimate { $0.keepsSquares = true }.gradients == 4 * (2 * weights + 32 * 56))
    let both = try estimate {
      $0.collects = [.gradients, .inputs]
      $0.inputComponents = 8
    }
    #expect(both.gradients == plain.gradients && plain.inputs == 0)
    let labelled = try String(decoding: bench.bytes("eva.jsonl"), as: UTF8.self).split(separator: "\n").map { line in
      try JSONDocument(path: "rows", text: Array(line.utf8)).root.required("labels").ints.count { $0 != -100 }
    }
    let most = try #require(stride(from: 0, to: 12, by: 2).map { labelled[$0] + labelled[$0 + 1] }.max())
    let held = 2 * (32 + 32 + 32 + 56) * (2 * 4 * 8 + 8)
    let rows = most + 8
    let atWork = 4 * (rows * 56 + (rows + 9) * 56 + 4 * 24 * (rows + 9 + 56))
    #expect(both.inputs == held + atWork)
    #expect(
      try estimate {
        $0.collects = [.inputs]; $0.inputComponents = 8
      }.inputs == both.inputs)
  }
}

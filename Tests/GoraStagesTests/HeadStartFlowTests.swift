import Foundation
import GoraCore
import GoraFormats
import GoraStages
import Testing

/// The recipe of docs/starts.md from displacements to a trained adapter.
@Suite struct HeadStartFlowTests {
  private static let base = "gora-grad --model model --data rows.jsonl --no-shuffle --targets all-linear --no-provenance"
  private static let explores = "--explore sgd --explore-lr 0.5 --collect gradients,displacements"

  private static func run(_ bench: Workbench, _ line: String) throws {
    let outcome = try bench.run(line)
    #expect(outcome.status == 0, "\(line): \(outcome.error)")
  }

  /// Under SGD a displacement is −rate times the sum of the gradients of the steps, which the file has the mean of. The two are summed in
  /// different orders, and the displacement is a difference of weights a thousand times its size: 1e-3 of the largest entry. With a
  /// warm-up of two steps the first of them counts half.
  @Test func displacementsAreTheSumOfSteps() throws {
    let bench = try Workbench()
    try Self.run(bench, "\(Self.base) \(Self.explores) --steps 3 -o three.h5")
    let three = try GradientFileReader(path: bench.file("three.h5"))
    #expect(three.has(.displacement) && !three.has(.squares))
    for name in three.names {
      let (gradient, moved) = (try three.read(name), try three.read(name, of: .displacement))
      let largest = try #require(moved.map(abs).max())
      #expect(largest > 0 && zip(gradient, moved).allSatisfy { abs($0 * -1.5 - $1) < 1e-3 * largest }, "\(name)")
    }
    try Self.run(bench, "\(Self.base) \(Self.explores) --steps 1 -o one.h5")
    try Self.run(bench, "\(Self.base) \(Self.explores) --explore-warmup 2 --steps 1 -o half.h5")
    let (one, half) = (try GradientFileReader(path: bench.file("one.h5")), try GradientFileReader(path: bench.file("half.h5")))
    #expect(try half.attribute("explore_warmup") == "2" && one.attribute("explore_warmup") == nil)
    let name = try #require(one.names.first)
    let (whole, part) = (try one.read(name, of: .displacement), try half.read(name, of: .displacement))
    let largest = try #require(whole.map(abs).max())
    #expect(zip(whole, part).allSatisfy { abs($0 / 2 - $1) < 1e-3 * largest })
  }

  /// The walk's preset is the options that it stands for; those given go before it.
  @Test func walkOfThePreset() throws {
    let bench = try Workbench()
    let config = try JSONDocument(path: "config.json", text: bench.bytes("model/config.json")).root
    let (width, layers) = (try config.required("hidden_size").double, try config.required("num_hidden_layers").double)
    let rate = 2 / (width * layers.squareRoot())
    let asked = "--steps 8 --batch-size 1"
    try Self.run(bench, "\(Self.base) --preset head-start \(asked) -o preset.h5")
    try Self.run(
      bench,
      "\(Self.base) \(asked) --explore adalomo --explore-lr \(rate) --explore-warmup 2 --collect gradients,displacements "
        + "-o named.h5")
    #expect(try bench.bytes("preset.h5") == bench.bytes("named.h5"))
    let preset = try GradientFileReader(path: bench.file("preset.h5"))
    #expect(try preset.attribute("explore_lr") == String(rate) && preset.has(.displacement))
    let given = "--explore-lr 0.5 --explore sgd --explore-warmup 0 --collect gradients"
    try Self.run(bench, "\(Self.base) --preset head-start \(asked) \(given) -o given.h5")
    try Self.run(bench, "\(Self.base) \(asked) \(given) -o plain.h5")
    #expect(try bench.bytes("given.h5") == bench.bytes("plain.h5"))
    // Steps and rows of the preset.
    let rows = try String(decoding: bench.bytes("rows.jsonl"), as: UTF8.self)
    try bench.write(String(repeating: rows, count: 22), to: "many.jsonl")
    let dry = try bench.run("gora-grad --model model --data many.jsonl --preset head-start --dry-run --json -o x.h5")
    #expect(dry.output.contains(#""steps":16,"rows":128"#), "\(dry.output)")
  }

  /// Plan, start and rule follow from the preset: the same rank everywhere; s·B·A the displacement's best approximation; A·Aᵀ = Bᵀ·B; soap
  /// in training, whose bytes are those of naming it.
  @Test func presetIsRead() throws {
    let bench = try Workbench()
    try Self.run(bench, "\(Self.base) \(Self.explores) --steps 3 -o grad.h5")
    try Self.run(
      bench, "gora-plan --preset head-start --model model --targets k_proj,down_proj --rank 8 --no-provenance -o plan.json")
    let plan = try RankPlan(reading: JSONDocument(path: "plan.json", text: bench.bytes("plan.json")).root)
    #expect(plan.start == "head-start" && plan.modules.allSatisfy { $0.rank == 8 } && plan.scaling == .rslora)
    try Self.run(bench, "gora-init plan.json --model model --gradients grad.h5 --no-provenance -o init")
    let adapter = try Adapter(readingFolder: bench.file("init"))
    #expect(adapter.start?["method"]?.text == "head-start")
    let gradients = try GradientFileReader(path: bench.file("grad.h5"))
    for module in adapter.modules {
      let (rows, columns, rank) = (module.shape[0], module.shape[1], module.rank)
      let moved = try gradients.read("\(module.name).weight", of: .displacement)
      let (_, values, _) = try #require(LAPACK.svd(moved, rows: rows, columns: columns))
      var missed = 0.0
      for i in 0..<rows {
        for j in 0..<columns {
          let sum = (0..<rank).reduce(0.0) { $0 + Double(module.b[i * rank + $1]) * Double(module.a[$1 * columns + j]) }
          let rest = Double(moved[i * columns + j]) - module.scaling * sum
          missed += rest * rest
        }
      }
      // Eckart & Young: what is missed are the other singular values. 1e-3 of the whole: a subspace found to 1e-6 of its energy, in f32.
      let whole = values.reduce(0.0) { $0 + Double($1) * Double($1) }
      let rest = values.dropFirst(rank).reduce(0.0) { $0 + Double($1) * Double($1) }
      #expect(abs(missed.squareRoot() - rest.squareRoot()) < 1e-3 * whole.squareRoot(), "\(module.name)")
      for k in 0..<rank {
        let a = (0..<columns).reduce(0.0) { $0 + pow(Double(module.a[k * columns + $1]), 2) }
        let b = (0..<rows).reduce(0.0) { $0 + pow(Double(module.b[$1 * rank + k]), 2) }
        #expect(abs(a - b) < 1e-4 * a)
      }
    }
    let train = "--model model --data rows.jsonl --max-steps 3 --batch-size 2 --lr 1e-3 --no-provenance"
    try Self.run(bench, "gora-train init \(train) -o tuned")
    try Self.run(bench, "gora-train init \(train) --rule soap --lr-ratio 1 -o named")
    try Self.run(bench, "gora-train init \(train) --rule adamw --lr-ratio 1 -o other")
    let tuned = try bench.bytes("tuned/adapter_model.safetensors")
    #expect(try tuned == bench.bytes("named/adapter_model.safetensors"))
    #expect(try tuned != bench.bytes("other/adapter_model.safetensors"))
    // Another kind of adapter starts as the plan says too.
    try Self.run(bench, "gora-init plan.json --model model --gradients grad.h5 --adapter dora --no-provenance -o dora")
    #expect(try Adapter(readingFolder: bench.file("dora")).start?["method"]?.text == "head-start")
  }

  /// What does not go together is refused by name.
  @Test(arguments: [
    ("gora-grad --model model --data rows.jsonl --collect gradients,displacements -o x.h5", 64, "--collect displacements"),
    ("gora-grad --model model --data rows.jsonl --explore sgd --collect displacements -o x.h5", 64, "--collect gradients"),
    ("gora-grad --model model --data rows.jsonl --explore-warmup 2 -o x.h5", 64, "--explore"),
    ("gora-grad --model model --data rows.jsonl --explore-lr auto -o x.h5", 64, "--explore"),
    ("gora-grad --model model --data rows.jsonl --preset head-start --explore sgd -o x.h5", 64, "sgd has no rate"),
    ("gora-grad --model model --data rows.jsonl --preset head-start --collect inputs -o x.h5", 64, "--preset"),
    ("gora-plan scores.json --preset head-start -o x.json", 64, "--preset head-start takes no scores"),
    ("gora-plan --preset head-start --min-rank 2 --model model -o x.json", 64, "--min-rank"),
    ("gora-init plan.json --model model --method head-start -o x", 64, "needs --gradients"),
    ("gora-init plan.json --model model --gradients plain.h5 --method head-start -o x", 65, "has no displacements"),
    ("gora-init odd.json --model model --gradients plain.h5 -o x", 65, "no start \"tail-start\""),
    (
      "gora-init head.json --model model --gradients plain.h5 --gamma 0.1 -o x", 64,
      "--gamma does not go with the start"
    ),
    ("gora-init head.json --model model --adapter adalora -o x", 64, "--adapter adalora does not go with"),
    ("gora-init head.json --model model --gradients plain.h5 --adapter dora -o x", 65, "has no displacements"),
  ]) func refusals(_ line: String, status: Int32, says: String) throws {
    let bench = try Workbench()
    try Self.run(bench, "\(Self.base) --steps 1 -o plain.h5")
    try Self.run(bench, "gora-plan --uniform --model model --targets k_proj -o plan.json")
    let plan = String(decoding: try bench.bytes("plan.json"), as: UTF8.self)
    for (file, start) in [("odd.json", "tail-start"), ("head.json", "head-start")] {
      try bench.write(
        Array(plan.replacingOccurrences(of: "\"scaling\"", with: "\"start\": \"\(start)\", \"scaling\"").utf8), to: file)
    }
    let outcome = try bench.run(line)
    #expect(outcome.status == status && outcome.error.contains(says), "\(outcome.status) \(outcome.error)")
    #expect(!bench.exists("x") && !bench.exists("x.h5") && !bench.exists("x.json"))
  }
}

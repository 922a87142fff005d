import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraStages
import Testing

/// gora-init where it takes a model to check it: γ by trying, and starts that are taken back.
@Suite(.serialized) struct InitFlowTests {
  init() { ThreadPool.start(threads: 2) }

  private func prepared() throws -> Workbench {
    let bench = try Workbench()
    try FileManager.default.createDirectory(atPath: bench.file("out"), withIntermediateDirectories: true)
    _ = try FlowTests.grad(bench)
    _ = try FlowTests.score(bench)
    _ = try FlowTests.plan(bench)
    return bench
  }

  private func initialise(
    _ bench: Workbench, _ start: any AdapterStart, _ output: String, trial: GammaTrialOptions? = nil, scaleOfA: Double = 1
  ) throws -> StageSummary {
    var configuration = InitStage.Configuration(
      plan: bench.file("out/plan.json"), model: bench.file("model"), gradients: bench.file("out/grad.h5"),
      output: bench.file(output), start: start, dryRun: false, context: FlowTests.context("gora-init"))
    configuration.gammaTrial = trial
    configuration.scaleOfA = scaleOfA
    return try InitStage(configuration).run { _ in }
  }

  private func loss(_ bench: Workbench, _ adapter: String?) throws -> Double {
    try #require(try FlowTests.eval(bench, adapter: adapter).loss)
  }

  /// The curve's losses are those that gora-eval finds, the least is chosen, and the adapter is the one of that γ.
  @Test func gammaIsChosenByTrying() throws {
    let bench = try prepared()
    let trial = GammaTrialOptions(data: FlowTests.data(bench), batchSize: 2, batches: 2)
    let all = GammaTrialOptions(data: FlowTests.data(bench), batchSize: 64)
    let summary = try initialise(bench, GoRAStart(a: .kaiming, gamma: 0.3), "out/auto", trial: all)
    let adapter = try Adapter(readingFolder: bench.file("out/auto"))
    let start = try JSONDocument(path: "start", text: Array(try #require(adapter.start).compact().utf8)).root
    let search = try start.required("gamma_search")
    let base = try search.required("base_loss").double
    let curve = try search.required("curve").elements.map { point in
      (gamma: try point.required("gamma").double, loss: try point.optional("loss")?.double ?? .infinity)
    }
    #expect(abs(base - (try loss(bench, nil))) < 1e-6 * base)
    #expect(curve.map(\.gamma) == GammaSearch.candidates)
    let best = try #require(curve.min { $0.loss < $1.loss })
    #expect(best.loss < base)
    #expect(try start.required("gamma").double == best.gamma)
    // The tried scale was rounded to binary32, the written B is: they agree as far.
    #expect(abs(try loss(bench, "out/auto") - best.loss) < 1e-5 * best.loss)
    #expect(summary.details.contains { $0.hasSuffix("  <") } && summary.line.contains("gamma "))
    // The same γ given by hand: the same factors.
    _ = try initialise(bench, GoRAStart(a: .kaiming, gamma: best.gamma), "out/given")
    #expect(try Adapter(readingFolder: bench.file("out/given")).modules == adapter.modules)
    // Another point of the curve.
    let other = try #require(curve.first { $0.gamma < 0.01 })
    _ = try initialise(bench, GoRAStart(a: .kaiming, gamma: other.gamma), "out/other")
    #expect(abs(try loss(bench, "out/other") - other.loss) < 1e-5 * other.loss)
    // Fewer rows: two batches of two.
    _ = try initialise(bench, GoRAStart(a: .kaiming, gamma: 1), "out/few", trial: trial)
    let few = try JSONDocument(
      path: "start", text: Array(try #require(try Adapter(readingFolder: bench.file("out/few")).start).compact().utf8)
    ).root.required("gamma_search")
    #expect(try few.required("rows").int == 4 && few.required("base_loss").double != base)
  }

  /// What gora-train makes of the adapter still says how it began.
  @Test func theStartIsRecordedAndKept() throws {
    let bench = try prepared()
    _ = try initialise(bench, GoRAStart(a: .gradientSVD, gamma: 0.02), "out/init")
    let start = try #require(try Adapter(readingFolder: bench.file("out/init")).start)
    let root = try JSONDocument(path: "start", text: Array(start.compact().utf8)).root
    #expect(try root.required("method").string == "gora" && root.required("a").string == "gradient-svd")
    let modules = try root.required("by_module").members
    #expect(modules.count == 8)
    for (_, module) in modules {
      func value(_ key: String) throws -> Double { try module.required(key).double }
      #expect(abs(try value("norm_ratio") - 1) < 1e-6)
      #expect(abs(try value("cosine") * value("cosine") - value("captured")) < 1e-9)
      #expect(abs(try value("best_residual") * value("best_residual") + value("captured") - 1) < 1e-9)
      #expect(abs(try value("legacy") - 0.02 * value("residual")) < 1e-9)
      #expect(try value("relative_update") > 0)
    }
    _ = try FlowTests.train(bench)
    #expect(try Adapter(readingFolder: bench.file("out/tuned")).start == start)
  }

  @Test func scalingAKeepsTheStart() throws {
    let bench = try prepared()
    _ = try initialise(bench, GoRAStart(a: .kaiming, gamma: 0.05), "out/one")
    _ = try initialise(bench, GoRAStart(a: .kaiming, gamma: 0.05), "out/two", scaleOfA: 4)
    let (one, two) = (try Adapter(readingFolder: bench.file("out/one")), try Adapter(readingFolder: bench.file("out/two")))
    // A power of two: exact.
    for (x, y) in zip(one.modules, two.modules) { #expect(y.a == x.a.map { 4 * $0 } && y.b == x.b.map { $0 / 4 }) }
  }

  /// AdaLoRA begins as the base, its ranks fall to the target and are logged, it learns, and what is written is plain LoRA.
  @Test func adaLoRA() throws {
    let bench = try Workbench()
    try bench.prepare()
    try bench.prepareAdaLoRA()
    func loss(_ options: String) throws -> Double {
      let outcome = try bench.run("gora-eval --task loss --data rows.jsonl -q --model model \(options)")
      #expect(outcome.status == 0, "\(outcome.error)")
      return try JSONDocument(path: "eval", text: Array(outcome.output.utf8)).root.required("loss").double
    }
    let start = try Adapter(readingFolder: bench.file("adalora"))
    #expect(start.kind is AdaLoRAKind.Type)
    let kind = try #require(start.layout as? AdaLoRAKind)
    #expect(kind.initialRank == 6 && kind.targetRank == 4)
    #expect(start.modules.allSatisfy { $0.vector == [Float](repeating: 0, count: 6) })
    let line = "gora-train adalora --model model --data rows.jsonl --max-steps 24 --batch-size 3 --lr 5e-3 --target-rank 2"
    let trained = try bench.run("\(line) -o tuned --log log.jsonl")
    #expect(trained.status == 0, "\(trained.error)")
    let tuned = try Adapter(readingFolder: bench.file("tuned"))
    let modules = start.modules.count
    #expect(tuned.kind == LoRAKind.self && tuned.modules.reduce(0) { $0 + $1.rank } == 2 * modules)
    #expect(try loss("--adapter tuned") < loss("") - 1e-2)
    // The last line of ranks is that of the output.
    let log = String(decoding: try bench.bytes("log.jsonl"), as: UTF8.self).split(separator: "\n").filter {
      $0.contains("\"ranks\"")
    }
    let last = try JSONDocument(path: "log", text: Array(try #require(log.last).utf8)).root
    #expect(log.count > 3)
    #expect(try last.required("step").int <= 12)
    for (name, rank) in try last.required("ranks").members {
      #expect(try rank.int == tuned.modules.first { $0.name == name }?.rank ?? 0, "\(name)")
    }
    let uneven = try bench.run("gora-init plan.json --model model --adapter adalora -o out")
    CommandLineTests.expect(uneven, 65, "plan.json:")
    for refused in [
      "gora-init uniform.json --model model --adapter adalora --method lora -o out",
      "gora-init uniform.json --model model --method adalora --adapter dora -o out",
      "\(line) --tinit 20 --tfinal 4 -o out", "\(line) --target-rank 6 -o out", "\(line) --rule adamw -o out",
      "gora-train init --model model --data rows.jsonl --tinit 4 -o out",
      "gora-train init --model model --data rows.jsonl --rule adalora -o out",
    ] {
      CommandLineTests.expect(try bench.run(refused), 64, "error: ")
      #expect(!bench.exists("out"))
    }
  }

  /// GoRA + DoRA: the first loss is that of GoRA, it learns, a resumed run ends in the same bytes, and the merged checkpoint is the same
  /// model.
  @Test(arguments: ["", " --quantize nf4", " --lora-dropout 0.1"]) func dora(_ base: String) throws {
    let bench = try Workbench()
    try bench.prepare()
    func loss(_ options: String) throws -> Double {
      let outcome = try bench.run("gora-eval --task loss --data rows.jsonl -q \(options)")
      #expect(outcome.status == 0, "\(outcome.error)")
      return try JSONDocument(path: "eval", text: Array(outcome.output.utf8)).root.required("loss").double
    }
    let made = try bench.run("gora-init plan.json --model model --gradients grad.h5 --adapter dora -o dora -q")
    #expect(made.status == 0, "\(made.error)")
    let (plain, start) = (try loss("--model model --adapter init"), try loss("--model model --adapter dora"))
    #expect(abs(plain - start) < 1e-6 * plain)
    let line = "gora-train dora --model model --data rows.jsonl --max-steps 6 --batch-size 3 --lr 1e-3 -q --threads 1\(base)"
    #expect(try bench.run("\(line) -o tuned").status == 0)
    #expect(try bench.run("\(line) -o again --max-time 1e-6").status == 75)
    #expect(try bench.run("\(line) -o again --resume").status == 0)
    #expect(try bench.bytes("again/checkpoint/state.safetensors") == bench.bytes("tuned/checkpoint/state.safetensors"))
    let tuned = try Adapter(readingFolder: bench.file("tuned"))
    #expect(tuned.kind == DoRAKind.self && tuned.modules.count == 8)
    let learnt = try loss("--model model --adapter tuned")
    #expect(learnt < start - 1e-2)
    #expect(try bench.run("gora-export tuned --model model --profile merged -o merged -q").status == 0)
    #expect(abs(try loss("--model merged") - learnt) < 1e-5 * learnt)
    for refused in [
      "gora-export tuned --model model --profile padded -o out",
      "gora-train dora --model model --data rows.jsonl --rule lora-pro -o out",
      "gora-init plan.json --model model --method pissa --adapter dora -o out",
    ] {
      CommandLineTests.expect(try bench.run(refused), 64, "error: ")
      #expect(!bench.exists("out"))
    }
  }

  /// The model begins as the base, learns, keeps the half that stays, and every export of it is the same model.
  @Test(arguments: [
    "pissa", "milora", "olora", "lora-ga", "gora-svd",
  ]) func residualStarts(_ name: String) throws {
    let type = try #require(AdapterStarts.all.first { $0.name == name })
    try #require(AdapterStarts.all.filter { $0.isResidual }.contains { $0.name == name })
    let bench = try prepared()
    // Rank 2 everywhere: 2r directions exist in every module.
    try bench.change("out/plan.json") { bytes in
      bytes = Array(String(decoding: bytes, as: UTF8.self).replacing(#/"rank": [0-9]+/#, with: "\"rank\": 2").utf8)
      let text = String(decoding: bytes, as: UTF8.self).replacing(#/"min_rank": [0-9]+/#, with: "\"min_rank\": 1")
      bytes = Array(text.utf8)
    }
    _ = try initialise(bench, type.init(StartSettings()), "out/init")
    let base = try loss(bench, nil)
    let start = try Adapter(readingFolder: bench.file("out/init"))
    #expect(start.modules.allSatisfy { $0.rank == 4 && $0.frozenRank == 2 })
    #expect(start.modules.allSatisfy { $0.b.contains { $0.magnitude > 1e-3 } })
    // Two products of a few units that cancel, in binary32.
    #expect(abs(try loss(bench, "out/init") - base) < 1e-5 * base)
    let trained = try FlowTests.train(bench)
    #expect(trained.parameters == start.trainedParameters)
    // A first step over all rows sees the base's loss.
    var whole = TrainStage.Configuration(
      method: .adapter(bench.file("out/init")), model: bench.file("model"), data: FlowTests.data(bench),
      output: bench.file("out/whole"), context: FlowTests.context("gora-train"))
    (whole.recipe.batchSize, whole.recipe.maxSteps) = (6, 1)
    #expect(abs(try #require(try TrainStage(whole).run { _ in }.firstLoss) - base) < 1e-5 * base)
    let tuned = try Adapter(readingFolder: bench.file("out/tuned"))
    for (before, after) in zip(start.modules, tuned.modules) {
      let (old, new) = (before.components(before.frozen), after.components(after.frozen))
      #expect(old.a == new.a)
      // s is multiplied into B.
      #expect(zip(old.b, new.b).allSatisfy { abs(Double($0) * before.scaling - Double($1)) <= 1e-6 * abs(Double($1)) })
      #expect(before.components(before.trained).a != after.components(after.trained).a)
    }
    let learnt = try loss(bench, "out/tuned")
    #expect(learnt < base - 1e-2)
    for profile in ExportStage.Profile.allCases where profile != .gguf {
      let name = "export-\(profile.rawValue)"
      _ = try ExportStage(
        ExportStage.Configuration(
          adapter: bench.file("out/tuned"), model: bench.file("model"), profile: profile, output: bench.file(name), dryRun: false,
          context: FlowTests.context("gora-export"))
      ).run { _ in }
      let again =
        profile == .merged
        ? try #require(try FlowTests.eval(bench, model: name, adapter: nil).loss) : try loss(bench, name)
      #expect(abs(again - learnt) < 2e-5 * learnt, "\(profile)")
    }
    // The update has at most rank 4, and the same without a component that stays as it is.
    for (maxRank, share) in [(4, 0.0...0.0), (2, 1e-3...0.9)] {
      let summary = try ExportStage(
        ExportStage.Configuration(
          adapter: bench.file("out/tuned"), model: bench.file("model"), profile: .compact, maxRank: maxRank,
          output: bench.file("export-\(maxRank)"), dryRun: false, context: FlowTests.context("gora-export"))
      ).run { _ in }
      let json = try JSONDocument(path: "", text: Array(summary.json.pretty().utf8)).root
      let error = try json.required("truncation").required("error").double
      #expect(share.contains(error), "\(maxRank): \(error)")
      let again = try loss(bench, "export-\(maxRank)")
      #expect(error > 0 ? again < base : abs(again - learnt) < 2e-5 * learnt)
      #expect(
        try Adapter(readingFolder: bench.file("export-\(maxRank)")).modules.allSatisfy {
          $0.frozenRank == 0 && $0.rank <= maxRank
        })
    }
    // Resumed from the compact folder it goes on from where it was.
    #expect(try Adapter(readingFolder: bench.file("export-native")).modules.allSatisfy { $0.frozenRank == 2 })
  }

  @Test func contradictionsAreRefused() throws {
    let bench = try Workbench()
    try bench.prepare()
    let start = "gora-init plan.json --model model --gradients grad.h5 -o x"
    for (options, part) in [
      ("--gamma auto", "--data"), ("--data rows.jsonl", "--gamma auto"),
      ("--method lora --gamma 0.1", "--gamma goes with --method gora"),
      ("--method pissa --a kaiming", "--a goes with"), ("--method lora --exact-norm", "--exact-norm goes with"),
      ("--stable-gamma 4", "--stable-gamma goes with"),
      ("--a-scale 0", "--a-scale"), ("--gamma large", "--gamma"),
      ("--gamma auto --data rows.jsonl --gamma-batches 0", "--gamma-batches"),
    ] {
      let outcome = try bench.run("\(start) \(options)")
      CommandLineTests.expect(outcome, 64, part)
      #expect(!bench.exists("x"))
    }
    let outcome = try bench.run("\(start) --gamma auto --data rows.jsonl -v --json")
    CommandLineTests.expect(outcome, 0, "captured", "legacy", "gamma ", " -> x")
    for key in ["read_seconds", "solve_seconds", "gamma_seconds", "gamma_search", "best_residual"] {
      #expect(outcome.output.contains("\"\(key)\""))
    }
  }
}

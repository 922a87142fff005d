import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraStages
import GoraText
import Testing

/// Memory that a run would take and that is not there: said before it is taken.
@Suite(.serialized) struct MemoryAllowanceTests {
  /// What a stage did with `free` bytes.
  private struct Result {
    var error: GoraError?
    var warnings: [String] = []
  }

  private let bench: Workbench

  init() throws {
    bench = try Workbench()
    try bench.prepare()
  }

  private enum Stage: CaseIterable { case grad, train, full, new, loss }

  private func run(
    _ stage: Stage, free: Int, ignores: Bool = false, isDry: Bool = false, quantization: Quantization? = nil,
    recompute: RecomputeChoice = .auto, batchSize: Int = 3
  ) -> Result {
    var context = RunContext(tool: "test", version: "0", arguments: [], seed: 0, threads: 1, recordsProvenance: false)
    context.memory.free = free
    context.memory.isIgnored = ignores
    let (model, output) = (bench.file("model"), bench.file("out"))
    let data = DataOptions(paths: [bench.file("rows.jsonl")])
    var result = Result()
    func events(_ event: StageEvent) { if case .warning(let text) = event { result.warnings.append(text) } }
    do throws(GoraError) {
      switch stage {
      case .grad:
        var c = GradStage.Configuration(
          model: model, data: data, output: output, targets: try TargetSelection("q_proj"), context: context)
        c.recipe.recompute = recompute
        c.recipe.batchSize = batchSize
        c.spill = .never
        c.dryRun = isDry
        _ = try GradStage(c).run(events: events)
      case .train, .full, .new:
        let method: TrainStage.Method =
          switch stage {
          case .full: .full(try TargetSelection("q_proj"))
          case .new: .fromConfig(bench.file("model/config.json"))
          default: .adapter(bench.file("init"))
          }
        var c = TrainStage.Configuration(method: method, model: model, data: data, output: output, context: context)
        c.recipe.batchSize = batchSize
        c.recipe.recompute = recompute
        c.recipe.quantization = quantization
        c.dryRun = isDry
        _ = try TrainStage(c).run(events: events)
      case .loss:
        var c = EvalStage.Configuration(model: model, task: LossTask.self, data: data, output: .file(output), context: context)
        c.quantization = quantization
        c.dryRun = isDry
        _ = try EvalStage(c).run(events: events)
      }
    } catch { result.error = error }
    return result
  }

  /// Matrices in f32 and f16 are copied for products in bf16, two bytes an element, and no others; linears that become NF4 are not.
  @Test(arguments: [false, true]) func roundedWeights(isHalf: Bool) throws {
    if isHalf { try bench.halve() }
    func open(
      _ precision: PrecisionChoice, _ quantization: Quantization? = nil, free: Int
    ) throws(GoraError) -> LoadedModel {
      var memory = MemoryAllowance()
      memory.free = free
      return try LoadedModel(path: bench.file("model"), precision: precision, quantization: quantization, memory: memory)
    }
    let linears = Set(try open(.f32, free: 0).model.linears.map(\.weight.name))
    let folder = try ModelFolder(path: bench.file("model"))
    let matrices = folder.names.compactMap { folder.tensor($0) }.filter { $0.shape.count == 2 }
    func elements(_ isIncluded: (TensorView) -> Bool) -> Int { matrices.filter(isIncluded).reduce(0) { $0 + $1.count } }
    let inFourBits = NF4Weight.byteCount(elements: elements { linears.contains($0.name) })
    for (quantization, bytes) in [
      (nil, 2 * elements { _ in true }), (.nf4, inFourBits + 2 * elements { !linears.contains($0.name) }),
    ] as [(Quantization?, Int)] {
      _ = try open(.bf16, quantization, free: bytes)
      let error = try #require(throws: GoraError.self) { _ = try open(.bf16, quantization, free: bytes - 1) }
      #expect(error.status == .system && error.problem.hasPrefix("opening the model would take"))
      #expect(error.hint?.hasPrefix("--dtype f32 would lower it") == true)
    }
  }

  @Test func saidBeforeItIsTaken() throws {
    let before = bench.files()
    for stage in Stage.allCases {
      let refused = run(stage, free: 64)
      let error = try #require(refused.error, "\(stage)")
      #expect(error.status == .system && error.status.rawValue == 71, "\(stage): \(error)")
      #expect(error.problem.contains("would take") && error.problem.contains("0 MiB are free"), "\(error)")
      #expect(error.hint?.hasSuffix("--ignore-memory goes on all the same") == true)
      #expect(bench.files() == before, "\(stage)")
      // A run that takes nothing is only warned of, unless it has to take some to say anything.
      if stage != .full, stage != .new {
        let dry = run(stage, free: 64, isDry: true)
        #expect(dry.error == nil && dry.warnings.contains { $0.contains("would take") }, "\(stage)")
      }
      let ignored = run(stage, free: 64, ignores: true)
      #expect(ignored.error == nil && ignored.warnings.contains { $0.contains("would take") }, "\(stage): \(ignored)")
      try bench.remove("out")
      let plenty = run(stage, free: 1 << 40)
      #expect(plenty.error == nil && !plenty.warnings.contains { $0.contains("memory") }, "\(stage): \(plenty)")
      try bench.remove("out")
    }
  }

  /// Only options that are not given yet, and that would lower the run's memory.
  @Test func whatWouldHelp() throws {
    func hint(_ result: Result) throws -> String { try #require(result.error?.hint) }
    let auto = try hint(run(.grad, free: 64))
    #expect(
      auto.contains("--micro-batch-tokens below") && auto.contains("--spill auto") && !auto.contains("--recompute"), "\(auto)")
    #expect(try hint(run(.grad, free: 64, recompute: .never)).contains("--recompute auto"))
    // One row at a time cannot be cut into smaller pieces, but it may be shorter.
    let alone = try hint(run(.grad, free: 64, batchSize: 1))
    #expect(alone.contains("--max-length below") && !alone.contains("--micro-batch-tokens"), "\(alone)")
    #expect(try !hint(run(.train, free: 64)).contains("--quantize"))
    // Opening in 4 bits takes memory that mapped weights do not take.
    for stage in [Stage.train, .loss] {
      let refused = run(stage, free: 64, quantization: .nf4)
      #expect(refused.error?.problem.hasPrefix("opening the model would take") == true, "\(refused)")
      #expect(try hint(refused).contains("no --quantize would lower it"))
    }
  }

  /// The flag of the command lines.
  @Test func commandLine() throws {
    for line in [
      "gora-grad --model model --data rows.jsonl --steps 2 -o out", "gora-train init --model model --data rows.jsonl -o out",
      "gora-eval --model model --task loss --data rows.jsonl -o out",
    ] {
      CommandLineTests.expect(try bench.run("\(line) --ignore-memory"), 0)
      try bench.remove("out")
    }
  }
}

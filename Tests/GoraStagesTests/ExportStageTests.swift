import GoraCore
import GoraFormats
import GoraMethods
import GoraModels
import GoraStages
import Testing

@Suite struct ExportStageTests {
  @discardableResult
  private func export(
    _ toy: ToyCheckpoint, _ profile: ExportStage.Profile, to output: String, model: String? = nil
  ) throws -> [String] {
    var warnings: [String] = []
    _ = try ExportStage(
      ExportStage.Configuration(
        adapter: "\(toy.folder)/init", model: model ?? toy.model, profile: profile, output: output, dryRun: false,
        context: toy.context)
    ).run { if case .warning(let text) = $0 { warnings.append(text) } }
    return warnings
  }

  /// An update below the weights' rounding is lost in bf16, and that is said.
  @Test func weightsThatStayAreCounted() throws {
    for (dtype, gamma, count) in [(DType.bf16, 1e-5, 1), (.f32, 1e-5, 0), (.bf16, 50, 0)] {
      let toy = try ToyCheckpoint(dtype: dtype)
      _ = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: gamma))
      let warnings = try export(toy, .merged, to: "\(toy.folder)/merged")
      let lost = warnings.count { $0.contains("weights that the adapter changes stay as they are") }
      #expect(lost == count, "\(dtype) \(gamma) \(warnings)")
    }
  }

  @Test(arguments: [ExportStage.Profile.compact, .padded, .native])
  func everyProfileMeansTheSameUpdate(_ profile: ExportStage.Profile) throws {
    let toy = try ToyCheckpoint()
    let made = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: 0.05))
    try export(toy, profile, to: "\(toy.folder)/out")
    let read = try Adapter(readingFolder: "\(toy.folder)/out")
    for (a, b) in zip(made.modules, read.modules) {
      let (expected, found) = (toy.update(a), toy.update(b))
      // Rounding s·B to binary32 is relative to the terms of each sum, which may cancel.
      let largest = expected.reduce(0) { max($0, abs($1)) }
      #expect(zip(expected, found).allSatisfy { abs($0 - $1) <= 1e-6 * largest })
    }
    #expect(made.modules.count == read.modules.count)
  }

  @Test(arguments: [DType.f32, .bf16, .f16]) func mergingKeepsDtypeAndUntouchedBytes(_ dtype: DType) throws {
    let toy = try ToyCheckpoint(dtype: dtype)
    let adapter = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: 50))
    let output = "\(toy.folder)/merged"
    try export(toy, .merged, to: output)
    let merged = try ModelFolder(path: output)
    let base = try ModelFolder(path: toy.model)
    #expect(merged.names == base.names)
    let steps: [DType: Double] = [.f32: 0x1p-24, .bf16: 0x1p-8, .f16: 0x1p-11]
    for name in base.names {
      let old = try #require(base.tensor(name))
      let new = try #require(merged.tensor(name))
      #expect(new.dtype == dtype && new.shape == old.shape)
      guard let module = adapter.modules.first(where: { "\($0.name).weight" == name }) else {
        #expect(new.bytes.elementsEqual(old.bytes))
        continue
      }
      for (found, (w, delta)) in zip(try new.toFloat(), zip(try old.toFloat(), toy.update(module))) {
        let exact = Double(w) + delta
        // Half a unit in the last place of the dtype, and the product's own rounding.
        #expect(abs(Double(found) - exact) <= abs(exact) * (steps[dtype] ?? 0) + 1e-6 * (abs(Double(w)) + abs(delta)))
      }
    }
    #expect(try readWholeFile("\(output)/tokenizer.json") == readWholeFile("\(toy.model)/tokenizer.json"))
    #expect(try readWholeFile("\(output)/config.json") == readWholeFile("\(toy.model)/config.json"))
  }

  /// What the summary says of an adapter cut to fewer components.
  private func truncate(
    _ toy: ToyCheckpoint, _ profile: ExportStage.Profile, maxRank: Int? = nil, keep: ParameterBudget? = nil, dryRun: Bool = false,
    adapter: String = "init"
  ) throws -> JSONField {
    let summary = try ExportStage(
      ExportStage.Configuration(
        adapter: "\(toy.folder)/\(adapter)", model: toy.model, profile: profile, maxRank: maxRank, keptParameters: keep,
        output: "\(toy.folder)/out", dryRun: dryRun, context: toy.context)
    ).run { _ in }
    return try toy.document(summary.json.pretty())
  }

  /// What is written is as far from the adapter as the summary says, module by module, in every profile; binary32 leaves 1e-7 of it.
  @Test(arguments: [ExportStage.Profile.compact, .padded, .native], [1, 3, 100])
  func fewerComponents(_ profile: ExportStage.Profile, _ maxRank: Int) throws {
    let toy = try ToyCheckpoint()
    let made = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: 0.05))
    let said = try truncate(toy, profile, maxRank: maxRank).required("truncation")
    let read = try Adapter(readingFolder: "\(toy.folder)/out")
    #expect(read.modules.count == made.modules.count)
    var (lost, whole) = (0.0, 0.0)
    for ((a, b), said) in zip(zip(made.modules, read.modules), try said.required("modules").elements) {
      #expect(b.rank == min(profile == .padded ? 7 : a.rank, maxRank))
      #expect(b.scaling == 1 || profile == .native && abs(b.scaling / a.scaling - 1) < 1e-12)
      let (update, written) = (toy.update(a), toy.update(b))
      let distance = zip(update, written).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      let size = update.reduce(0) { $0 + $1 * $1 }
      #expect(try said.required("module").string == a.name && said.required("old_rank").int(in: 1...99) == a.rank)
      #expect(abs(try said.required("error").double - (distance / size).squareRoot()) < 5e-7)
      lost += distance
      whole += size
    }
    let error = try said.required("error").double
    #expect(abs(error - (lost / whole).squareRoot()) < 5e-7)
    #expect(maxRank == 100 ? error == 0 : error > 0.1)
  }

  /// A share that comes out whole is that many, whatever its product in binary is.
  @Test func sharesOfBudgets() {
    #expect(ParameterBudget.share(0.29).parameters(of: 12_800) == 3712 && ParameterBudget.share(0.3333).parameters(of: 100) == 33)
  }

  /// A budget is met by the file that is written; what a module loses whole is not written, and a dry run says the same.
  @Test(arguments: [ParameterBudget.share(0.25), .count(600), .share(1)]) func budgets(_ budget: ParameterBudget) throws {
    let toy = try ToyCheckpoint()
    let made = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: 0.05))
    let all = made.parameters
    let allowed =
      switch budget {
      case .count(let count): count
      case .share(let share): Int(share * Double(all))
      }
    let said = try truncate(toy, .compact, keep: budget, dryRun: true)
    let written = try truncate(toy, .compact, keep: budget)
    #expect(said.value == written.value)
    let read = try Adapter(readingFolder: "\(toy.folder)/out")
    #expect(read.parameters <= allowed && read.parameters > allowed - 84)
    #expect(try written.required("parameters").int(in: 1...9999) == read.parameters)
    let truncation = try written.required("truncation")
    let kept = try truncation.required("modules").elements.filter { try $0.required("rank").int(in: 0...99) > 0 }
    #expect(try kept.map { try $0.required("module").string } == read.modules.map(\.name))
    if case .share(1) = budget { #expect(read.parameters == all) } else { #expect(read.modules.count < made.modules.count) }
    // Within the budget, then at most two of a module.
    _ = try truncate(toy, .compact, maxRank: 2, keep: budget)
    let both = try Adapter(readingFolder: "\(toy.folder)/out")
    #expect(both.parameters <= allowed && both.modules.allSatisfy { $0.rank <= 2 })
  }

  @Test func whatCannotBeCutIsRefused() throws {
    let toy = try ToyCheckpoint()
    _ = try toy.adapter(start: GoRAStart(a: .kaiming, gamma: 0.05))
    func refused(_ status: GoraCore.ExitStatus, _ word: String, _ body: () throws -> JSONField) {
      let error = #expect(throws: GoraError.self) { _ = try body() }
      #expect(error?.status == status && error?.description.contains(word) == true, "\(error?.description ?? "")")
    }
    refused(.usage, "padded") { try truncate(toy, .padded, keep: .share(0.5)) }
    refused(.usage, "allows 39 parameters") { try truncate(toy, .compact, keep: .count(39)) }
    // PiSSA before training: s·(B·A − B₀·A₀) = 0.
    _ = try toy.adapter(start: PiSSAStart(), folder: "one")
    refused(.data, "changes nothing") { try truncate(toy, .compact, maxRank: 2, adapter: "one") }
    var dora = try Adapter(readingFolder: "\(toy.folder)/init")
    dora.layout = try DoRAKind(ranks: []) { _ in fatalError() }
    for i in dora.modules.indices { dora.modules[i].vector = [Float](repeating: 1, count: dora.modules[i].shape[0]) }
    try dora.write(folder: "\(toy.folder)/two", profile: .native, baseModel: "b", provenance: nil)
    refused(.usage, "DoRA") { try truncate(toy, .merged, maxRank: 2, adapter: "two") }
  }

  @Test func anotherModelAndAnInputAsOutputAreRefused() throws {
    let toy = try ToyCheckpoint()
    _ = try toy.adapter(start: LoRAStart(a: .kaiming), gradients: nil)
    let other = try ToyCheckpoint(seed: 1)
    #expect { try export(toy, .merged, to: "\(toy.folder)/out", model: other.model) } throws: {
      ($0 as? GoraError)?.status == .data
    }
    #expect { try export(toy, .compact, to: "\(toy.folder)/init") } throws: { ($0 as? GoraError)?.status == .usage }
    #expect { try export(toy, .merged, to: toy.model) } throws: { ($0 as? GoraError)?.status == .usage }
  }
}

import GoraCore
import GoraFormats
import GoraMethods
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

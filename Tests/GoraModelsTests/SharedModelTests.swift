import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// Small published models beside Transformers in f32 (`reference.json`), where the shared folder is at hand.
@Suite struct SharedModelTests {
  static let names = ["stories260K", "babyllama105", "babyllama361"]

  /// `GORA_SHARED`, else `shared` beside the project.
  static let shared: String = {
    if let path = ProcessInfo.processInfo.environment["GORA_SHARED"], !path.isEmpty { return path }
    let tests = URL(filePath: Fixtures.folder).deletingLastPathComponent()
    return tests.deletingLastPathComponent().deletingLastPathComponent().appending(path: "shared").path()
  }()

  static var isThere: Bool {
    names.allSatisfy { FileManager.default.fileExists(atPath: "\(shared)/data/models/\($0)/reference.json") }
  }

  static func open(_ name: String) throws -> (model: Decoder, reference: JSONField) {
    try Matmul.open()
    let path = "\(shared)/data/models/\(name)"
    let folder = try ModelFolder(path: path)
    let model = try Decoder(
      config: DecoderConfig(reading: folder.config), from: CheckpointSource(folder: folder, precision: .f32))
    return (model, try JSONDocument(path: "reference.json", text: readWholeFile("\(path)/reference.json")).root)
  }

  @Test(.enabled(if: isThere), arguments: names) func greedy(_ name: String) throws {
    let (model, reference) = try Self.open(name)
    for test in try reference.required("greedy").elements {
      let prompt = try test.required("prompt_ids").ints.map { Int32($0) }
      let ids = try test.required("ids").ints.map { Int32($0) }
      var result: [Int32] = []
      try Generator(
        model: model, sampling: Sampling(), batchSize: 1, maxNewTokens: ids.count - prompt.count, endTokens: []
      ).generate([prompt]) { result = $1 }
      #expect(prompt + result == ids)
    }
  }

  @Test(.enabled(if: isThere), arguments: names) func losses(_ name: String) throws {
    let (model, reference) = try Self.open(name)
    for test in try reference.required("loss").elements {
      let ids = try test.required("ids").ints.map { Int32($0) }
      let batch = PackedBatch(rows: [(ids, ids)])
      let loss = model.loss(batch) / Double(batch.targets.count)
      #expect(abs(loss - (try test.required("mean_loss").double)) < 1e-4)
      let logits = model.logits(batch).suffix(model.config.vocabularySize)
      for (logit, field) in zip(logits, try test.required("last_logits").elements) {
        let expected = try field.double
        #expect(abs(Double(logit) - expected) < 1e-4 * max(1, abs(expected)))
      }
    }
  }

  /// Likelihoods of answers as Transformers has them in float64 (Fixtures/tasks/stories.json), within 1e-4.
  @Test(.enabled(if: isThere)) func likelihoods() throws {
    let (model, _) = try Self.open("stories260K")
    let path = "\(Fixtures.folder)/tasks/stories.json"
    let cases = try JSONDocument(path: path, text: readWholeFile(path)).root.elements
    let choices = try cases.map {
      ChoiceScorer.Choice(ids: try $0.required("ids").ints.map(Int32.init), context: try $0.required("context_ids").int)
    }
    var found: [Double] = []
    try ChoiceScorer(model: model, batchSize: 16).score([choices]) { found = $1 }
    for (value, test) in zip(found, cases) { #expect(try abs(value - test.required("log_likelihood").double) < 1e-4) }
    #expect(found.count == cases.count)
  }
}

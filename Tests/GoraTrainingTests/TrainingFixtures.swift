import Foundation
import GoraCore
import GoraFormats
import GoraModels
import GoraText

@testable import GoraTraining

/// Tests/Fixtures as this suite needs them (Fixtures/README.md).
enum Fixtures {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures").path()

  static let temporaryFolder = FileManager.default.temporaryDirectory.path()

  static func model(_ name: String, precision: Precision = .f32) throws -> Decoder {
    try Matmul.open()
    let folder = try ModelFolder(path: "\(folder)/\(name)/model")
    return try Decoder(
      config: DecoderConfig(reading: folder.config), from: CheckpointSource(folder: folder, precision: precision))
  }

  /// The fixture's adapter, attached.
  static func adapted(_ name: String, precision: Precision = .f32) throws -> (model: Decoder, adapter: Adapter) {
    let model = try model(name, precision: precision)
    let adapter = try Adapter(readingFolder: "\(folder)/\(name)/adapter")
    for module in adapter.modules {
      try model.attach(module: module.name, rank: module.rank, scaling: module.scaling, a: module.a, b: module.b)
    }
    return (model, adapter)
  }

  static func rows(_ name: String) throws -> [EncodedRow] {
    try String(contentsOfFile: "\(folder)/\(name)/rows.jsonl", encoding: .utf8).split(separator: "\n").map { line in
      let root = try JSONDocument(path: "rows", text: Array(line.utf8)).root
      return EncodedRow(
        ids: try root.required("input_ids").ints.map { Int32($0) }, labels: try root.required("labels").ints.map { Int32($0) })
    }
  }

  static func json(_ path: String) throws -> JSONField {
    try JSONDocument(path: path, text: readWholeFile("\(folder)/\(path)")).root
  }

  static func tensors(_ path: String) throws -> [String: [Float]] {
    let file = try SafetensorsFile(path: "\(folder)/\(path)")
    return try Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, try $0.toFloat()) })
  }
}

extension Decoder {
  /// The adapters' factors, B's rate `ratio` times A's.
  func adapterParameters(ratio: Double) -> [(parameter: Parameter, rateFactor: Float)] { AdamWRule.rates(adapters, ratio: ratio) }
}

/// A trainer on the fixture's batches: rows in file order, a constant rate.
func trainer(
  _ model: Decoder, _ optimizer: any Optimizer, rows: [EncodedRow], steps: Int, lr: Double, batchSize: Int = 3,
  microBatchTokens: Int = 8192, clip: Double = 0
) -> Trainer {
  Trainer(
    model: model, optimizer: optimizer, rows: rows,
    settings: Trainer.Settings(
      batchSize: batchSize, microBatchTokens: microBatchTokens,
      schedule: Schedule(shape: .constant, peak: lr, steps: steps, warmupRatio: 0, floor: 1), maxGradientNorm: clip,
      shuffles: false, seed: 0))
}

/// The same with AdamW.
func trainer(
  _ model: Decoder, _ trained: [(parameter: Parameter, rateFactor: Float)], rows: [EncodedRow], steps: Int, lr: Double,
  weightDecay: Double, batchSize: Int = 3, microBatchTokens: Int = 8192, clip: Double = 0
) -> Trainer {
  trainer(
    model, AdamW(trained, settings: AdamW.Settings(weightDecay: Float(weightDecay))), rows: rows, steps: steps, lr: lr,
    batchSize: batchSize, microBatchTokens: microBatchTokens, clip: clip)
}

/// ‖x − y‖ / ‖y‖
func relativeError(_ x: [Float], _ y: [Float]) -> Double {
  precondition(x.count == y.count, "\(x.count) values against \(y.count)")
  var difference = 0.0
  var norm = 0.0
  for (a, b) in zip(x, y) {
    difference += (Double(a) - Double(b)) * (Double(a) - Double(b))
    norm += Double(b) * Double(b)
  }
  return (difference / max(norm, 1e-300)).squareRoot()
}

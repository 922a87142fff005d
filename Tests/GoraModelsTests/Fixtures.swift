import Foundation
import GoraCore
import GoraFormats

@testable import GoraModels

/// Tests/Fixtures: tiny models and what PyTorch says about them (Fixtures/README.md).
enum Fixtures {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures").path()

  static func model(_ name: String, precision: Precision = .f32) throws -> Llama {
    let folder = try ModelFolder(path: "\(folder)/\(name)/model")
    let model = try Llama(
      config: ModelConfig(of: folder), from: CheckpointSource(folder: folder, precision: precision))
    return model
  }

  static func rows(_ name: String) throws -> [(ids: [Int32], labels: [Int32])] {
    try String(contentsOfFile: "\(folder)/\(name)/rows.jsonl", encoding: .utf8).split(separator: "\n").map { line in
      let root = try JSONDocument(path: "rows", text: Array(line.utf8)).root
      return (try root.required("input_ids").ints.map(Int32.init), try root.required("labels").ints.map(Int32.init))
    }
  }

  static func golden(_ name: String) throws -> JSONField {
    try JSONDocument(path: name, text: [UInt8](Data(contentsOf: URL(filePath: "\(folder)/\(name)/golden.json")))).root
  }

  static func tensors(_ path: String) throws -> [String: [Float]] {
    let file = try SafetensorsFile(path: "\(folder)/\(path)")
    return try Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, try $0.toFloat()) })
  }
}

extension Llama {
  /// Gives every linear an adapter of rank 3 that learns, with fixed numbers in A and B.
  func attachAdapters() {
    for linear in linears {
      var random = Random(seed: 5, stream: linear.name)
      let a = FloatBuffer((0..<3 * linear.inputSize).map { _ in Float(random.normal() * 0.2) })
      let b = FloatBuffer((0..<3 * linear.outputSize).map { _ in Float(random.normal() * 0.2) })
      let adapter = LowRankAdapter(
        module: linear.name, rank: 3, scaling: 0.5, a: a, b: b, inputSize: linear.inputSize, outputSize: linear.outputSize)
      adapter.a.makeTrainable()
      adapter.b.makeTrainable()
      linear.adapter = adapter
    }
  }
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

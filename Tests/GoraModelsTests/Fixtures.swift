import Foundation
import GoraCore
import GoraFormats

@testable import GoraModels

/// Tests/Fixtures: tiny models and what PyTorch says about them (Fixtures/README.md).
enum Fixtures {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures").path()

  static func model(_ name: String, precision: Precision = .f32) throws -> Decoder {
    let folder = try ModelFolder(path: "\(folder)/\(name)/model")
    let model = try Decoder(
      config: DecoderConfig(of: folder), from: CheckpointSource(folder: folder, precision: precision))
    return model
  }

  /// The model of one of a golden's `cases`: their `type`'s weights with the `shape` and the case's change in config.json.
  static func model(
    of golden: JSONField, _ name: String, in fixture: String, _ precision: Precision = .f32, changed: [String: String] = [:]
  ) throws -> Decoder {
    let test = try golden.required("cases").required(name)
    let type = try test.required("type").string
    var members = try [golden.required("shape"), test.required("change")].flatMap { field in
      try field.members.map { ($0.key, $0.field.value.compact()) }
    }
    members.append(("model_type", "\"\(type)\""))
    let last = Dictionary(members + changed.map { ($0.key, $0.value) }) { $1 }
    let folder = FileManager.default.temporaryDirectory.appending(path: "gora-\(UUID().uuidString)").path()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let text = "{" + last.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ",") + "}"
    try text.write(toFile: "\(folder)/config.json", atomically: false, encoding: .utf8)
    try FileManager.default.createSymbolicLink(
      atPath: "\(folder)/model.safetensors", withDestinationPath: "\(Self.folder)/\(fixture)/\(type).safetensors")
    let checkpoint = try ModelFolder(path: folder)
    return try Decoder(config: DecoderConfig(of: checkpoint), from: CheckpointSource(folder: checkpoint, precision: precision))
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

extension Decoder {
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

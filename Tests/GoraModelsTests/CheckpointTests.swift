import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// One model's weights as checkpoints hold them: at odd addresses, tied in every way, by other names.
@Suite(.serialized) struct CheckpointTests {
  typealias Tensor = (name: String, dtype: DType, shape: [Int], bytes: [UInt8])

  init() throws { try Matmul.open() }

  static func tensors(_ fixture: String) throws -> [Tensor] {
    let folder = try ModelFolder(path: "\(Fixtures.folder)/\(fixture)/model")
    return folder.names.compactMap { folder.tensor($0) }.map { ($0.name, $0.dtype, $0.shape, [UInt8]($0.bytes)) }
  }

  /// Opens a folder with the fixture's config.json and these tensors, in one file.
  /// - Parameter shift: blanks after the header, which move all elements
  static func model(
    _ fixture: String, _ tensors: [Tensor], replacing: (String, String) = ("", ""), shift: Int = 0, precision: Precision = .f32
  ) throws -> Decoder {
    let folder = FileManager.default.temporaryDirectory.appending(path: "gora-\(UUID().uuidString)").path()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let config = try String(contentsOfFile: "\(Fixtures.folder)/\(fixture)/model/config.json", encoding: .utf8)
    try config.replacingOccurrences(of: replacing.0, with: replacing.1)
      .write(toFile: "\(folder)/config.json", atomically: false, encoding: .utf8)
    var header = "{"
    var data: [UInt8] = []
    for tensor in tensors {
      header += "\(data.isEmpty ? "" : ",")\"\(tensor.name)\":{\"dtype\":\"\(tensor.dtype.rawValue)\",\"shape\":\(tensor.shape),"
      header += "\"data_offsets\":[\(data.count),\(data.count + tensor.bytes.count)]}"
      data += tensor.bytes
    }
    header += "}"
    header += String(repeating: " ", count: (8 - header.utf8.count % 8) % 8 + shift)
    let file = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8) + data
    try Data(file).write(to: URL(filePath: "\(folder)/model.safetensors"))
    let checkpoint = try ModelFolder(path: folder)
    return try Decoder(config: DecoderConfig(of: checkpoint), from: CheckpointSource(folder: checkpoint, precision: precision))
  }

  static func logits(_ model: Decoder) throws -> [Float] {
    model.logits(PackedBatch(rows: Array(try Fixtures.rows("llama").prefix(2))))
  }

  /// Weights at odd addresses stay in their own type and give the same bits.
  @Test(arguments: ["llama", "llama-bf16"], [Precision.f32, .bf16]) func oddAddresses(_ fixture: String, precision: Precision)
    throws
  {
    let tensors = try Self.tensors(fixture)
    let even = try Self.model(fixture, tensors, precision: precision)
    let odd = try Self.model(fixture, tensors, shift: 1, precision: precision)
    #expect(try Self.logits(odd) == Self.logits(even))
    for (a, b) in zip(even.linears, odd.linears) {
      switch (a.weight.matrix.storage, b.weight.matrix.storage) {
      case (.f32, .f32), (.bf16, .bf16): break
      default: Issue.record("\(a.name) is held in another type")
      }
      #expect(b.weight.mappedBytes == 0 || fixture == "llama" && precision == .bf16)
    }
  }

  /// In bf16 a checkpoint in f16 is the one whose matrices were rounded to bf16, as Transformers casts them; in f32 it is itself.
  @Test func halfPrecision() throws {
    func floats(_ tensor: Tensor) -> [Float] { tensor.bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) } }
    func bytes<T>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }
    let f16 = try Self.tensors("llama").map { ($0.name, DType.f16, $0.shape, bytes(floats($0).map { Float16($0) })) as Tensor }
    func converted(_ tensor: Tensor, _ type: DType) -> Tensor {
      let values = tensor.bytes.withUnsafeBytes { $0.bindMemory(to: Float16.self).map { Float($0) } }
      return (tensor.name, type, tensor.shape, type == .bf16 ? bytes(values.map { BFloat16($0).bitPattern }) : bytes(values))
    }
    let rounded = f16.map { $0.shape.count == 2 ? converted($0, .bf16) : $0 }
    let model = try Self.model("llama", f16, precision: .bf16)
    #expect(try Self.logits(model) == Self.logits(Self.model("llama", rounded, precision: .bf16)))
    #expect(model.linears.allSatisfy { $0.weight.mappedBytes == 0 })
    // Where one learns, it starts from what the file has.
    let weight = model.linears[0].weight
    weight.makeTrainable()
    let own = try #require(f16.first { $0.name == weight.name })
    #expect(weight.values.map { bytes($0.array) } == converted(own, .f32).bytes)

    let exact = try Self.logits(Self.model("llama", f16.map { converted($0, .f32) }))
    #expect(relativeError(try Self.logits(Self.model("llama", f16)), exact) < 1e-6)
  }

  /// The fixture's embeddings are tied and it has no head.
  @Test func tying() throws {
    let tied = try Self.tensors("llama")
    let embedding = try #require(tied.first { $0.name == DecoderConfig.embeddingName })
    var head = embedding
    head.name = DecoderConfig.headName
    let expected = try Self.logits(Self.model("llama", tied))

    let both = try Self.model("llama", tied + [head])
    #expect(both.config.tiesEmbeddings && both.config.notes.isEmpty && both.parameters.count == tied.count)
    #expect(try Self.logits(both) == expected)

    let headOnly = try Self.model("llama", tied.filter { $0.name != embedding.name } + [head])
    #expect(headOnly.config.tiesEmbeddings && headOnly.parameters.map(\.name).contains(DecoderConfig.embeddingName))
    #expect(try Self.logits(headOnly) == expected)

    // Another head: used, whatever the flag says.
    head.bytes[1] ^= 0x41
    let other = try Self.model("llama", tied + [head])
    #expect(!other.config.tiesEmbeddings && other.config.notes.count == 1 && other.config.notes[0].contains("not tied"))
    let flag = ("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false")
    let untied = try Self.model("llama", tied + [head], replacing: flag)
    #expect(untied.config.notes.isEmpty)
    #expect(try Self.logits(other) == Self.logits(untied))
    #expect(try Self.logits(other) != expected)

    // Not tied by the flag: a head must be there, and an embedding.
    for lacking in [tied, tied.filter { $0.name != embedding.name } + [head]] {
      let error = #expect(throws: GoraError.self) { try Self.model("llama", lacking, replacing: flag) }
      #expect(error?.problem.contains("lacks tensor") == true)
    }
  }

  /// Names as a model without a head has them.
  @Test func namesOfTheBody() throws {
    let tensors = try Self.tensors("llama")
    let bare = tensors.map { (String($0.name.trimmingPrefix("model.")), $0.dtype, $0.shape, $0.bytes) }
    #expect(try Self.logits(Self.model("llama", bare)) == Self.logits(Self.model("llama", tensors)))
  }

  /// Norms in a type that is no float are no norms.
  @Test func integerNorm() throws {
    let tensors = try Self.tensors("llama").map { tensor in
      tensor.name == "model.norm.weight" ? (tensor.name, DType.u8, tensor.shape, [UInt8](repeating: 1, count: 32)) : tensor
    }
    let error = #expect(throws: GoraError.self) { try Self.model("llama", tensors) }
    #expect(error?.status == .data && error?.problem.contains("U8") == true)
  }
}

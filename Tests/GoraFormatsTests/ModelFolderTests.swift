import Foundation
import GoraCore
import GoraFormats
import Testing

/// A copy of a fixture's checkpoint that a test may damage.
private func copied(_ fixture: String, _ scratch: ScratchFolder) throws -> String {
  let path = "\(scratch.path)/model"
  try FileManager.default.copyItem(atPath: "\(fixturesFolder)/\(fixture)/model", toPath: path)
  return path
}

private func replace(_ file: String, _ old: String, _ new: String) throws {
  let text = try String(contentsOfFile: file, encoding: .utf8)
  try #require(text.contains(old))
  try text.replacingOccurrences(of: old, with: new).write(toFile: file, atomically: true, encoding: .utf8)
}

@Suite struct ModelFolderTests {
  @Test func opensOneFileAndShards() throws {
    let one = try ModelFolder(path: "\(fixturesFolder)/llama/model")
    #expect(one.names.contains("model.layers.0.self_attn.q_proj.weight"))
    #expect(one.names == one.names.sorted())
    #expect(one.tensor("nothing") == nil)
    #expect(one.dtype == .f32)
    #expect(try one.config.root.required("model_type").string == "llama")
    let shards = try ModelFolder(path: "\(fixturesFolder)/llama-bf16/model")
    #expect(shards.dtype == .bf16)
    #expect(shards.names.contains("model.layers.0.self_attn.q_proj.weight"))
    let listed = try JSONDocument(
      path: "index", text: readWholeFile("\(fixturesFolder)/llama-bf16/model/model.safetensors.index.json"))
    #expect(try listed.root.required("weight_map").members.map(\.key).sorted() == shards.names)
  }

  @Test func identityIsOfTheWeightsNotOfTheFiles() throws {
    let scratch = ScratchFolder()
    let folder = try ModelFolder(path: "\(fixturesFolder)/llama-bf16/model")
    // The same tensors in one file.
    let tensors = folder.names.compactMap { folder.tensor($0) }
    func write(_ tensors: [TensorView], _ name: String) throws -> String {
      let path = "\(scratch.path)/\(name)"
      try makeFolder(path)
      try AtomicFile.write(path: "\(path)/config.json", text: "{}")
      try SafetensorsWriter.write(
        path: "\(path)/model.safetensors",
        tensors: tensors.map { SafetensorsWriter.Tensor(name: $0.name, dtype: $0.dtype, shape: $0.shape, bytes: $0.bytes) },
        metadata: [])
      return try ModelFolder(path: path).identity
    }
    #expect(folder.identity.count == 64)
    #expect(try write(tensors, "joined") == folder.identity)
    #expect(try write(Array(tensors.dropLast()), "fewer") != folder.identity)
    var first = try #require(tensors.first).bytes.map { $0 }
    first[0] ^= 1
    try first.withUnsafeBytes { bytes in
      let changed = SafetensorsWriter.Tensor(
        name: tensors[0].name, dtype: tensors[0].dtype, shape: tensors[0].shape, bytes: bytes)
      let path = "\(scratch.path)/changed"
      try makeFolder(path)
      try AtomicFile.write(path: "\(path)/config.json", text: "{}")
      let rest = tensors.dropFirst().map {
        SafetensorsWriter.Tensor(name: $0.name, dtype: $0.dtype, shape: $0.shape, bytes: $0.bytes)
      }
      try SafetensorsWriter.write(path: "\(path)/model.safetensors", tensors: [changed] + rest, metadata: [])
      #expect(try ModelFolder(path: path).identity != folder.identity)
    }
    #expect(try ModelFolder(path: "\(fixturesFolder)/llama/model").identity != folder.identity)
  }

  @Test func refusesWhatIsMissing() throws {
    let scratch = ScratchFolder()
    let nowhere = errorThrown { try ModelFolder(path: "\(scratch.path)/none") }
    #expect(nowhere.status == .noInput && nowhere.hint != nil)
    let file = try scratch.file("file", "")
    #expect(errorThrown { try ModelFolder(path: file) }.status == .noInput)
    #expect(errorThrown { try ModelFolder(path: scratch.path) }.problem.contains("no config.json"))
    _ = try scratch.file("config.json", "{}")
    #expect(try CheckpointFiles(scratch.path).config.root.members.isEmpty)
    #expect(errorThrown { try ModelFolder(path: scratch.path) }.problem.contains("no model.safetensors"))
    _ = try scratch.file("pytorch_model.bin", "")
    let pickle = errorThrown { try ModelFolder(path: scratch.path) }
    #expect(pickle.status == .noInput && pickle.problem.contains("pytorch_model.bin") && pickle.hint != nil)
  }

  @Test func namesAMissingShard() throws {
    let scratch = ScratchFolder()
    let path = try copied("llama-bf16", scratch)
    let shard = "\(path)/model-00002-of-00002.safetensors"
    try FileManager.default.removeItem(atPath: shard)
    let error = errorThrown { try ModelFolder(path: path) }
    #expect(error.status == .noInput && error.location == .file(shard))
  }

  @Test(arguments: ["../model-00001-of-00002.safetensors", "/etc/passwd", "..", "a/b", ""])
  func refusesShardNamesThatLeaveTheFolder(_ name: String) throws {
    let scratch = ScratchFolder()
    let path = try copied("llama-bf16", scratch)
    try replace("\(path)/model.safetensors.index.json", "\"model-00001-of-00002.safetensors\"", "\"\(name)\"")
    let error = errorThrown { try ModelFolder(path: path) }
    #expect(error.status == .data && error.problem.contains("shard name"))
  }

  @Test func namesAWeightThatAShardLacks() throws {
    let scratch = ScratchFolder()
    let path = try copied("llama-bf16", scratch)
    try replace("\(path)/model.safetensors.index.json", "model.norm.weight", "model.other.weight")
    let error = errorThrown { try ModelFolder(path: path) }
    #expect(error.status == .data && error.problem.contains("model.other.weight"))
    guard case .text = error.location else {
      Issue.record("no line and column")
      return
    }
  }

  /// A tensor that the index does not name, or looks for in the wrong shard, is there; of two the later shard's counts.
  @Test func takesTheShardsAsTheyAre() throws {
    let scratch = ScratchFolder()
    let path = try copied("llama-bf16", scratch)
    let identity = try ModelFolder(path: path).identity
    let index = "\(path)/model.safetensors.index.json"
    try replace(index, "\"model.norm.weight\": \"model-00002", "\"model.norm.weight\": \"model-00001")
    #expect(try ModelFolder(path: path).identity == identity)
    try replace(index, "\"model.norm.weight\": \"model-00001-of-00002.safetensors\"", "\"model.embed_tokens.weight\": \"c\"")
    let duplicate = errorThrown { try ModelFolder(path: path) }
    #expect(duplicate.problem.contains("duplicate key"))
    let one = [UInt8](repeating: 1, count: 64)
    try one.withUnsafeBytes { bytes in
      try SafetensorsWriter.write(
        path: "\(path)/model-00003.safetensors",
        tensors: [SafetensorsWriter.Tensor(name: "model.norm.weight", dtype: .bf16, shape: [32], bytes: bytes)], metadata: [])
    }
    try replace(index, "\"model.embed_tokens.weight\": \"c\"", "\"model.norm.weight\": \"model-00003.safetensors\"")
    #expect(try ModelFolder(path: path).tensor("model.norm.weight").map { [UInt8]($0.bytes) } == one)
  }

  @Test func refusesQuantisedWeights() throws {
    let scratch = ScratchFolder()
    let path = try copied("llama", scratch)
    try AtomicFile.write(path: "\(path)/config.json", text: #"{"quantization_config": {"bits": 4}}"#)
    #expect(errorThrown { try ModelFolder(path: path) }.problem.contains("quantised"))
  }
}

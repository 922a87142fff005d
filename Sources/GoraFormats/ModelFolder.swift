import Glibc
import GoraCore
import Synchronization

/// A checkpoint: config.json and its weights as safetensors, in one file or in shards with an index, or a GGUF file in their place.
package final class ModelFolder: Sendable {
  package let files: CheckpointFiles
  package var path: String { files.path }
  package let config: JSONDocument
  /// Parameter names, sorted.
  package let names: [String]
  private let tensors: [String: TensorView]
  private let cachedIdentity = Mutex<String?>(nil)

  /// Opens a checkpoint; weights are mapped, not read.
  /// - Throws: `.noInput` where the folder or its files are missing, `.data` where they are malformed, incomplete or quantised.
  package convenience init(path: String) throws(GoraError) { try self.init(CheckpointFiles(path)) }

  /// The same of files that are open.
  package init(_ files: CheckpointFiles) throws(GoraError) {
    self.files = files
    let path = files.path
    config = try files.config
    if let gguf = files.gguf {
      tensors = try gguf.huggingFaceTensors()
      names = tensors.keys.sorted()
      return
    }
    try Self.refuseQuantised(config.root)
    var tensors: [String: TensorView] = [:]
    let single = "\(path)/model.safetensors"
    let indexPath = "\(path)/model.safetensors.index.json"
    if access(single, F_OK) == 0 {
      for tensor in try SafetensorsFile(path: single).tensors { tensors[tensor.name] = tensor }
    } else if access(indexPath, F_OK) == 0 {
      tensors = try ModelFolder.shards(path: path, indexPath: indexPath)
    } else {
      let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.bin", "consolidated.00.pth"]
      if let other = pickled.first(where: { access("\(path)/\($0)", F_OK) == 0 }) {
        throw GoraError(
          .noInput, at: .file(path), "no model.safetensors; \"\(other)\" is a pickle, which may run code when it is read",
          hint: "convert it: python -c 'from transformers import AutoModelForCausalLM as M; "
            + "M.from_pretrained(\"\(path)\").save_pretrained(\"\(path)-safetensors\")'")
      }
      if let other = try FileProbe.names(in: path).first(where: { $0.hasSuffix(".safetensors") }) {
        throw GoraError(
          .noInput, at: .file(path), "no model.safetensors and no model.safetensors.index.json, only \"\(other)\"",
          hint: "expected Transformers' layout of a whole checkpoint")
      }
      throw GoraError(
        .noInput, at: .file(path), "no model.safetensors and no model.safetensors.index.json",
        hint: "is the download of the checkpoint complete?")
    }
    let isTied = try config.root.optional("tie_word_embeddings")?.bool ?? false
    self.tensors = Self.canonical(tensors, isTied: isTied)
    names = self.tensors.keys.sorted()
  }

  /// Weights by the names of a causal language model: those of its body alone lack "model.", and of tied embeddings only the head
  /// may be there. An encoder-decoder may have its one embedding under any of its names.
  private static func canonical(_ tensors: [String: TensorView], isTied: Bool) -> [String: TensorView] {
    var renamed: [String: TensorView] = [:]
    for (name, tensor) in tensors {
      let isBody = ["embed_tokens.", "layers.", "norm."].contains { name.hasPrefix($0) }
      var tensor = tensor
      if isBody, tensors["model." + name] == nil { tensor.name = "model." + name }
      renamed[tensor.name] = tensor
    }
    if renamed.keys.contains(where: { $0.hasPrefix("encoder.block.") }) {
      let others = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
      if renamed["shared.weight"] == nil, let name = others.first(where: { renamed[$0] != nil }),
        var embedding = renamed.removeValue(forKey: name)
      {
        embedding.name = "shared.weight"
        renamed[embedding.name] = embedding
      }
    } else if isTied, renamed["model.embed_tokens.weight"] == nil, var head = renamed.removeValue(forKey: "lm_head.weight") {
      head.name = "model.embed_tokens.weight"
      renamed[head.name] = head
    }
    return renamed
  }

  /// Refuses configurations of quantised weights, naming the method.
  package static func refuseQuantised(_ root: JSONField) throws(GoraError) {
    for key in ["quantization_config", "compression_config"] {
      guard let field = try root.optional(key) else { continue }
      var method = ""
      if let name = try field.optional("quant_method") { method = " by \"\(try name.string)\"" }
      throw field.error(
        "the weights are quantised\(method); expected F32, F16 or BF16", hint: "use the checkpoint that it was quantised from")
    }
  }

  package static let weightsName = "model.safetensors"
  package static let configName = "config.json"

  /// Files beside weights and configuration that make a checkpoint complete.
  private static let companionNames = [
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json", "merges.txt",
    "preprocessor_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json",
  ]

  /// Chat templates with names of their own.
  private static let namedTemplates = "additional_chat_templates"

  /// Those of them that a folder has, and its named chat templates.
  package static func companions(in folder: String) throws(GoraError) -> [String] {
    var names = companionNames.filter { exists("\(folder)/\($0)") }
    if exists("\(folder)/\(namedTemplates)") {
      names += try FileProbe.names(in: "\(folder)/\(namedTemplates)").filter { $0.hasSuffix(".jinja") }.map {
        "\(namedTemplates)/\($0)"
      }
    }
    return names
  }

  /// The files of a checkpoint with the companions of another, the one that makes it valid last.
  package static func fileNames(withCompanionsIn folder: String) throws(GoraError) -> [String] {
    try companions(in: folder) + [weightsName, configName]
  }

  /// Refuses to write a checkpoint beside what Transformers would load with it, or in its place.
  package static func requireNoOther(in folder: String) throws(GoraError) {
    let others = [
      ("adapter_config.json", "an adapter, which Transformers would load with the checkpoint"),
      ("model.safetensors.index.json", "the shards of another checkpoint"),
    ]
    for (name, what) in others where exists("\(folder)/\(name)") {
      throw GoraError(.cannotCreate, at: .file("\(folder)/\(name)"), "the folder has \(what)", hint: "write to another folder")
    }
  }

  package func tensor(_ name: String) -> TensorView? { tensors[name] }

  /// Number of weights in all tensors.
  package var totalParameters: Int { tensors.values.reduce(0) { $0 + $1.count } }

  /// The dtype that most of the weights have.
  package var dtype: DType {
    let counts = DType.allCases.map { dtype in
      tensors.values.reduce(0) { $0 + ($1.dtype == dtype ? $1.count : 0) }
    }
    // The first of equals, in the order of `DType`.
    let most = counts.indices.dropFirst().reduce(0) { counts[$1] > counts[$0] ? $1 : $0 }
    return DType.allCases[most]
  }

  /// What the weights are, independent of where they lie and how they are sharded: 64 hexadecimal digits.
  ///
  /// SHA-256 over the tensors sorted by name: name, dtype, shape, and a fixed sample of the bytes: 64 pieces of 64 bytes, evenly
  /// spaced, the first and the last included (all bytes of tensors up to 4096). A sample, because hashing 16 GB would take longer
  /// than most stages; training moves nearly every weight, so a tuned model differs in nearly every sampled byte.
  package var identity: String {
    cachedIdentity.withLock { cached in
      if let cached { return cached }
      let digest = SHA256()
      for name in names {
        guard let tensor = tensors[name] else { continue }
        digest.update(name.utf8.count)
        digest.update(name)
        digest.update(tensor.dtype.rawValue + ";")
        digest.update(tensor.shape.count)
        for size in tensor.shape { digest.update(size) }
        let bytes = tensor.bytes
        if bytes.count <= 4096 {
          digest.update(bytes)
        } else {
          for piece in 0..<64 {
            let start = (bytes.count - 64) * piece / 63
            digest.update(UnsafeRawBufferPointer(rebasing: bytes[start..<start + 64]))
          }
          // The system maps 64 KiB around each piece: gigabytes of a large model that may never be used.
          tensor.releasePages()
        }
      }
      let identity = digest.finish()
      cached = identity
      return identity
    }
  }

  /// The tensors of all shards that the index names, in the order of the shards' names, as Transformers takes them: a tensor that
  /// stands in two is that of the later one.
  private static func shards(path: String, indexPath: String) throws(GoraError) -> [String: TensorView] {
    let map = try JSONDocument(path: indexPath, text: readWholeFile(indexPath)).root.required("weight_map").members
    var shards: Set<String> = []
    for (_, field) in map {
      let shard = try field.string
      let isPlain = !shard.isEmpty && shard != "." && !shard.contains("..") && !shard.utf8.contains(UInt8(ascii: "/"))
      guard isPlain, !shard.utf8.contains(0) else {
        throw field.error("shard name \"\(shard)\" leads out of the folder; expected a plain file name")
      }
      shards.insert(shard)
    }
    var tensors: [String: TensorView] = [:]
    for shard in shards.sorted(by: { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }) {
      guard access("\(path)/\(shard)", F_OK) == 0 else {
        throw GoraError(
          .noInput, at: .file("\(path)/\(shard)"), "missing shard, named by model.safetensors.index.json",
          hint: "is the download of the checkpoint complete?")
      }
      for tensor in try SafetensorsFile(path: "\(path)/\(shard)").tensors { tensors[tensor.name] = tensor }
    }
    for (name, field) in map where tensors[name] == nil {
      throw field.error("shard \"\(try field.string)\" has no tensor \"\(name)\"")
    }
    return tensors
  }
}

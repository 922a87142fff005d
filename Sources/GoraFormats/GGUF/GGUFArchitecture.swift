import GoraCore

/// What a GGUF file of one `general.architecture` is in Hugging Face's terms: the names of its tensors and its config.json. A new
/// architecture is a file beside this and a line in `all`.
package struct GGUFArchitecture: Sendable {
  /// `general.architecture`, and the first part of the keys that describe the model.
  package let name: String
  /// config.json's `model_type` and the one name of its `architectures`.
  package let modelType: String
  package let className: String
  /// Modules outside of blocks, without `.weight` and `.bias`: `token_embd` is `model.embed_tokens`.
  package let modules: [(gguf: String, huggingFace: String)]
  /// Modules of block N: `attn_q` in `blk.N` is `self_attn.q_proj` in `model.layers.N`.
  package let blockModules: [(gguf: String, huggingFace: String)]
  /// Whether the rows of q and k, weights and biases, lie so that the pairs that turn together are neighbours.
  package let interleavesRotaryPairs: Bool
  /// Keys after `name.` that `settings` reads, beside those of all decoders.
  package let keys: [String]
  /// Further `model_type`s that llama.cpp's converter takes for it.
  package var otherModelTypes: [String] = []
  /// What the weights of norms have in the file beside those at Hugging Face.
  package var normOffset: Float = 0
  /// Members of config.json beside those of all decoders, or in their place.
  package let settings: @Sendable (GGUFFile) throws(GoraError) -> [JSON.Member]

  package static let all: [GGUFArchitecture] = [.llama, .qwen2, .qwen3, .gemma2, .gemma3]

  /// The architecture of a file.
  /// - Throws: `.data` where the file is no model or of an architecture that is not known.
  package static func of(_ file: GGUFFile) throws(GoraError) -> GGUFArchitecture {
    if let type = file.metadata("general.type"), try type.string != "model" {
      throw type.error("is \"\(try type.string)\"; expected \"model\"")
    }
    let field = try file.required("general.architecture")
    let name = try field.string
    guard let own = all.first(where: { $0.name == name }) else {
      throw field.error("is \"\(name)\", which is not supported", hint: "supported: \(all.map(\.name).joined(separator: ", "))")
    }
    return own
  }

  /// The architecture that llama.cpp's converter makes of a checkpoint; nil where none is known here.
  package static func of(modelType: String) -> GGUFArchitecture? {
    all.first { $0.modelType == modelType || $0.otherModelTypes.contains(modelType) }
  }

  /// The modules that all decoders have.
  package static let decoderModules = [
    (gguf: "token_embd", huggingFace: "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head"),
  ]
  package static let attentionModules = [
    (gguf: "attn_q", huggingFace: "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
  ]
  package static let gatedModules = [
    (gguf: "ffn_gate", huggingFace: "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj"),
  ]

  /// Whether the rows of a tensor, by its name at Hugging Face, lie interleaved.
  package func interleaves(_ name: String) -> Bool {
    interleavesRotaryPairs && (name.contains(".q_proj.") || name.contains(".k_proj."))
  }

  /// What a tensor of Hugging Face's is called here; nil where the architecture has none of that name.
  package func ggufName(of tensor: String) -> String? {
    guard let dot = tensor.lastIndex(of: ".") else { return nil }
    let (module, suffix) = (tensor[..<dot], tensor[dot...])
    if let own = modules.first(where: { $0.huggingFace == module }) { return own.gguf + suffix }
    let parts = module.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "model", parts[1] == "layers", Int(parts[2]) != nil else { return nil }
    return blockModules.first { $0.huggingFace == parts[3] }.map { "blk.\(parts[2]).\($0.gguf)\(suffix)" }
  }

  /// What a tensor is called at Hugging Face; nil where the architecture has none of that name.
  package func huggingFaceName(of tensor: String) -> String? {
    guard let dot = tensor.lastIndex(of: ".") else { return nil }
    let (module, suffix) = (tensor[..<dot], tensor[dot...])
    guard [".weight", ".bias"].contains(suffix) else { return nil }
    if let own = modules.first(where: { $0.gguf == module }) { return own.huggingFace + suffix }
    let parts = module.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == "blk", let block = Int(parts[1]), String(block) == parts[1] else { return nil }
    return blockModules.first { $0.gguf == parts[2] }.map { "model.layers.\(block).\($0.huggingFace)\(suffix)" }
  }
}

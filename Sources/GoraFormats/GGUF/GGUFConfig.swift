import CGoraKernels
import GoraCore

/// What a GGUF file's metadata says of a decoder, as the config.json of the same model at Hugging Face would say it.
package struct GGUFConfig {
  let file: GGUFFile
  package let architecture: GGUFArchitecture

  /// - Throws: `.data` for an architecture, a kind of file or a key that is not known.
  package init(_ file: GGUFFile) throws(GoraError) {
    self.file = file
    architecture = try GGUFArchitecture.of(file)
    if let version = file.metadata("general.quantization_version"), try version.int != 2 {
      throw version.error("is \(try version.int); expected 2, the layout of llama.cpp's blocks since 2023")
    }
    // A key that is passed over may change what the model computes.
    let known = Set((Self.keys + architecture.keys).map { "\(architecture.name).\($0)" })
    for key in file.keys where key.hasPrefix("\(architecture.name).") && !known.contains(key) {
      throw GoraError(.data, at: .object(file.path, name: " key \"\(key)\""), "what it says of the model is not supported")
    }
    if let experts = own("expert_count"), try experts.int != 0 { throw experts.error("mixtures of experts are not supported") }
    if let causal = own("attention.causal"), try !causal.bool { throw causal.error("is false; expected a causal model") }
  }

  /// Keys after the architecture's name that are read for all decoders, and (the last line) those that change nothing here.
  private static let keys = [
    "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "context_length", "vocab_size",
    "rope.freq_base", "rope.dimension_count", "rope.scale_linear", "rope.scaling.type", "rope.scaling.factor",
    "rope.scaling.original_context_length", "rope.scaling.attn_factor", "expert_count", "attention.causal",
    "rope.scaling.finetuned", "tensor_data_layout", "expert_used_count",
  ]

  /// A key of the architecture's own.
  private func own(_ key: String) -> GGUFField? { file.metadata("\(architecture.name).\(key)") }

  private func size(_ key: String) throws(GoraError) -> Int {
    try file.required("\(architecture.name).\(key)").int(in: 1...(1 << 30))
  }

  /// Of the keys and queries of one head.
  package var headSize: Int {
    get throws(GoraError) {
      let (hidden, heads) = (try size("embedding_length"), try size("attention.head_count"))
      guard let field = own("attention.key_length") else {
        guard hidden % heads == 0 else {
          throw try file.required("\(architecture.name).attention.head_count").error(
            "is \(heads), no divisor of embedding_length, \(hidden), and there is no attention.key_length")
        }
        return hidden / heads
      }
      return try field.int(in: 2...8192)
    }
  }

  /// The text of config.json.
  package func json() throws(GoraError) -> JSON {
    let headSize = try headSize
    for key in ["attention.value_length", "rope.dimension_count"] {
      guard let field = own(key) else { continue }
      let size = try field.int
      guard size == headSize else { throw field.error("is \(size), where heads have a size of \(headSize)") }
    }
    var members = [
      JSON.Member("architectures", [JSON(architecture.className)]), JSON.Member("model_type", JSON(architecture.modelType)),
      JSON.Member("hidden_act", "silu"), JSON.Member("hidden_size", JSON(try size("embedding_length"))),
      JSON.Member("intermediate_size", JSON(try size("feed_forward_length"))),
      JSON.Member("num_hidden_layers", JSON(try size("block_count"))),
      JSON.Member("num_attention_heads", JSON(try size("attention.head_count"))),
      JSON.Member(
        "num_key_value_heads", JSON(try (own("attention.head_count_kv") ?? own("attention.head_count"))?.int ?? 0)),
      JSON.Member("head_dim", JSON(headSize)), JSON.Member("max_position_embeddings", JSON(try size("context_length"))),
      JSON.Member(
        "rms_norm_eps", JSON(try file.required("\(architecture.name).attention.layer_norm_rms_epsilon").double)),
      JSON.Member("rope_parameters", try rotary), JSON.Member("vocab_size", JSON(try vocabularySize)),
      JSON.Member("tie_word_embeddings", JSON(file.tensor("output.weight") == nil)),
    ]
    for key in ["bos_token_id", "eos_token_id"] {
      let field = file.metadata("tokenizer.ggml.\(key)")
      members.append(JSON.Member(key, try field.map { field throws(GoraError) in JSON(try field.int) } ?? nil))
    }
    let own = try architecture.settings(file)
    members.removeAll { member in own.contains { $0.key == member.key } }
    return JSON(.object(members + own))
  }

  /// The rows of the embedding; without one, as the metadata says.
  private var vocabularySize: Int {
    get throws(GoraError) {
      if let embedding = file.tensor("token_embd.weight"), let rows = embedding.shape.first { return rows }
      if let field = own("vocab_size") { return try field.int }
      guard let tokens = try file.required("tokenizer.ggml.tokens").count else {
        throw try file.required("tokenizer.ggml.tokens").error("must be an array")
      }
      return tokens
    }
  }

  /// The base and its scaling. Divisors of the frequencies (`rope_freqs.weight`, Llama 3's scaling) are longrope's with one set for all
  /// lengths.
  var rotary: JSON {
    get throws(GoraError) { try rotary(headSize: headSize) }
  }

  private func rotary(headSize: Int) throws(GoraError) -> JSON {
    var members = [JSON.Member("rope_theta", JSON(try own("rope.freq_base")?.double ?? 10_000))]
    let older = own("rope.scale_linear")
    let field = own("rope.scaling.type")
    let type = try field?.string ?? (older == nil ? "none" : "linear")
    let factor = try (own("rope.scaling.factor") ?? older)?.double ?? 0
    if let attention = own("rope.scaling.attn_factor"), try attention.double != 1 {
      throw attention.error("is \(try attention.double); factors other than 1 are not supported")
    }
    let positions = try size("context_length")
    let original = try own("rope.scaling.original_context_length")?.int ?? positions
    if let divisors = file.tensor("rope_freqs.weight") {
      guard type == "none" || factor == 0 else {
        throw GoraError(.data, at: divisors.location, "stands beside rotary scaling \"\(type)\"; one of both is supported")
      }
      let values = try divisors.toFloat()
      guard values.count == headSize / 2, values.allSatisfy({ $0.isFinite && $0 > 0 }) else {
        throw GoraError(
          .data, at: divisors.location,
          "\(values.count) numbers; expected \(headSize / 2) that are above 0, one for each pair of a head")
      }
      let json = JSON(values.map { JSON(Double($0)) })
      return JSON(
        .object(
          members + [
            JSON.Member("rope_type", "longrope"), JSON.Member("short_factor", json), JSON.Member("long_factor", json),
            JSON.Member("original_max_position_embeddings", JSON(positions)),
            JSON.Member("attention_factor", 1.0),
          ]))
    }
    switch type {
    case "none": members.append(JSON.Member("rope_type", "default"))
    // A factor of 0 says that nothing is scaled.
    case "linear" where factor == 0, "yarn" where factor == 0: members.append(JSON.Member("rope_type", "default"))
    case "linear": members += [JSON.Member("rope_type", "linear"), JSON.Member("factor", JSON(factor))]
    case "yarn":
      members += [
        JSON.Member("rope_type", "yarn"), JSON.Member("factor", JSON(factor)),
        JSON.Member("original_max_position_embeddings", JSON(original)),
      ]
    default:
      throw field?.error("is \"\(type)\", which is not supported", hint: "supported: none, linear, yarn")
        ?? GoraError(.internal, "rotary scaling \"\(type)\" without its key")
    }
    return JSON(.object(members))
  }
}

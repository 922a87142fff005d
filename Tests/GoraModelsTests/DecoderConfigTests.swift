import Foundation
import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

@Suite struct DecoderConfigTests {
  /// The llama fixture's config with some members replaced (null removes nothing: it says "absent" as in Hugging Face's files).
  static func config(_ changes: [String: Any] = [:], fixture: String = "llama") throws -> DecoderConfig {
    let data = try Data(contentsOf: URL(filePath: "\(Fixtures.folder)/\(fixture)/model/config.json"))
    var members = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    for (key, value) in changes { members[key] = value }
    let text = try JSONSerialization.data(withJSONObject: members, options: [.prettyPrinted, .sortedKeys])
    return try DecoderConfig(reading: JSONDocument(path: "config.json", text: [UInt8](text)))
  }

  static func refusal(_ changes: [String: Any]) -> GoraError? {
    do {
      _ = try config(changes)
      return nil
    } catch { return error as? GoraError }
  }

  @Test func reads() throws {
    let config = try Self.config()
    #expect(config.modelType == "llama" && config.hiddenSize == 32 && config.intermediateSize == 56 && config.layers == 2)
    #expect(config.heads == 4 && config.keyValueHeads == 2 && config.headSize == 8 && config.vocabularySize == 64)
    #expect(config.tiesEmbeddings && !config.hasQKVBias && !config.hasOutputBias && !config.hasMLPBias)
    #expect(config.normEpsilon == 1e-5 && config.maxPositions == 256 && config.bosToken == 1 && config.eosTokens == [2])
    let wide = try Self.config(fixture: "llama3")
    #expect(wide.headSize == 12 && wide.querySize == 48 && wide.keyValueSize == 24 && !wide.tiesEmbeddings)
    #expect(try Self.config(fixture: "qwen2").hasQKVBias)
    #expect(try Self.config(["eos_token_id": [2, 5]]).eosTokens == [2, 5])
    #expect(try Self.config(["attention_bias": true]).hasOutputBias)
    #expect(try Self.config(["num_key_value_heads": NSNull()]).keyValueHeads == 4)
  }

  /// Counted from the configuration, found in the file.
  @Test(arguments: LlamaGoldenTests.models) func parameterCount(_ name: String) throws {
    #expect(
      try Self.config(fixture: name).parameterCount == ModelFolder(path: "\(Fixtures.folder)/\(name)/model").totalParameters)
  }

  /// `rope_theta` + `rope_scaling` and Transformers 5's `rope_parameters` say the same thing.
  @Test func bothSpellings() throws {
    let llama3: [String: Any] = [
      "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128,
    ]
    func with(_ members: [String: Any], _ more: [String: Any]) -> [String: Any] { members.merging(more) { $1 } }
    let older = try Self.config(["rope_theta": 500000.0, "rope_scaling": with(llama3, ["rope_type": "llama3"])])
    let newer = try Self.config(["rope_parameters": with(llama3, ["rope_type": "llama3", "rope_theta": 500000.0])])
    #expect(older.rotary == newer.rotary)
    let kind = RotaryScaling.Kind.llama3(factor: 8, lowFrequency: 1, highFrequency: 4, originalPositions: 128)
    #expect(newer.rotary == RotaryScaling(theta: 500_000, kind: kind))
    #expect(try Self.config(fixture: "llama3").rotary == newer.rotary)
    let linear = RotaryScaling(theta: 20_000, kind: .linear(factor: 2))
    #expect(try Self.config(["rope_theta": 20000.0, "rope_scaling": ["type": "linear", "factor": 2.0]]).rotary == linear)
    #expect(
      try Self.config(["rope_parameters": ["rope_type": "linear", "factor": 2.0, "rope_theta": 20000.0]]).rotary == linear)
    #expect(try Self.config().rotary == RotaryScaling(theta: 10_000))
    #expect(try Self.config(["rope_theta": NSNull()]).rotary.theta == 10_000)
  }

  @Test(arguments: ["gpt2", "mixtral", "gemma", "Llama", ""]) func unknownType(_ type: String) throws {
    let error = try #require(Self.refusal(["model_type": type]))
    #expect(error.status == .data && error.problem.contains("\"\(type)\""))
    #expect(error.hint == "supported: llama, mistral, qwen2, qwen3, gemma2, gemma3_text, t5, mt5, clip")
    guard case .text("config.json", let line, _) = try #require(error.location) else { throw error }
    #expect(line > 1)
  }

  @Test(arguments: ["su", "mrope", "axial", "Linear", ""]) func unknownRotaryScaling(_ type: String) throws {
    for changes: [String: Any] in [
      ["rope_scaling": ["rope_type": type, "factor": 2.0]], ["rope_scaling": ["type": type, "factor": 2.0]],
      ["rope_parameters": ["rope_type": type, "factor": 2.0, "rope_theta": 1e4]],
    ] {
      let error = try #require(Self.refusal(changes))
      #expect(error.status == .data && error.problem.contains("\"\(type)\""))
      #expect(error.hint?.hasPrefix("supported: default, linear, dynamic") == true)
    }
  }

  /// What other readers do not compute either is refused by name.
  @Test(
    arguments: [
      (#"{"architectures": ["LlamaForSequenceClassification"]}"#, "LlamaForSequenceClassification"),
      (#"{"architectures": ["Qwen2ForRewardModel"]}"#, "Qwen2ForRewardModel"),
      (#"{"quantization_config": {"quant_method": "awq"}}"#, "awq"), (#"{"compression_config": {}}"#, "quantised"),
      (#"{"per_layer_config": {"0": {}}}"#, "per_layer_config"), (#"{"layer_types": ["full_attention", "mamba"]}"#, "mamba"),
      (#"{"layer_types": ["full_attention"]}"#, "1 names"), (#"{"hidden_act": "gelu_new"}"#, "gelu_new"),
      (#"{"rope_parameters": {"full_attention": {"rope_type": "default"}}}"#, "full_attention"),
      (#"{"rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}"#, "partial_rotary_factor"),
      (#"{"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}"#, "expected 4"),
      (#"{"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]}"#, "no window"),
      (#"{"model_type": "mistral", "sliding_window": 0}"#, "sliding_window"),
      (#"{"model_type": "mistral", "num_key_value_heads": null}"#, "num_key_value_heads"),
      (#"{"is_causal": false}"#, "is_causal"), (#"{"rope_parameters": {"rope_type": null, "rope_theta": 1e4}}"#, "rope_type"),
    ] as [(String, String)]) func refusedByName(_ changes: String, _ word: String) throws
  {
    let changes = try #require(try JSONSerialization.jsonObject(with: Data(changes.utf8)) as? [String: Any])
    let error = try #require(Self.refusal(changes), "accepted")
    #expect(error.status == .data && error.problem.contains(word))
  }

  /// What Transformers' classes pass over is said.
  @Test(
    arguments: [
      (#"{"sliding_window": 128}"#, "sliding_window"), (#"{"attention_dropout": 0.1}"#, "attention_dropout"),
      (#"{"eos_token_id": [2, 64]}"#, "eos_token_id"), (#"{"rope_scaling": {"factor": 2.0}}"#, "rope_type"),
      (#"{"layer_types": ["full_attention", "sliding_attention"]}"#, "layer_types"),
    ] as [(String, String)]) func notes(_ changes: String, _ word: String) throws
  {
    #expect(try Self.config().notes == [])
    let changes = try #require(try JSONSerialization.jsonObject(with: Data(changes.utf8)) as? [String: Any])
    let notes = try Self.config(changes).notes
    #expect(notes.count == 1 && notes[0].contains(word))
  }

  struct Bad: Sendable, CustomTestStringConvertible {
    var text: String
    var testDescription: String { text }
    init(_ text: String) { self.text = text }
  }

  @Test(
    arguments: [
      #"{"hidden_size": 0}"#, #"{"hidden_size": -32}"#, #"{"hidden_size": 32.5}"#, #"{"hidden_size": "32"}"#,
      #"{"hidden_size": null}"#,
      #"{"hidden_size": 30}"#, #"{"num_attention_heads": 0}"#, #"{"num_key_value_heads": 3}"#, #"{"num_key_value_heads": 8}"#,
      #"{"num_key_value_heads": 0}"#, #"{"num_hidden_layers": 0}"#, #"{"num_hidden_layers": 99999999}"#, #"{"vocab_size": 0}"#,
      #"{"vocab_size": 9223372036854775807}"#, #"{"intermediate_size": 0}"#, #"{"head_dim": 7}"#, #"{"head_dim": 0}"#,
      #"{"hidden_act": "gelu"}"#, #"{"rope_theta": 0}"#, #"{"rope_theta": -1}"#, #"{"bos_token_id": "1"}"#,
      #"{"bos_token_id": [1]}"#, #"{"eos_token_id": [2, 2.5]}"#, #"{"tie_word_embeddings": 1}"#, #"{"quantization_config": {}}"#,
      #"{"max_position_embeddings": 0}"#, #"{"rms_norm_eps": -1}"#, #"{"rms_norm_eps": "1e-5"}"#,
      #"{"rope_scaling": {"type": "linear"}}"#, #"{"rope_scaling": {"type": "linear", "factor": 0}}"#,
      #"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#, #"{"rope_scaling": {"rope_type": "yarn"}}"#,
      #"{"rope_scaling": 3}"#, #"{"rope_scaling": {"type": 3}}"#,
      #"{"initializer_range": -1}"#,
    ].map { Bad($0) }) func badNumbers(_ bad: Bad) throws
  {
    let changes = try #require(try JSONSerialization.jsonObject(with: Data(bad.text.utf8)) as? [String: Any])
    let error = try #require(Self.refusal(changes), "accepted")
    #expect(error.status == .data)
    guard case .text("config.json", _, _) = try #require(error.location) else { throw error }
  }

  /// Weights that do not have config.json's shapes, and missing ones, by name.
  @Test func weightsOfAnotherShape() throws {
    let folder = try ModelFolder(path: "\(Fixtures.folder)/llama/model")
    let source = CheckpointSource(folder: folder, precision: .f32)
    var config = try Self.config()
    config.intermediateSize = 48
    let shape = #expect(throws: GoraError.self) { try Decoder(config: config, from: source) }
    #expect(shape?.status == .data && shape?.problem.contains("[56, 32]") == true && shape?.problem.contains("[48, 32]") == true)
    config = try Self.config()
    config.layers = 3
    let missing = #expect(throws: GoraError.self) { try Decoder(config: config, from: source) }
    #expect(missing?.status == .data && missing?.problem.contains("model.layers.2.") == true)
  }
}

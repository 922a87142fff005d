import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

@Suite struct ModelIdentityTests {
  static func identity(_ changes: [String: Any] = [:], weights: String = "llama") throws -> ModelIdentity {
    ModelIdentity(
      of: try ModelFolder(path: "\(Fixtures.folder)/\(weights)/model"), config: try DecoderConfigTests.config(changes))
  }

  /// What decides the computation is another model, whatever the weights; spelling, tokens and lengths are not.
  @Test func configurations() throws {
    let one = try Self.identity()
    #expect(one.difference(from: one.text) == nil)
    let same: [[String: Any]] = [
      ["rope_parameters": ["rope_type": "default", "rope_theta": 10000.0]], ["eos_token_id": 7], ["max_position_embeddings": 512],
      ["sliding_window": 3], ["num_key_value_heads": 2], ["head_dim": 8], ["hidden_act": "swish"],
    ]
    for changes in same { #expect(try one.difference(from: Self.identity(changes).text) == nil, "\(changes)") }
    let others: [[String: Any]] = [
      ["rope_theta": 20000.0], ["rms_norm_eps": 1e-6], ["rope_scaling": ["type": "linear", "factor": 2.0]],
      ["rope_scaling": ["type": "yarn", "factor": 1.0]], ["model_type": "mistral", "sliding_window": 3],
    ]
    for changes in others {
      let difference = try one.difference(from: Self.identity(changes).text)
      #expect(difference?.contains("another config.json") == true, "\(changes)")
    }
  }

  /// Files of earlier versions hold the digest of the weights alone.
  @Test func earlierFiles() throws {
    let one = try Self.identity()
    #expect(one.difference(from: one.weights) == nil)
    let other = try Self.identity(weights: "llama-bf16")
    for text in [other.weights, other.text] { #expect(one.difference(from: text)?.contains("this one is") == true) }
  }
}

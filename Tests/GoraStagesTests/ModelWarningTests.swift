import GoraCore
import Testing

/// What a checkpoint says beside what the model does: said once, or refused.
@Suite struct ModelWarningTests {
  private let bench: Workbench

  init() throws { bench = try Workbench() }

  private func replace(_ old: String, _ new: String) throws {
    let config = String(decoding: try bench.bytes("model/config.json"), as: UTF8.self)
    try #require(config.contains(old))
    try bench.write(config.replacing(old, with: new), to: "model/config.json")
  }

  /// The checkpoint has two layers, and rows of up to 40 tokens.
  @Test func unusedLayersAndLongRows() throws {
    try replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1")
    try replace("\"max_position_embeddings\": 256", "\"max_position_embeddings\": 39")
    for line in [
      "gora-eval --model model --task loss --data rows.jsonl", "gora-grad --model model --data rows.jsonl --steps 2 -o g.h5",
      "gora-train --method full --targets q_proj --model model --data rows.jsonl --max-steps 1 -o tuned",
    ] {
      let outcome = try bench.run(line)
      #expect(outcome.status == 0, "\(outcome.error)")
      for warning in [
        "warning: 9 tensors of the checkpoint are not used: model.layers.1.input_layernorm.weight, ",
        "warning: up to 40 positions are used, the model was made for 39",
      ] { #expect(outcome.error.split(separator: warning, omittingEmptySubsequences: false).count == 2, "\(outcome.error)") }
    }
  }

  @Test func gradientsOfAnotherBase() throws {
    try bench.prepare()
    try replace("\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0")
    for line in [
      "gora-score --model model grad.h5 -o s.json", "gora-init plan.json --model model --gradients grad.h5 -o i",
      "gora-train init --model model --data rows.jsonl -o tuned", "gora-export init --model model --profile merged -o merged",
      "gora-eval --model model --adapter init --task loss --data rows.jsonl",
    ] {
      let outcome = try bench.run(line)
      #expect(
        outcome.status == 65 && outcome.error.contains("these weights with another config.json"), "\(line): \(outcome.error)")
    }
    // Spelled otherwise, it is the same model.
    try replace("\"rope_theta\": 20000.0", "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}")
    #expect(try bench.run("gora-score --model model grad.h5 -o s.json").status == 0)
  }
}

import GoraCore
import GoraFormats
import Testing

/// What gora-train --method full leaves beside its weights.
@Suite struct FullCheckpointTests {
  /// Trained weights of an f16 base are f32: readers must be told so, for they go by config.json.
  @Test(arguments: [
    (#""dtype": "float16""#, #""dtype": "float32""#), (#""torch_dtype": "float16""#, #""torch_dtype": "float32""#),
    (#""dtype": "float16", "torch_dtype": "float16""#, #""dtype": "float32", "torch_dtype": "float32""#),
    (#""torchscript": false"#, #""torchscript": false"#),
  ])
  func configurationSaysWhatIsThere(_ old: String, _ new: String) throws {
    let bench = try Workbench()
    let config = String(decoding: try bench.bytes("model/config.json"), as: UTF8.self)
    let named = #""torch_dtype": "float32""#
    try #require(config.contains(named))
    try bench.write(config.replacing(named, with: old), to: "model/config.json")
    try bench.halve()
    let outcome = try bench.run("gora-train --method full --targets q_proj --model model --data rows.jsonl --max-steps 1 -o out")
    #expect(outcome.status == 0, "\(outcome.error)")
    for tensor in try SafetensorsFile(path: bench.file("out/model.safetensors")).tensors {
      #expect(tensor.dtype == (tensor.name.contains("q_proj") ? .f32 : .f16), "\(tensor.name)")
    }
    let written = String(decoding: try bench.bytes("out/config.json"), as: UTF8.self)
    var expected = config.replacing(named, with: new)
    if !new.contains("dtype") { expected = "{\n  \"dtype\": \"float32\"," + expected.dropFirst() }
    #expect(written == expected)
    #expect(try bench.run("gora-eval --model out --task loss --data rows.jsonl").status == 0)
  }

  /// In a bf16 run the weights that learn start from what they are, not from what products with the others round to.
  @Test func weightsThatLearnAreNotRounded() throws {
    let bench = try Workbench()
    let line = "gora-train --method full --model model --data rows.jsonl --max-steps 1 --weight-decay 0 --dtype bf16"
    let outcome = try bench.run("\(line) --targets q_proj --lr 1e-30 --warmup-ratio 0 -o out")
    #expect(outcome.status == 0, "\(outcome.error)")
    let base = try SafetensorsFile(path: bench.file("model/model.safetensors"))
    for tensor in try SafetensorsFile(path: bench.file("out/model.safetensors")).tensors where tensor.name.contains("q_proj") {
      let before = try #require(base.tensor(tensor.name))
      #expect(try tensor.toFloat() == before.toFloat(), "\(tensor.name)")
    }
  }

  /// All weights of other families learn, and stay stored as their checkpoints hold them: Gemma's norms less one.
  @Test(arguments: ["qwen3-bias", "gemma2", "gemma3"]) func families(_ name: String) throws {
    let bench = try Workbench(family: name)
    let line = "gora-train --method full --model model --data rows.jsonl --batch-size 3"
    let still = try bench.run("\(line) --max-steps 1 --weight-decay 0 --lr 1e-30 --warmup-ratio 0 -o still")
    #expect(still.status == 0, "\(still.error)")
    let base = try SafetensorsFile(path: bench.file("model/model.safetensors"))
    var norms = 0
    for tensor in try SafetensorsFile(path: bench.file("still/model.safetensors")).tensors {
      #expect(try tensor.toFloat() == base.tensor(tensor.name)?.toFloat(), "\(tensor.name)")
      if tensor.name.hasSuffix("norm.weight") { norms += 1 }
    }
    #expect(norms == ["qwen3-bias": 13, "gemma2": 13, "gemma3": 19][name])
    let learnt = try bench.run("\(line) --max-steps 20 --lr 3e-3 -o learnt")
    #expect(learnt.status == 0, "\(learnt.error)")
    let losses = try ["model", "still", "learnt"].map { model in
      try FlowTests.eval(bench, model: model, adapter: nil).loss ?? .nan
    }
    #expect(losses[0] == losses[1] && losses[2] < losses[0] - 0.1, "\(losses)")
  }
}

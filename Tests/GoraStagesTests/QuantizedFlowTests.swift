import Foundation
import GoraCore
import GoraFormats
import Testing

/// `--quantize nf4`: gradients and initialisation from the weights as they are, training and evaluation beside NF4.
@Suite(.serialized) struct QuantizedFlowTests {
  static func loss(_ bench: Workbench, _ options: String) throws -> Double {
    let outcome = try bench.run("gora-eval --model model --task loss --data rows.jsonl \(options)")
    try #require(outcome.status == 0, "\(outcome.error)")
    return try JSONDocument(path: "result", text: Array(outcome.output.utf8)).root.required("loss").double
  }

  static let training =
    "gora-train init --model model --data rows.jsonl --max-steps 12 --batch-size 6 --lr 2e-3 --threads 1 -v"

  /// What the weights' metadata say.
  static func metadata(_ bench: Workbench, _ folder: String, _ key: String) throws -> String? {
    try SafetensorsFile(path: bench.file("\(folder)/adapter_model.safetensors")).metadata.first { $0.key == key }?.value
  }

  @Test func trainsAndRemembers() throws {
    let bench = try Workbench()
    try bench.prepare()
    let trained = try bench.run("\(Self.training) --quantize nf4 -o tuned")
    #expect(trained.status == 0 && trained.error.contains("linears in nf4"), "\(trained.error)")
    #expect(trained.error.contains("4-bit weights"))

    // The base in 4 bits is another model; training lowers its loss, and the adapter is made for it.
    let exact = try Self.loss(bench, "")
    let base = try Self.loss(bench, "--quantize nf4")
    #expect(abs(base - exact) > 1e-3 && abs(base - exact) < 0.2 * exact)
    let tuned = try Self.loss(bench, "--adapter tuned --quantize nf4")
    #expect(tuned < base - 0.05)

    // The adapter says so, and so do those that are made of it.
    #expect(try Self.metadata(bench, "tuned", "gora_base_quantization") == "nf4")
    #expect(try #require(try Self.metadata(bench, "tuned", "gora_provenance")).contains("\"dtype\":\"f32+nf4\""))
    #expect(try bench.run("gora-export tuned --model model --profile padded -o padded -q").status == 0)
    #expect(try Self.metadata(bench, "padded", "gora_base_quantization") == "nf4")
    let other = try bench.run("gora-eval --model model --task loss --data rows.jsonl --adapter tuned -v")
    #expect(other.status == 0 && other.error.contains("made beside weights in nf4"), "\(other.error)")
    let same = try bench.run("gora-eval --model model --task loss --data rows.jsonl --adapter tuned --quantize nf4 -v")
    #expect(same.status == 0 && !same.error.contains("made beside"), "\(same.error)")

    // Beside the weights as they are it is another run: another adapter, nothing about NF4, no resuming from the other's state.
    #expect(try bench.run("\(Self.training) -o plain").status == 0)
    #expect(try Self.metadata(bench, "plain", "gora_base_quantization") == nil)
    #expect(try bench.bytes("plain/adapter_model.safetensors") != bench.bytes("tuned/adapter_model.safetensors"))
    let resumed = try bench.run("\(Self.training) -o tuned --resume")
    #expect(resumed.status == 65 && resumed.error.contains("dtype=f32+nf4 there, dtype=f32 now"), "\(resumed.error)")
  }

  /// Makes a NaN of a number of a linear of `other`, which cannot be quantised then.
  static func spoil(_ bench: Workbench) throws {
    let file = try SafetensorsFile(path: bench.file("other/model.safetensors"))
    let tensor = try #require(file.tensor("model.layers.1.mlp.up_proj.weight"))
    let header = try bench.bytes("other/model.safetensors").prefix(8).enumerated().reduce(8) { $0 + Int($1.1) << (8 * $1.0) }
    let first = try #require(file.tensors.first)
    let start = header + (tensor.bytes.baseAddress! - first.bytes.baseAddress!)
    try bench.change("other/model.safetensors") { bytes in
      for (i, byte) in [UInt8(0), 0, 0xC0, 0x7F].enumerated() { bytes[start + 4 * 5 + i] = byte }
    }
  }

  /// What is wrong with data, validation rows or adapter is said before the weights are quantised, which takes minutes: of a model whose
  /// weights cannot be.
  @Test func checksComeFirst() throws {
    let bench = try Workbench()
    try bench.prepare()
    try Self.spoil(bench)
    try bench.write("{\"input_ids\": [1, 2], \"labels\": [1]}\n", to: "bad.jsonl")
    let training = "gora-train init --model other --quantize nf4 -o out"
    for (options, problem) in [
      ("--data bad.jsonl", "bad.jsonl"), ("--data rows.jsonl --validation bad.jsonl", "bad.jsonl"),
      ("--data rows.jsonl", "the adapter was made for model"),
    ] {
      let outcome = try bench.run("\(training) \(options)")
      #expect(outcome.status == 65 && outcome.error.contains(problem), "\(outcome.error)")
      #expect(!outcome.error.contains("value nan") && !bench.exists("out"))
    }
  }

  @Test func refusals() throws {
    let bench = try Workbench()
    try bench.prepare()
    for method in ["--method full", "--method full --from-config model/config.json"] {
      let outcome = try bench.run("gora-train \(method) --model model --data rows.jsonl --quantize nf4 -o out")
      #expect(outcome.status == 64 && outcome.error.contains("--quantize"), "\(outcome.error)")
    }
    #expect(try bench.run("\(Self.training) --quantize fp4 -o out").status == 64)
    try Self.spoil(bench)
    let outcome = try bench.run("gora-eval --model other --task loss --data rows.jsonl --quantize nf4")
    #expect(outcome.status == 65)
    #expect(outcome.error.contains("tensor \"model.layers.1.mlp.up_proj.weight\": value nan at element 5"), "\(outcome.error)")
    #expect(!bench.exists("out"))
  }
}

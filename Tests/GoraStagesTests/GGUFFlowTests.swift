import Foundation
import GoraCore
import GoraFormats
import Testing

/// A quantised GGUF file as `--model` of every stage.
@Suite(.serialized) struct GGUFFlowTests {
  static let model = "\(Workbench.fixtures)/gguf/mixed-00001-of-00003.gguf"

  @Test func fromGradientToTunedAdapter() throws {
    let bench = try Workbench()
    func run(_ command: String) throws -> Outcome {
      let computes = ["gora-grad", "gora-train", "gora-eval"].contains { command.hasPrefix($0) }
      let outcome = try bench.run("\(command) --threads 1\(computes ? " --dtype f32" : "")")
      try #require(outcome.status == 0, "\(command): \(outcome.error)")
      return outcome
    }
    let graded = try run("gora-grad --model \(Self.model) --data rows.jsonl --targets all-linear -o grad.h5 -v")
    #expect(graded.error.contains("linears in q8_0, q4_0, q4_1, q5_0, q5_1"), "\(graded.error)")
    _ = try run("gora-score --model \(Self.model) grad.h5 -o scores.json")
    _ = try run("gora-plan scores.json --rank 2 -o plan.json")
    _ = try run("gora-init plan.json --model \(Self.model) --gradients grad.h5 -o init")
    let trained = try run(
      "gora-train init --model \(Self.model) --data rows.jsonl --max-steps 12 --batch-size 6 --lr 2e-3 -o tuned -v")
    try trained.expectEstimatedMemory()
    let metadata = try SafetensorsFile(path: bench.file("tuned/adapter_model.safetensors")).metadata
    let provenance = try #require(metadata.first { $0.key == "gora_provenance" }?.value)
    #expect(provenance.contains("\"dtype\":\"f32+q8_0+q4_0+q4_1+q5_0+q5_1\""))
    func loss(_ options: String) throws -> Double {
      let output = try run("gora-eval --model \(Self.model) --task loss --data rows.jsonl \(options)").output
      return try JSONDocument(path: "result", text: Array(output.utf8)).root.required("loss").double
    }
    #expect(try loss("--adapter tuned") < loss("") - 0.05)
    _ = try run("gora-export tuned --model \(Self.model) --profile padded -o padded")
    #expect(abs(try loss("--adapter padded") - loss("--adapter tuned")) < 1e-5)
    _ = try run("gora-plan --uniform --model \(Self.model) --rank 2 --targets q_proj -o uniform.json")
    // The folder that it was made from is another model.
    let other = try bench.run("gora-score --model model grad.h5")
    #expect(other.status == 65 && other.error.contains("this one is"), "\(other.error)")
  }

  @Test func refusals() throws {
    let bench = try Workbench()
    try bench.prepare()
    for (command, words) in [
      ("gora-train --method full --model \(Self.model) --data rows.jsonl -o out", "--method full writes a checkpoint folder"),
      ("gora-train init --model \(Self.model) --data rows.jsonl --quantize nf4 -o out", "is in Q4_1 already"),
      ("gora-export init --model \(Self.model) --profile merged -o out", "--profile merged writes a checkpoint folder"),
    ] {
      let outcome = try bench.run(command)
      #expect(outcome.status == 64 && outcome.error.contains(words), "\(outcome.error)")
    }
    #expect(!bench.exists("out"))
    // The other files of a split model are inputs too.
    for number in 1...3 {
      let name = "mixed-0000\(number)-of-00003.gguf"
      try bench.write(try readWholeFile("\(Workbench.fixtures)/gguf/\(name)"), to: name)
    }
    let over = try bench.run(
      "gora-grad --model mixed-00001-of-00003.gguf --data rows.jsonl -o mixed-00003-of-00003.gguf")
    #expect(over.status == 64 && over.error.contains("the output is also the input"), "\(over.error)")
    let second = try bench.run(
      "gora-eval --model \(Workbench.fixtures)/gguf/mixed-00002-of-00003.gguf --task loss --data rows.jsonl")
    #expect(second.status == 65 && second.error.contains("this is not the first file"), "\(second.error)")
    try bench.write("{}", to: "notes.txt")
    let text = try bench.run("gora-eval --model notes.txt --task loss --data rows.jsonl")
    #expect(text.status == 66 && text.error.contains("neither a folder nor a GGUF file"), "\(text.error)")
  }

  /// What a file says of its model is done or refused by name: each key changed by itself.
  @Test(arguments: [
    ("llama", "mamba", "key \"general.architecture\": is \"mamba\", which is not supported"),
    ("model", "adapt", "key \"general.type\": is \"adapt\"; expected \"model\""),
    (
      "llama.rope.scaling.type", "llama.rope.scaling.typo",
      "llama.rope.scaling.typo\": what it says of the model is not supported"
    ),
    ("linear", "random", "key \"llama.rope.scaling.type\": is \"random\", which is not supported"),
    ("blk.1.attn_q.weight", "blk.1.attn_z.weight", "architecture \"llama\" has no such tensor here"),
  ])
  func metadata(_ old: String, _ new: String, _ words: String) throws {
    let bench = try Workbench()
    var bytes = try readWholeFile("\(Workbench.fixtures)/gguf/mistral.gguf")
    let place = try #require(bytes.firstRange(of: Array(old.utf8)), "\(old)")
    bytes.replaceSubrange(place, with: Array(new.utf8))
    try bench.write(bytes, to: "model.gguf")
    let outcome = try bench.run("gora-eval --model model.gguf --task loss --data rows.jsonl")
    #expect(outcome.status == 65 && outcome.error.contains(words), "\(outcome.error)")
    #expect(outcome.error.split(separator: "\n").filter { $0.contains("error:") }.count == 1)
  }
}

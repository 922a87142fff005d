import Foundation
import GoraCore
import GoraFormats
import Testing

/// The whole flow on a T5 model: the tools as they are run, on the weights of Fixtures/t5 and rows of token ids.
@Suite(.serialized) struct SequenceToSequenceFlowTests {
  /// The fixture's model and rows, and others whose answer is the first tokens of their source.
  private static func bench() throws -> Workbench {
    let bench = try Workbench()
    let golden = try JSONDocument(path: "golden.json", text: readWholeFile("\(Workbench.fixtures)/t5/golden.json")).root
    try FileManager.default.createDirectory(atPath: bench.file("t5"), withIntermediateDirectories: true)
    try bench.write(readWholeFile("\(Workbench.fixtures)/t5/plain.safetensors"), to: "t5/model.safetensors")
    let members = try golden.required("shape").members.map { "\"\($0.key)\": \($0.field.value.compact())" }
    try bench.write("{\"model_type\": \"t5\", \(members.joined(separator: ", "))}", to: "t5/config.json")
    let pairs = try zip(golden.required("sources").elements, golden.required("targets").elements)
    let fixed = try pairs.map { (try $0.ints, try $1.ints) }
    var random = Random(seed: 3, stream: "rows")
    let copied = (0..<12).map { _ in
      let source = (0..<6).map { _ in 2 + Int(random.uniform() * 38) }
      return (source + [1], [source[0], source[1], 1])
    }
    func lines(_ rows: [([Int], [Int])]) -> String {
      rows.map { "{\"input_ids\": \($0.0), \"labels\": \($0.1)}" }.joined(separator: "\n") + "\n"
    }
    try bench.write(lines(fixed), to: "golden.jsonl")
    try bench.write(lines(copied), to: "pairs.jsonl")
    return bench
  }

  private static func run(_ bench: Workbench, _ line: String) throws -> Outcome {
    let outcome = try bench.run(line)
    try #require(outcome.status == 0, "\(line): \(outcome.error)")
    return outcome
  }

  private static func loss(_ bench: Workbench, _ options: String, data: String = "pairs.jsonl") throws -> Double {
    let outcome = try run(bench, "gora-eval --task loss --data \(data) \(options)")
    return try JSONDocument(path: "result", text: Array(outcome.output.utf8)).root.required("loss").double
  }

  /// Gradients of the three kinds of attention, ranks, a start that lowers the loss, training that lowers it more, the adapter and the
  /// merged checkpoint giving one loss; what PEFT reads says what it is.
  @Test func flow() throws {
    let bench = try Self.bench()
    let golden = try JSONDocument(path: "golden.json", text: readWholeFile("\(Workbench.fixtures)/t5/golden.json")).root
    let exact = try golden.required("cases").required("v1.0").required("loss").double
    #expect(abs(try Self.loss(bench, "--model t5", data: "golden.jsonl") - exact) < 1e-4)
    for line in [
      "gora-grad --model t5 --data pairs.jsonl --batch-size 4 --steps 3 --collect gradients,inputs --input-components 2 -o grad.h5",
      "gora-score --model t5 grad.h5 -o scores.json", "gora-plan scores.json --rank 3 -o plan.json",
      "gora-init plan.json --model t5 --gradients grad.h5 -o init",
      "gora-train init --model t5 --data pairs.jsonl --batch-size 4 --epochs 8 --lr 2e-3 -o tuned",
      "gora-export tuned --model t5 --profile merged -o merged", "gora-export tuned --model t5 --check peft",
      "gora-plan --uniform --model t5 --rank 2 --targets q,v -o uniform.json",
      "gora-init uniform.json --model t5 --method eva --gradients grad.h5 -o eva",
    ] { _ = try Self.run(bench, line) }
    let peft = try Self.run(bench, "gora-plan --uniform --model t5 --rank 2 --targets q,v --format peft").output
    #expect(peft.contains("task_type=\"SEQ_2_SEQ_LM\""), "\(peft)")
    let card = String(decoding: try bench.bytes("tuned/README.md"), as: UTF8.self)
    #expect(card.contains("AutoModelForSeq2SeqLM.from_pretrained") && !card.contains("vLLM") && !card.contains("llama.cpp"))
    let reader = try GradientFileReader(path: bench.file("grad.h5"))
    #expect(reader.names.count == 42 && reader.names.contains("decoder.block.2.layer.1.EncDecAttention.k.weight"))
    let config = try JSONDocument(path: "adapter_config.json", text: bench.bytes("tuned/adapter_config.json")).root
    #expect(try config.required("task_type").string == "SEQ_2_SEQ_LM")
    #expect(try config.required("rank_pattern").members.contains { $0.key.hasPrefix("encoder.block.0.layer.0.SelfAttention.") })
    let (base, start) = (try Self.loss(bench, "--model t5"), try Self.loss(bench, "--model t5 --adapter init"))
    let tuned = try Self.loss(bench, "--model t5 --adapter tuned")
    #expect(start < base && tuned < start - 0.05, "\(base) \(start) \(tuned)")
    // f32 once more rounded where the product is added to the weight.
    #expect(abs(try Self.loss(bench, "--model merged") - tuned) < 1e-4)
    #expect(try SafetensorsFile(path: bench.file("merged/model.safetensors")).tensors.count == 60)
  }

  /// All weights of a new model learn, biases by distance among them, and other readers' names are written.
  @Test func newModel() throws {
    let bench = try Self.bench()
    _ = try Self.run(
      bench,
      "gora-train --method full --from-config t5/config.json --model t5 --data pairs.jsonl --batch-size 4 --epochs 10 --lr 3e-3 -o new"
    )
    let names = try SafetensorsFile(path: bench.file("new/model.safetensors")).tensors.map(\.name)
    #expect(try Set(names) == Set(SafetensorsFile(path: bench.file("t5/model.safetensors")).tensors.map(\.name)))
    _ = try Self.run(
      bench,
      "gora-train --method full --from-config t5/config.json --model t5 --data pairs.jsonl --batch-size 4 --max-steps 1 --lr 0 -o begun"
    )
    #expect(try Self.loss(bench, "--model new") < Self.loss(bench, "--model begun") - 0.1)
    func bias(_ folder: String) throws -> [Float]? {
      try SafetensorsFile(path: bench.file("\(folder)/model.safetensors"))
        .tensor("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")?.toFloat()
    }
    #expect(try bias("new") != bias("begun"))
  }

  /// What an encoder-decoder model cannot be given or made into.
  @Test func refusals() throws {
    let bench = try Self.bench()
    for (line, status, word) in [
      ("gora-grad --model t5 --data pairs.jsonl --targets q_proj -o x.h5", 64, "it has q, k, v, o, wi, wo"),
      ("gora-eval --model t5 --data pairs.jsonl --task gsm8k", 66, "tokenizer.json"),
    ] {
      let outcome = try bench.run(line)
      #expect(outcome.status == status && outcome.error.contains(word), "\(outcome.error)")
    }
    try bench.write(#"{"input_ids": [0, 0], "labels": [5]}"#, to: "empty.jsonl")
    let outcome = try bench.run("gora-eval --model t5 --data empty.jsonl --task loss")
    #expect(
      outcome.status == 65 && outcome.error.contains("empty.jsonl:1:1") && outcome.error.contains("encoder"), "\(outcome.error)")
  }
}

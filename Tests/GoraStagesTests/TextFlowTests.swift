import Foundation
import GoraCore
import GoraFormats
import Testing

/// From texts to answers, by the tools: a tokenizer, a model from nothing, word problems, generation.
@Suite(.serialized) struct TextFlowTests {
  /// A workbench with `tok` (tokenizer, config.json of a small model), `text.jsonl` and `test.jsonl`.
  static func bench() throws -> Workbench {
    let bench = try Workbench()
    try FileManager.default.createDirectory(atPath: bench.file("tok"), withIntermediateDirectories: false)
    try FileManager.default.copyItem(
      atPath: "\(Workbench.fixtures)/tokenizer/trained.json", toPath: bench.file("tok/tokenizer.json"))
    let config = try String(decoding: bench.bytes("model/config.json"), as: UTF8.self)
      .replacing("\"vocab_size\": 64", with: "\"vocab_size\": 304").replacing("\"bos_token_id\": 1", with: "\"bos_token_id\": 0")
      .replacing("\"eos_token_id\": 2", with: "\"eos_token_id\": 1")
      .replacing("\"initializer_range\": 0.15", with: "\"initializer_range\": 0.05")
    try bench.write(config, to: "tok/config.json")
    for line in [
      "gora-problems --kind arithmetic --count 64 -o text.jsonl",
      "gora-problems --kind problems --split test --count 7 -o test.jsonl",
    ] { try #require(try bench.run(line).status == 0) }
    return bench
  }

  static let pretraining =
    "gora-train --method full --from-config tok/config.json --model tok --data text.jsonl --max-steps 12 --batch-size 16 --lr 1e-2 "
    + "--log log.jsonl --threads 1 --no-provenance -q"

  static func losses(_ bench: Workbench) throws -> [Double] {
    try String(decoding: bench.bytes("log.jsonl"), as: UTF8.self).split(separator: "\n").map {
      try JSONDocument(path: "log", text: Array($0.utf8)).root.required("loss").double
    }
  }

  @Test func modelFromNothing() throws {
    let bench = try Self.bench()
    #expect(try bench.run(Self.pretraining + " -o base").status == 0)
    let losses = try Self.losses(bench)
    // Of 304 tokens none is known at first, and something is learnt.
    #expect(losses.count == 12 && abs(losses[0] - 5.717) < 0.1)
    #expect(try #require(losses.last) < losses[0] - 0.5)
    let names = bench.files(in: "base").filter { !$0.hasPrefix("checkpoint/") }
    #expect(Set(names).isSuperset(of: ["config.json", "model.safetensors", "tokenizer.json"]))
    // The same command, the same bytes; another seed, another model.
    #expect(try bench.run(Self.pretraining + " -o again").status == 0)
    #expect(try bench.contents("again") == bench.contents("base"))
    #expect(try bench.run(Self.pretraining + " -o other --seed 1").status == 0)
    #expect(try bench.bytes("other/model.safetensors") != bench.bytes("base/model.safetensors"))

    // What was learnt is in the file.
    let outcome = try bench.run("gora-eval --model base --task loss --data text.jsonl")
    #expect(outcome.status == 0)
    let loss = try JSONDocument(path: "result", text: Array(outcome.output.utf8)).root.required("loss").double
    #expect(loss < losses[0] - 0.5)
  }

  /// Answers do not depend on how many are generated together; the result counts what the samples say.
  @Test func wordProblems() throws {
    let bench = try Self.bench()
    try #require(try bench.run(Self.pretraining + " -o base").status == 0)
    let line = "gora-eval --model base --task gsm8k --data test.jsonl --max-new-tokens 24 -o result.json --samples samples.jsonl"
    var samples: [[UInt8]] = []
    for size in [1, 3, 16] {
      #expect(try bench.run("\(line) --batch-size \(size)").status == 0)
      samples.append(try bench.bytes("samples.jsonl"))
    }
    #expect(samples[1] == samples[0] && samples[2] == samples[0])
    let rows = try String(decoding: samples[0], as: UTF8.self).split(separator: "\n").map {
      try JSONDocument(path: "samples", text: Array($0.utf8)).root
    }
    #expect(try rows.map { try $0.required("row").int } == Array(1...7))
    let result = try JSONDocument(path: "result.json", text: bench.bytes("result.json")).root
    let correct = try rows.filter { try $0.required("correct").bool }.count
    #expect(try result.required("rows").int == 7 && result.required("correct").int == correct)
    let accuracy = try result.required("accuracy").double
    #expect(accuracy == Double(correct) / 7)
    let interval = try result.required("interval").elements.map { try $0.double }
    #expect(interval.count == 2 && interval[0] <= accuracy && accuracy <= interval[1])

    // The process itself is most of it here; GeneratorTests count what keys and values take.
    try bench.run("\(line) --max-new-tokens 120 --batch-size 7 -v").expectEstimatedMemory()

    // Drawn answers are the seed's.
    func drawn(_ seed: Int) throws -> [UInt8] {
      #expect(try bench.run("\(line) --temperature 1 --top-p 0.95 --seed \(seed)").status == 0)
      return try bench.bytes("samples.jsonl")
    }
    let first = try drawn(1)
    #expect(try drawn(1) == first)
    #expect(try drawn(2) != first)
    #expect(try bench.run("\(line) --limit 2").status == 0)
    #expect(try String(decoding: bench.bytes("samples.jsonl"), as: UTF8.self).split(separator: "\n").count == 2)
    #expect(try bench.run("\(line) --require accuracy>=0.99").status == (correct == 7 ? 0 : 1))
  }

  /// GSM8K rows through every stage.
  @Test func adapterOnTexts() throws {
    let bench = try Self.bench()
    try #require(try bench.run(Self.pretraining + " -o base").status == 0)
    for line in [
      "gora-grad --model base --data test.jsonl --steps 7 --targets all-linear -o grad.h5",
      "gora-score --model base grad.h5 -o scores.json",
      "gora-plan scores.json --rank 4 --budget exact -o plan.json",
      "gora-init plan.json --model base --gradients grad.h5 -o init",
      "gora-train init --model base --data test.jsonl --batch-size 7 --epochs 8 --lr 1e-4 --log log.jsonl -o tuned",
      "gora-eval --model base --adapter tuned --task gsm8k --data test.jsonl --max-new-tokens 4 -o result.json",
    ] {
      let outcome = try bench.run(line)
      #expect(outcome.status == 0, "\(line): \(outcome.error)")
    }
    let losses = try Self.losses(bench)
    #expect(try losses.count == 8 && #require(losses.last) < losses[0] - 0.02)
  }

  /// gora-problems stands beside the stages, and keeps to the same statuses.
  @Test func problemsStatuses() throws {
    let bench = try Workbench()
    #expect(try bench.run("gora-problems --no-such-flag").status == 64)
    #expect(try bench.run("gora-problems --count -1").status == 64)
    #expect(try bench.run("gora-problems --count 3 -o nowhere/out").status == 73)
    #expect(try bench.run("gora-problems --count 3", shell: "exec \"$@\" > /dev/full").status == 74)
    let rows = try bench.run("gora-problems --count 3 --seed 4")
    #expect(rows.status == 0 && rows.output.split(separator: "\n").count == 3)
    #expect(try bench.run("gora-problems --count 3 --seed 4").output == rows.output)
  }
}

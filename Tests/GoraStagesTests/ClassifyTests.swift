import Foundation
import GoraCore
import GoraFormats
import GoraModels
import GoraText
import Testing

@testable import GoraStages

/// Labels of texts, by the tools: GLUE's tables trained on and measured, and rows of any kind.
@Suite(.serialized) struct ClassifyTests {
  private static let words = ["good", "fine", "warm", "great", "bad", "poor", "cold", "awful"]

  /// Sentences whose label is whether their one word is among the first four; a table as SST-2's.
  private static func table(_ count: Int, from first: Int = 0) -> String {
    (first..<first + count).reduce("sentence\tlabel\n") { text, i in
      "\(text)a \"\(words[i % 8])\" one \(i / 8) \t\(i % 8 < 4 ? 1 : 0)\n"
    }
  }

  private static func document(_ text: String) throws -> JSONField { try JSONDocument(path: "x", text: Array(text.utf8)).root }

  private static func samples(_ bench: Workbench) throws -> [JSONField] {
    try String(decoding: bench.bytes("samples.jsonl"), as: UTF8.self).split(separator: "\n").map { try document(String($0)) }
  }

  /// A model that learns SST-2's table by heart says so in both comparisons.
  @Test func learnsATable() throws {
    let bench = try TextFlowTests.bench()
    // A tokenizer in which the labels do not begin alike.
    let base = URL(filePath: Workbench.fixtures).appending(path: "../../pipelines/base/tokenizer.json").path()
    try bench.write(readWholeFile(base), to: "tok/tokenizer.json")
    let config = try String(decoding: bench.bytes("tok/config.json"), as: UTF8.self)
    try bench.write(config.replacing("\"vocab_size\": 304", with: "\"vocab_size\": 640"), to: "tok/config.json")
    try bench.write(Self.table(64), to: "train.tsv")
    try bench.write(Self.table(24), to: "dev.tsv")
    let train = try bench.run(
      "gora-train --method full --from-config tok/config.json --model tok --glue sst2 --data train.tsv --max-steps 100 --batch-size 16 "
        + "--lr 1e-2 --threads 1 -q -o base")
    try #require(train.status == 0, "\(train.error)")
    let outcome = try bench.run("gora-eval --model base --task classify --glue sst2 --data dev.tsv --samples samples.jsonl")
    try #require(outcome.status == 0, "\(outcome.error)")
    let result = try Self.document(outcome.output)
    #expect(try result.required("glue").string == "sst2" && result.required("prompts").string == "lora-ga")
    #expect(try result.required("labels").elements.map { try $0.string } == ["negative", "positive"])
    #expect(try result.required("accuracy").double == 1 && result.required("first_token_accuracy").double == 1)
    #expect(try result.required("matthews").double == 1 && result.optional("f1") == nil)
    for row in try Self.samples(bench) {
      #expect(try row.required("answer").string == row.required("gold").string)
      #expect(try row.required("first_token").string == row.required("gold").string)
    }
    let classes = try result.required("first_token_classes").elements
    #expect(try classes.map { try $0.required("rows").int } == [12, 12])
    #expect(try classes.map { try $0.required("predicted").ints } == [[12, 0, 0], [0, 12, 0]])
  }

  /// The choice by first tokens is that of the logits which generation sees.
  @Test func firstTokensAreThoseOfGeneration() throws {
    let bench = try TextFlowTests.bench()
    try #require(try bench.run(TextFlowTests.pretraining + " -o base").status == 0)
    let labels = ["yes", "no", "so so"]
    let rows = (0..<9).map { #"{"prompt": "Is \#($0 * $0) \#(Self.words[$0 % 8])?\n", "completion": "\#(labels[$0 % 3])"}"# }
    try bench.write(rows.joined(separator: "\n"), to: "rows.jsonl")
    let outcome = try bench.run("gora-eval --model base --task classify --data rows.jsonl --samples samples.jsonl --threads 1")
    try #require(outcome.status == 0, "\(outcome.error)")
    let result = try Self.document(outcome.output)
    let sorted = labels.sorted()
    #expect(try result.required("labels").elements.map { try $0.string } == sorted)
    let tokenizer = try Tokenizer(contentsOf: bench.file("base/tokenizer.json"))
    let loaded = try LoadedModel(
      path: bench.file("base"), precision: .auto, quantization: nil, memory: MemoryAllowance(), events: { _ in })
    let model = try #require(loaded.model as? any GenerativeModel)
    var right = 0
    for (i, sample) in try Self.samples(bench).enumerated() {
      let prompt = tokenizer.encode("Is \(i * i) \(Self.words[i % 8])?\n", addSpecialTokens: true).filter { $0 != 1 }
      let cache = KeyValueCache(model.cachedWidth, slots: 1, capacity: 64, isBFloat16: model.roundsToBFloat16)
      let logits = model.next(CachedStep(cache: cache, rows: [(0, prompt)]))
      let likeliest = try #require(
        sorted.max { one, other in
          func logit(_ label: String) -> Float { logits[Int(tokenizer.encode(label)[0])] }
          return logit(one) < logit(other)
        })
      #expect(try sample.required("first_token").string == likeliest)
      right += labels[i % 3] == likeliest ? 1 : 0
    }
    #expect(try result.required("first_token_correct").int == right)
    #expect(try result.required("first_token_accuracy").double == Double(right) / 9)
  }

  /// Labels that begin alike are compared by their answers alone, and the result says why; numbers are no labels.
  @Test func withoutFirstTokens() throws {
    let bench = try TextFlowTests.bench()
    try #require(try bench.run(TextFlowTests.pretraining + " -o base").status == 0)
    try bench.write(
      #"{"prompt": "a", "completion": " bat"}"# + "\n" + #"{"prompt": "b", "completion": " bat man"}"#, to: "rows.jsonl")
    let alike = try bench.run("gora-eval --model base --task classify --data rows.jsonl")
    #expect(alike.status == 0, "\(alike.error)")
    #expect(try Self.document(alike.output).required("first_token_not_compared").string.contains("begin with one token"))
    #expect(try Self.document(alike.output).optional("first_token_accuracy") == nil)

    try bench.write("sentence1\tsentence2\tscore\nA.\tB.\t2.5\nA.\tC.\t4.7\n", to: "dev.tsv")
    let numbers = try bench.run("gora-eval --model base --task classify --glue stsb --data dev.tsv")
    #expect(numbers.status == 0, "\(numbers.error)")
    let result = try Self.document(numbers.output)
    #expect(try result.optional("labels") == nil && result.required("numbers").int <= 2)
    #expect(try (-1...1).contains(result.required("pearson").double) && (-1...1).contains(result.required("spearman").double))
  }

  private static let refused: [(options: String, status: Int32, part: String)] = [
    ("--task classify --data one.jsonl", 65, "all rows have one answer"),
    ("--task classify --data dev.tsv", 64, "--glue says of which task it is"),
    ("--task classify --glue sst-2 --data dev.tsv", 64, "sst-2"),
    ("--task classify --glue sst2 --data test.tsv", 65, "test.tsv:1:1: no column \"label\": the file has no labels"),
    ("--task gsm8k --glue sst2 --data dev.tsv", 64, "--glue goes with --task loss or classify"),
    ("--task loss --prompts t5 --data one.jsonl", 64, "--prompts goes with --glue"),
  ]

  @Test func refuses() throws {
    let bench = try TextFlowTests.bench()
    try bench.write(#"{"prompt": "a", "completion": "b"}"# + "\n", to: "one.jsonl")
    try bench.write(Self.table(8), to: "dev.tsv")
    try bench.write("index\tsentence\n0\tA.\n", to: "test.tsv")
    try #require(
      try bench.run(TextFlowTests.pretraining.replacing("--max-steps 12", with: "--max-steps 1") + " -o base").status == 0)
    for (options, status, part) in Self.refused {
      let outcome = try bench.run("gora-eval --model base \(options)")
      #expect(outcome.status == status && outcome.error.contains(part), "\(outcome.error)")
    }
  }
}

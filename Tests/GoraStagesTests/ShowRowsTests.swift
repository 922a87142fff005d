import Foundation
import GoraCore
import GoraFormats
import Testing

/// `--show-rows`: what it prints is what gora-grad, gora-train and gora-eval compute with.
@Suite(.serialized) struct ShowRowsTests {
  /// A small model that reads text, an adapter beside it, and problems with a chat among them.
  private static func bench() throws -> Workbench {
    let bench = try TextFlowTests.bench()
    for line in [
      "\(TextFlowTests.pretraining) -o base", "gora-plan --uniform --model base --rank 2 -o plan.json -q",
      "gora-init plan.json --model base --method lora -o init -q",
    ] {
      let outcome = try bench.run(line)
      try #require(outcome.status == 0, "\(outcome.error)")
    }
    let config =
      #"{"eos_token": "</s>", "chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}"#
      + #"{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"}"#
    try bench.write(config, to: "base/tokenizer_config.json")
    let chat = #"{"messages": [{"role": "user", "content": "2 + 3"}, {"role": "assistant", "content": "5"}]}"#
    try bench.write(String(decoding: bench.bytes("test.jsonl"), as: UTF8.self) + chat + "\n", to: "mixed.jsonl")
    return bench
  }

  /// Of gora-eval's rows as many as it would measure; a template's file is text, with or without a byte order mark.
  @Test func limitsAndTemplateFiles() throws {
    let bench = try Self.bench()
    let shows = "gora-eval --task loss --model base --data mixed.jsonl --json -q --show-rows 3"
    #expect(try bench.run("\(shows) --limit 2").output.split(separator: "\n").count == 2)
    let template = Array("Q: {instruction}\nA: {response}".utf8)
    try bench.write(template, to: "plain.txt")
    try bench.write([0xEF, 0xBB, 0xBF] + template, to: "marked.txt")
    try bench.write(template + [0x0A, 0xFF], to: "odd.txt")
    let plain = try bench.run("\(shows) --template plain.txt")
    #expect(try plain.status == 0 && bench.run("\(shows) --template marked.txt").output == plain.output)
    CommandLineTests.expect(try bench.run("\(shows) --template odd.txt"), 65, "odd.txt:3:1: the line is not UTF-8")
  }

  /// A template that writes the date gives each run that of its beginning, also where it goes on another day.
  @Test func runsAreOfTheirDay() throws {
    let bench = try Self.bench()
    let template =
      "{{ strftime_now('%d %b %Y') }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{% if add_generation_prompt %}"
      + "[assistant] {% endif %}"
    try bench.write(
      JSON.object(["eos_token": "</s>", "chat_template": JSON(template)]).compact(), to: "base/tokenizer_config.json")
    let line =
      "gora-train init --model base --data mixed.jsonl --template tokenizer --max-steps 4 --batch-size 4 --no-provenance -q -o"
    func run(_ output: String, day: Int) throws -> Outcome {
      try bench.run("\(line) \(output)", shell: "SOURCE_DATE_EPOCH=\(day * 86_400) exec \"$@\"")
    }
    for (output, day, status) in [
      ("first", 0, 0), ("tenth", 10, 0), ("broken --max-time 1e-6", 0, 75), ("broken --resume", 10, 0),
    ] {
      let outcome = try run(output, day: day)
      #expect(outcome.status == status, "\(output): \(outcome.error)")
    }
    let grad = "gora-grad --model base --data mixed.jsonl --template tokenizer --steps 1 -v -o grad.h5"
    #expect(
      try bench.run(grad, shell: "SOURCE_DATE_EPOCH=864000 exec \"$@\"").error.contains("SOURCE_DATE_EPOCH=864000 repeats it"))
    func adapter(_ folder: String) throws -> [UInt8] { try bench.bytes("\(folder)/adapter_model.safetensors") }
    #expect(try adapter("broken") == adapter("first") && adapter("first") != adapter("tenth"))
  }

  /// Named templates go along into a merged checkpoint, which is not written where an adapter or shards would be loaded with it; what
  /// generation_config.json says of answers and is not done is told.
  @Test func whatStandsBesideWeights() throws {
    let bench = try Self.bench()
    try FileManager.default.createDirectory(
      atPath: bench.file("base/additional_chat_templates"), withIntermediateDirectories: true)
    try bench.write("TOOL{{ messages[0].content }}", to: "base/additional_chat_templates/tool_use.jinja")
    try bench.write(
      #"{"repetition_penalty": 1.8, "min_length": 0, "temperature": 0.6, "suppress_tokens": [], "num_beams": 4}"#,
      to: "base/generation_config.json")
    let merge = "gora-export init --model base --profile merged -q -o"
    #expect(try bench.run("\(merge) merged").status == 0)
    for name in ["additional_chat_templates/tool_use.jinja", "generation_config.json"] {
      #expect(try bench.bytes("merged/\(name)") == bench.bytes("base/\(name)"))
    }
    #expect(try bench.run("gora-export init --model base --profile ranked -q -o adapter").status == 0)
    CommandLineTests.expect(
      try bench.run("\(merge) adapter"), 73, "an adapter, which Transformers would load with the checkpoint")
    try FileManager.default.createDirectory(atPath: bench.file("shards"), withIntermediateDirectories: true)
    try bench.write("{}", to: "shards/model.safetensors.index.json")
    CommandLineTests.expect(try bench.run("\(merge) shards"), 73, "the shards of another checkpoint")
    #expect(!bench.exists("shards/model.safetensors") && !bench.exists("adapter/model.safetensors"))
    let answered = try bench.run("gora-eval --model base --task gsm8k --data test.jsonl --limit 1 --max-new-tokens 2")
    #expect(
      answered.error.contains("warning: not applied of generation_config.json: repetition_penalty 1.8, num_beams 4\n"),
      "\(answered.error)")
  }

  private static let templates = ["", " --template plain", " --template chatml", " --template tokenizer", " --max-length 40"]

  /// The rows that are shown, given as token ids, make the same gradients, the same adapter and the same loss as the texts; the three tools show
  /// the same of them.
  @Test func shownRowsAreThoseOfTheRun() throws {
    let bench = try Self.bench()
    let tools = ["gora-grad", "gora-train", "gora-eval --task loss"]
    for options in Self.templates {
      let shown = try tools.map { try bench.run("\($0) --model base --data mixed.jsonl --show-rows 100\(options) --json -q") }
      for outcome in shown { #expect(outcome.status == 0 && outcome.output == shown[0].output, "\(outcome.error)") }
      // Rows of which nothing is left to learn are shown, and not learnt.
      let rows = try shown[0].output.split(separator: "\n").map { try JSONDocument(path: "rows", text: Array($0.utf8)).root }
      let learnt = try rows.filter { try $0.required("labels").elements.contains { try $0.int != -100 } }
      #expect(rows.count == 8 && (learnt.count < 8) == options.contains("max-length"))
      try bench.write(
        try learnt.map { row in
          #"{"input_ids": \#(try row.required("ids").value.compact()), "labels": \#(try row.required("labels").value.compact())}"#
        }.joined(separator: "\n"), to: "ids.jsonl")
      for (name, data) in [("texts", "mixed.jsonl\(options)"), ("ids", "ids.jsonl")] {
        for line in [
          "gora-grad --model base --steps 3 --no-provenance -q -o \(name).h5 --data \(data)",
          "gora-train init --model base --batch-size 4 --no-provenance -q -o \(name) --data \(data)",
          "gora-eval --model base --task loss --no-provenance -q -o \(name).json --data \(data)",
        ] {
          let outcome = try bench.run(line)
          #expect(outcome.status == 0, "\(line): \(outcome.error)")
        }
      }
      #expect(try bench.bytes("texts.h5") == bench.bytes("ids.h5"), "\(options)")
      #expect(try bench.bytes("texts.json") == bench.bytes("ids.json"), "\(options)")
      #expect(try bench.bytes("texts/adapter_model.safetensors") == bench.bytes("ids/adapter_model.safetensors"), "\(options)")
      for name in ["texts", "ids"] { try bench.remove(name) }
    }
  }

  /// Prompts of a task that is answered are the shown rows up to the answer, and the ends are said.
  @Test func shownPrompts() throws {
    let bench = try Self.bench()
    for options in [" --template chatml", " --template tokenizer"] {
      func rows(_ task: String) throws -> [JSONField] {
        let outcome = try bench.run("gora-eval --task \(task) --model base --data test.jsonl --show-rows 3\(options) --json")
        #expect(outcome.status == 0)
        #expect(outcome.error.contains("an answer ends at \"</s>\" (1)") == (task == "gsm8k"), "\(outcome.error)")
        return try outcome.output.split(separator: "\n").map { try JSONDocument(path: "rows", text: Array($0.utf8)).root }
      }
      for (prompt, whole) in try zip(rows("gsm8k"), rows("loss")) {
        let ids = try prompt.required("ids").elements.map { try $0.int }
        let labels = try whole.required("labels").elements.map { try $0.int }
        #expect(ids.count == labels.firstIndex { $0 != -100 })
        #expect(try whole.required("ids").elements.prefix(ids.count).map { try $0.int } == ids)
      }
    }
  }

  /// Without weights, an adapter or an output, and nothing is written; with a problem in a row, status 65.
  @Test func nothingElseIsNeeded() throws {
    let bench = try TextFlowTests.bench()
    try bench.write(#"{"text": "a\u001b[31mb"}"# + "\n{}\n", to: "odd.jsonl")
    let before = bench.files()
    for tool in ["gora-grad", "gora-train", "gora-train --method full --from-config tok/config.json", "gora-eval --task loss"] {
      let outcome = try bench.run("\(tool) --model tok --data test.jsonl --show-rows 2 -q")
      #expect(outcome.status == 0 && outcome.error.isEmpty, "\(outcome.error)")
      #expect(outcome.output.split(separator: "\n").count { $0.hasPrefix("test.jsonl:") } == 2)
      #expect(outcome.output.contains("⟦") && outcome.output.contains("⟧") && !outcome.output.contains("\u{1B}"))
      let colored = try bench.run("\(tool) --model tok --data test.jsonl --show-rows 2 --color always")
      #expect(colored.output.contains("\u{1B}[32m") && !colored.output.contains("⟦"))
      let bad = try bench.run("\(tool) --model tok --data odd.jsonl --show-rows 2")
      CommandLineTests.expect(bad, 65, "odd.jsonl:2")
      let skipped = try bench.run("\(tool) --model tok --data odd.jsonl --show-rows 2 --skip-bad-rows")
      #expect(skipped.status == 0 && skipped.output.contains(#"\u{1b}"#) && !skipped.output.contains("\u{1B}"))
    }
    #expect(bench.files() == before)
    // Without --show-rows an output is missed as ever.
    for tool in ["gora-grad", "gora-train init"] {
      CommandLineTests.expect(try bench.run("\(tool) --model tok --data test.jsonl"), 64, "missing expected argument '--output <")
    }
    #expect(try bench.run("gora-grad --model tok --data test.jsonl --show-rows 0").status == 64)
  }
}

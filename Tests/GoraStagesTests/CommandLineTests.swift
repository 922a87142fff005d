import Foundation
import GoraCore
import GoraFormats
import Testing

/// The contract of the command lines: exit status, messages, and what is left behind.
@Suite(.serialized) struct CommandLineTests {
  static let tools = [
    "gora-grad", "gora-score", "gora-plan", "gora-init", "gora-train", "gora-eval", "gora-export", "gora-report",
  ]

  static func expect(
    _ outcome: Outcome, _ status: Int32, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(outcome.status == status, "\(outcome.error)", sourceLocation: sourceLocation)
    for part in parts where !part.isEmpty {
      #expect(outcome.error.contains(part), "\(outcome.error)", sourceLocation: sourceLocation)
    }
  }

  // MARK: The same for every tool

  @Test(arguments: tools) func help(_ tool: String) throws {
    let outcome = try Child.run(tool, ["--help"], in: "/")
    #expect(outcome.status == 0 && outcome.error.isEmpty)
    let lines = outcome.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    #expect(lines.count <= 80, "\(lines.count) lines")
    #expect(lines.allSatisfy { $0.count <= 80 })
    #expect(outcome.output.contains("Examples:\n"))
    for option in [
      "--threads", "--seed", "--quiet", "--verbose", "--progress", "--color", "--json", "--dry-run", "--no-provenance",
    ] {
      #expect(outcome.output.contains(option), "\(option)")
    }
  }

  @Test(arguments: tools) func version(_ tool: String) throws {
    let outcome = try Child.run(tool, ["--version"], in: "/")
    #expect(outcome.status == 0 && outcome.error.isEmpty)
    #expect(outcome.output.wholeMatch(of: try Regex("\(tool) \\(gora\\) [0-9]+\\.[0-9]+\\.[0-9]+\n")) != nil)
    let libraries = try Child.run(tool, ["--version", "-v"], in: "/")
    #expect(libraries.status == 0 && libraries.output.contains("matrix products: "))
  }

  @Test(arguments: tools) func usage(_ tool: String) throws {
    let command = try #require(Self.commands.first { $0.hasPrefix("\(tool) ") })
    let words = Self.command(command, "out").split(separator: " ").map(String.init)
    let unknown = try Child.run(tool, words.dropFirst() + ["--no-such-flag"], in: "/")
    Self.expect(unknown, 64, "\(tool): error: ", "--no-such-flag", "\(tool): hint: \(tool) --help")
    #expect(unknown.output.isEmpty)
    Self.expect(try Child.run(tool, [], in: "/"), 64, "\(tool): error: ")
  }

  /// A standard output that takes nothing.
  @Test(arguments: tools) func fullStandardOutput(_ tool: String) throws {
    for flag in ["--help", "--version"] {
      Self.expect(try Child.run(tool, [flag], in: "/", shell: "exec \"$@\" > /dev/full"), 74, "\(tool): error: standard output: ")
    }
  }

  /// Command lines that work, one a tool; `%` stands for the output.
  static let commands = [
    "gora-grad --model model --data rows.jsonl --steps 2 -o %", "gora-score --model model grad.h5 -o %",
    "gora-plan scores.json --rank 4 -o %", "gora-init plan.json --model model --gradients grad.h5 -o %",
    "gora-train init --model model --data rows.jsonl --batch-size 3 -o %",
    "gora-eval --model model --adapter init --task loss --data rows.jsonl -o %",
    "gora-export init --model model --profile compact -o %", "gora-export init --model model --profile merged -o %",
    "gora-report plan.json grad.h5 -o %",
  ]
  static func command(_ text: String, _ output: String) -> String { text.replacing("%", with: output) }

  @Test func workingCommands() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    for command in Self.commands {
      // Nothing is written in a dry run.
      let dry = try bench.run(Self.command(command, "out") + " --dry-run")
      Self.expect(dry, 0)
      #expect(dry.output.isEmpty && bench.files() == before, "\(command)")
      let outcome = try bench.run(Self.command(command, "out") + " --progress never")
      Self.expect(outcome, 0)
      // One line for people, nothing on standard output.
      #expect(outcome.output.isEmpty)
      #expect(outcome.error.contains(try Regex("^\(command.prefix { $0 != " " }): [^\n]* -> out\n$")), "\(outcome.error)")
      #expect(bench.exists("out"), "\(command)")
      try bench.remove("out")
      let quiet = try bench.run(Self.command(command, "out") + " -q")
      #expect(quiet.status == 0 && quiet.output.isEmpty && quiet.error.isEmpty)
      try bench.remove("out")
      let json = try bench.run(Self.command(command, "out") + " --json -q")
      #expect(json.status == 0 && json.error.isEmpty)
      #expect(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) is [String: Any], "\(command)")
      try bench.remove("out")
    }
    // The result itself on standard output, which is full.
    for command in [Self.commands[1], Self.commands[2], Self.commands[5]] {
      Self.expect(try bench.run(Self.command(command, "-"), shell: "exec \"$@\" > /dev/full"), 74, "standard output")
    }
  }

  // MARK: Inputs

  @Test func missingInputs() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    for line in [
      "gora-grad --model nowhere --data rows.jsonl -o out", "gora-grad --model model --data nowhere -o out",
      "gora-score --model nowhere grad.h5 -o out", "gora-score --model model nowhere -o out", "gora-plan nowhere -o out",
      "gora-plan --uniform --model nowhere -o out", "gora-init nowhere --model model --gradients grad.h5 -o out",
      "gora-init plan.json --model nowhere --gradients grad.h5 -o out",
      "gora-init plan.json --model model --gradients nowhere -o out",
      "gora-train nowhere --model model --data rows.jsonl -o out", "gora-train init --model nowhere --data rows.jsonl -o out",
      "gora-train init --model model --data nowhere -o out", "gora-eval --model nowhere --task loss --data rows.jsonl -o out",
      "gora-eval --model model --task loss --data nowhere -o out",
      "gora-eval --model model --adapter nowhere --task loss --data rows.jsonl -o out",
      "gora-export nowhere --model model -o out", "gora-export init --model nowhere -o out",
    ] {
      let outcome = try bench.run(line)
      Self.expect(outcome, 66, "error: nowhere")
      #expect(outcome.output.isEmpty && bench.files() == before, "\(line)")
    }
  }

  @Test func malformedPlans() throws {
    let bench = try Workbench()
    try bench.prepare()
    let plan = try String(decoding: bench.bytes("plan.json"), as: UTF8.self)
    let before = bench.files()
    for (old, new, problem) in [
      ("\"reference_rank\"", "\"refrence_rank\"", "unknown key"), ("\"rank\": ", "\"rank\": 1000", "expected 0 to"),
      ("\"gora-plan\"", "\"gora-scores\"", ""), ("\"format_version\": 1", "\"format_version\": 99", ""),
      ("\"alpha\": 16", "\"alpha\": -1", "from 1e-6 to 1e6"), ("\"alpha\": 16", "\"alpha\": 16,,", ""), ("[", "", ""),
      ("self_attn.q_proj", "self_attn.k_proj", ""),
    ] {
      let range = try #require(plan.range(of: old), "\(old)")
      try bench.write(plan.replacingCharacters(in: range, with: new), to: "plan.json")
      let outcome = try bench.run("gora-init plan.json --model model --gradients grad.h5 -o out")
      Self.expect(outcome, 65, "gora-init: error: plan.json:", problem)
      #expect(outcome.error.contains(#/plan\.json:[0-9]+:[0-9]+: /#), "\(outcome.error)")
      #expect(bench.files() == before)
    }
    // Line and column are those of the bad word.
    let lines = plan.split(separator: "\n", omittingEmptySubsequences: false)
    let line = try #require(lines.firstIndex { $0.contains("\"rank\": ") })
    var broken = lines.map(String.init)
    broken[line] = broken[line].replacing("\"rank\": ", with: "\"rank\": x")
    let column = try #require(broken[line].range(of: "x")).lowerBound.utf16Offset(in: broken[line]) + 1
    try bench.write(broken.joined(separator: "\n"), to: "plan.json")
    Self.expect(
      try bench.run("gora-init plan.json --model model --gradients grad.h5 -o out"), 65, "plan.json:\(line + 1):\(column): ")
  }

  @Test func damagedFiles() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    let weights = try bench.bytes("model/model.safetensors")
    for length in [0, 4, 8, 100, weights.count / 2, weights.count - 1] {
      try bench.write(Array(weights[..<length]), to: "model/model.safetensors")
      Self.expect(
        try bench.run("gora-grad --model model --data rows.jsonl -o out"), 65, "model.safetensors")
    }
    try bench.write(weights, to: "model/model.safetensors")
    let adapter = try bench.bytes("init/adapter_model.safetensors")
    try bench.write(Array(adapter.dropLast(10)), to: "init/adapter_model.safetensors")
    Self.expect(try bench.run("gora-export init --model model -o out"), 65, "adapter_model.safetensors")
    Self.expect(try bench.run("gora-train init --model model --data rows.jsonl -o out"), 65, "adapter_model.safetensors")
    try bench.write(adapter, to: "init/adapter_model.safetensors")

    let gradients = try bench.bytes("grad.h5")
    var random = Random(seed: 1, stream: "damage")
    let noise = (0..<5000).map { _ in UInt8(truncatingIfNeeded: random.nextUInt32()) }
    for bytes in [noise, [], Array(gradients[..<8]) + noise, Array(gradients[..<(gradients.count / 2)])] {
      try bench.write(bytes, to: "grad.h5")
      Self.expect(try bench.run("gora-score --model model grad.h5 -o out"), 65, "grad.h5")
      Self.expect(try bench.run("gora-init plan.json --model model --gradients grad.h5 -o out"), 65, "grad.h5")
    }
    try bench.write(gradients, to: "grad.h5")
    #expect(bench.files() == before)
  }

  @Test func badRows() throws {
    let bench = try Workbench()
    try bench.prepare()
    let good = "{\"input_ids\": [1, 5, 6], \"labels\": [-100, 5, 6]}\n"
    let before = bench.files() + ["bad.jsonl"]
    for bad in [
      "{\"input_ids\": [1, 64, 6], \"labels\": [-100, 5, 6]}", "{\"input_ids\": [1, -1, 6], \"labels\": [-100, 5, 6]}",
      "{\"input_ids\": [1, 5, 6], \"labels\": [-100, 64, 6]}", "{\"input_ids\": [1, 5, 6], \"labels\": [-100, 5]}",
      "{\"input_ids\": [1, 5, 6]}", "{\"input_ids\": [1, 5.5, 6], \"labels\": [-100, 5, 6]}", "{\"input_ids\": [1,", "[]",
      "{\"input_ids\": [1, 5, 99999999999999999999], \"labels\": [-100, 5, 6]}",
    ] {
      try bench.write(good + bad + "\n" + good, to: "bad.jsonl")
      for command in [Self.commands[0], Self.commands[4], Self.commands[5]] {
        let line = Self.command(command, "out").replacing("rows.jsonl", with: "bad.jsonl")
        Self.expect(try bench.run(line), 65, "bad.jsonl:2")
        #expect(bench.files() == before.sorted(), "\(line)")
      }
      let skipping = "gora-eval --model model --task loss --data bad.jsonl --skip-bad-rows -o -"
      let outcome = try bench.run(skipping)
      Self.expect(outcome, 0, "warning: ", "bad.jsonl:2")
      #expect(outcome.output.contains("\"rows\": 2"))
    }
  }

  // MARK: Outputs

  /// A folder that is not there, a path through a file, a folder where a file should be, a file where a folder should be.
  @Test func outputsThatCannotBeMade() throws {
    let bench = try Workbench()
    try bench.prepare()
    try FileManager.default.createDirectory(atPath: bench.file("folder"), withIntermediateDirectories: false)
    let before = bench.files()
    for command in Self.commands {
      let makesFolder = ["gora-init", "gora-train", "gora-export"].contains(command.split(separator: " ")[0])
      // Folders are made with their parents, as mkdir -p does.
      for output in makesFolder ? ["rows.jsonl", "rows.jsonl/out", "/proc/out"] : ["nowhere/out", "rows.jsonl/out", "folder"] {
        let outcome = try bench.run(Self.command(command, output))
        Self.expect(outcome, 73, "error: \(output)")
        #expect(bench.files() == before, "\(command) \(output)")
      }
    }
    Self.expect(try bench.run(Self.command(Self.commands[4], "out") + " --log nowhere/log.jsonl"), 73, "nowhere/log.jsonl")
  }

  /// A disk that is full after a few hundred bytes (RLIMIT_FSIZE): 74, and no part of a file stays.
  @Test(arguments: commands) func fullDisk(_ command: String) throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    // An older result stays whole.
    let isFile = ["gora-grad", "gora-score", "gora-plan", "gora-eval"].contains(command.split(separator: " ")[0])
    if isFile { try bench.write("older", to: "out") }
    let outcome = try bench.run(Self.command(command, "out"), shell: "ulimit -f 1; exec \"$@\"")
    Self.expect(outcome, 74, "error: ", "out")
    #expect(bench.files() == (isFile ? before + ["out"] : before).sorted())
    if isFile { #expect(try bench.bytes("out") == Array("older".utf8)) }
  }

  @Test func outputIsInput() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = try bench.contents("")
    for line in [
      "gora-score --model model grad.h5 -o grad.h5", "gora-plan scores.json -o scores.json",
      "gora-grad --model model --data rows.jsonl -o rows.jsonl", "gora-export init --model model -o init",
      "gora-export init --model model --profile merged -o model",
    ] { Self.expect(try bench.run(line), 64) }
    #expect(try bench.contents("") == before)
  }

  // MARK: Answers that are "no"

  @Test(arguments: [Float.nan, .infinity]) func nonFiniteWeights(_ value: Float) throws {
    let bench = try Workbench()
    try bench.poison("model", with: value)
    let before = bench.files()
    Self.expect(try bench.run("gora-grad --model model --data rows.jsonl --steps 2 -o out"), 1, "loss")
    Self.expect(try bench.run("gora-eval --model model --task loss --data rows.jsonl -o out"), 1, "loss")
    #expect(bench.files() == before)
    Self.expect(try bench.run("gora-plan --uniform --model model --rank 2 -o plan.json"), 0)
    Self.expect(try bench.run("gora-init plan.json --model model --method lora -o init"), 0)
    Self.expect(try bench.run("gora-train init --model model --data rows.jsonl --batch-size 3 -o out"), 1, "step 1", "loss")
    #expect(!bench.exists("out/adapter_model.safetensors") && !bench.exists("out/checkpoint/state.safetensors"))
  }

  /// A rate that throws the weights out of range: the checkpoint is that of the last step whose loss was finite.
  @Test func divergingTraining() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line =
      "gora-train init --model model --data rows.jsonl --batch-size 3 --max-steps 8 --lr 1e30 --warmup-ratio 0 --save-every 1"
    let outcome = try bench.run("\(line) -o out")
    Self.expect(outcome, 1, "gora-train: error: step 2", "--lr")
    #expect(bench.files(in: "out") == ["checkpoint/state.safetensors"])
    let kept = try bench.contents("out")
    // The same again from there: it fails at the same step and keeps the same checkpoint.
    Self.expect(try bench.run("\(line) -o out --resume"), 1, "step 2")
    #expect(try bench.contents("out") == kept)
  }

  /// A checkpoint whose numbers are none of a run is not gone on from.
  @Test func checkpointsOfOtherNumbers() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line =
      "gora-train init --model model --data rows.jsonl --batch-size 3 --save-every 1 --warmup-ratio 0 --schedule constant"
    Self.expect(try bench.run("\(line) --lr 1e-3 --max-steps 2 -o out"), 0)
    let file = "out/checkpoint/state.safetensors"
    let whole = try bench.bytes(file)
    try bench.change(file) { $0.replaceSubrange($0.count - 4..<$0.count, with: [0, 0, 0x80, 0x7F]) }
    Self.expect(try bench.run("\(line) --lr 1e-3 --max-steps 2 -o out --resume"), 65, "not finite")
    let length = Int(whole[0]) | Int(whole[1]) << 8 | Int(whole[2]) << 16
    let header = try JSON(parsing: String(decoding: whole[8..<8 + length], as: UTF8.self))
    guard case .object(let tensors) = header.content,
      case .object(let tensor)? = tensors.first(where: { $0.key.hasPrefix("second_moment/") })?.value.content,
      case .array(let offsets)? = tensor.first(where: { $0.key == "data_offsets" })?.value.content,
      case .integer(let start)? = offsets.first?.content
    else { return #expect(Bool(false)) }
    var negative = whole
    negative.replaceSubrange(8 + length + start..<8 + length + start + 4, with: [0, 0, 0x80, 0xBF])
    try bench.write(negative, to: file)
    Self.expect(
      try bench.run("\(line) --lr 1e-3 --max-steps 2 -o out --resume"), 65, "a number that is never below 0 is negative")
    let text = String(decoding: whole.prefix(4096), as: UTF8.self)
    try #require(text.contains("\"step\":\"2\""))
    var later = whole
    later.replaceSubrange(try #require(whole.firstRange(of: Array("\"step\":\"2\"".utf8))), with: Array("\"step\":\"9\"".utf8))
    try bench.write(later, to: file)
    Self.expect(try bench.run("\(line) --lr 1e-3 --max-steps 2 -o out --resume"), 65, "step 9 of a run of 2")
    // One that cannot be read may be of a run that can go on: it is not written over either.
    var other = whole
    let version = Array("\"format_version\":\"4\"".utf8)
    other.replaceSubrange(try #require(whole.firstRange(of: version)), with: Array("\"format_version\":\"1\"".utf8))
    for (bytes, word) in [(other, "a checkpoint of format 1"), (Array(whole.prefix(100)), "state.safetensors")] {
      try bench.write(bytes, to: file)
      for resume in ["", " --resume"] {
        Self.expect(try bench.run("\(line) --lr 1e-3 --max-steps 2 -o out\(resume)"), 65, word)
        #expect(try bench.bytes(file) == bytes)
      }
    }
  }

  @Test func requirements() throws {
    let bench = try Workbench()
    let line = "gora-eval --model model --task loss --data rows.jsonl -o result.json --require"
    Self.expect(try bench.run("\(line) loss<=9"), 0)
    Self.expect(try bench.run("\(line) loss<=1"), 1, "loss<=1")
    Self.expect(try bench.run("\(line) perplexity>=1000"), 1)
    Self.expect(try bench.run("\(line) accuracy>=0.5"), 64)
    Self.expect(try bench.run("\(line) loss"), 64)
  }

  /// Numbers that make no sense, and flags that contradict.
  @Test func badOptions() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    for (command, options) in [
      (
        0,
        [
          "-o -", "--steps 0", "--batch-size 0", "--batch-size 7", "--targets nothing", "--compression lzma", "--dtype f8",
          "--max-length 1",
        ]
      ),
      (1, ["--metric nothing"]), (2, ["--rank 0", "--min-rank 9 --max-rank 5", "--alpha 0", "--model model", "--uniform"]),
      (3, ["-o -", "--gamma -1", "--gamma nan", "--method nothing"]),
      (
        4,
        [
          "-o -", "--lr -1", "--epochs 0", "--warmup-ratio 2", "--method full", "--from-config model/config.json",
          "--save-every 0",
        ]
      ),
      (5, ["--temperature -1", "--top-p 0", "--top-p 1.5", "--limit 0"]), (6, ["-o -", "--profile nothing"]),
    ] {
      for option in options + ["--threads 0", "--seed -1", "--quiet --verbose"] {
        let outcome = try bench.run(Self.command(Self.commands[command], "out") + " " + option)
        Self.expect(outcome, 64, "error: ")
        #expect(outcome.output.isEmpty && bench.files() == before, "\(option)")
      }
    }
    Self.expect(try bench.run("gora-score --model model -- -"), 64)
    Self.expect(try bench.run("gora-plan scores.json --json"), 64)
    Self.expect(try bench.run("gora-plan scores.json", environment: ["GORA_THREADS=many"]), 64, "GORA_THREADS")
  }
}

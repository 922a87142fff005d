import Foundation
import Glibc
import GoraCore
import Testing

/// Outputs and inputs that meet, runs that meet, ends that come too early: what the tools do to files that they should not touch.
@Suite(.serialized) struct OutputSafetyTests {
  /// Every output option of every tool, aimed at every file of every input; `%` stands for the output.
  static let outputs = [
    "gora-grad --model model --data rows.jsonl --steps 2 -o %", "gora-score --model model grad.h5 -o %",
    "gora-plan --uniform --model model --rank 2 -o %",
    "gora-eval --model model --adapter init --task loss --data rows.jsonl -o %",
    "gora-eval --model model --task gsm8k --data rows.jsonl -o result.json --samples %",
    "gora-train init --model model --data rows.jsonl --batch-size 3 -o out --log %",
    "gora-report model init . -o %",
  ]

  @Test func noOutputIsWrittenOverAnInput() throws {
    let bench = try Workbench()
    try bench.prepare()
    try bench.write("{}", to: "model/tokenizer_config.json")
    try FileManager.default.createSymbolicLink(atPath: bench.file("linked"), withDestinationPath: "model")
    let before = try bench.contents("")
    for line in Self.outputs {
      var targets = ["model/model.safetensors", "linked/config.json", "./model/../linked/tokenizer_config.json"]
      if line.contains("init") { targets += ["init/adapter_config.json", "init/./adapter_model.safetensors"] }
      if line.contains("rows") { targets.append("rows.jsonl") }
      if line.contains("grad.h5") { targets.append("grad.h5") }
      for target in targets {
        let outcome = try bench.run(line.replacing("%", with: target))
        CommandLineTests.expect(outcome, 64, "error: \(target)", "input")
        #expect(try bench.contents("") == before, "\(line) \(target)")
      }
    }
    for line in [
      "gora-plan scores.json -o ./scores.json", "gora-plan --compare plan.json scores.json -o plan.json",
      "gora-init plan.json --model model --gradients grad.h5 -o model",
      "gora-init plan.json --model model --method lora -o linked",
      "gora-train init --model model --data rows.jsonl --batch-size 3 -o init",
      "gora-train init --model model --data rows.jsonl --batch-size 3 -o ./init/../linked",
      "gora-train --method full --model model --data rows.jsonl --batch-size 3 -o linked",
      "gora-train init --model model --data rows.jsonl --validation grad.h5 --log grad.h5 -o out",
      "gora-export init --model model --profile padded -o linked/../init",
      "gora-export init --model model --profile merged -o linked",
      "gora-export init --model model --profile compact -o model",
      // Outputs that are one file.
      "gora-eval --model model --task gsm8k --data rows.jsonl -o x --samples ./x",
      "gora-train init --model model --data rows.jsonl --batch-size 3 -o out --log out/checkpoint/state.safetensors",
      "gora-train init --model model --data rows.jsonl --batch-size 3 -o out --log out/adapter_config.json",
      "gora-train init --model model --data rows.jsonl --batch-size 3 -o out --log out",
    ] {
      CommandLineTests.expect(try bench.run(line), 64, "put")
      #expect(try bench.contents("") == before, "\(line)")
    }
    // Standard input is an input too.
    CommandLineTests.expect(try bench.run("gora-plan - -o scores.json", shell: "exec \"$@\" < scores.json"), 64, "standard input")
    #expect(try bench.contents("") == before)
    // A report may be made again, and results may lie beside the adapter that they are of, and be made again.
    for _ in 0..<2 {
      CommandLineTests.expect(try bench.run("gora-report . -o report.html"), 0)
      CommandLineTests.expect(
        try bench.run("gora-eval --model model --adapter init --task loss --data rows.jsonl -o init/result.json"), 0)
    }
  }

  /// An input that a report finds in a folder below is no output either.
  @Test func reportsOfFoldersKeepWhatTheyRead() throws {
    let bench = try Workbench()
    try bench.prepare()
    let plan = try bench.bytes("plan.json")
    for folder in ["sub", "sub/deep"] {
      try FileManager.default.createDirectory(atPath: bench.file(folder), withIntermediateDirectories: true)
      try bench.write(plan, to: "\(folder)/plan.json")
      CommandLineTests.expect(try bench.run("gora-report . -o \(folder)/plan.json"), 64, "the output is also the input")
      #expect(try bench.bytes("\(folder)/plan.json") == plan)
    }
  }

  /// Found before the work: nothing of a run whose output cannot be written.
  @Test func outputsAreOpenedBeforeTheWork() throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    // The model does not even have weights: who looks at it first says 65 or 66.
    try bench.write("none", to: "model/model.safetensors")
    for line in Self.outputs {
      let target = line.contains("gora-grad") ? nil : "nowhere/x"
      guard let target else { continue }
      CommandLineTests.expect(try bench.run(line.replacing("%", with: target)), line.contains("--log") ? 65 : 73)
    }
    for line in [
      "gora-init plan.json --model model --gradients grad.h5 -o rows.jsonl/x", "gora-export init --model model -o rows.jsonl",
      "gora-train init --model model --data rows.jsonl -o rows.jsonl",
    ] { CommandLineTests.expect(try bench.run(line), 73, "error: rows.jsonl") }
    // Folders of failed runs go.
    for line in [
      "gora-init plan.json --model model --gradients grad.h5 -o new/deep", "gora-export init --model model -o new/deep",
      "gora-export init --model model --profile merged -o new",
      "gora-train --method full --model model --data rows.jsonl -o new/x",
    ] {
      CommandLineTests.expect(try bench.run(line), 65)
      #expect(!bench.exists("new"), "\(line)")
    }
    #expect(bench.files() == before)
  }

  /// Every signal that ends a process and can be caught: no file, no folder, and the end that the signal means.
  @Test func everySignalLeavesNothing() throws {
    let bench = try Workbench()
    try bench.prepare()
    let words = "init --model model --data rows.jsonl -o new/tuned --max-steps 10000000 --batch-size 3 --save-every 9999999"
      .split(separator: " ").map(String.init)
    let numbers = [
      SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM,
      SIGXCPU, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSYS, 34, 64,
    ]
    for number in numbers {
      let child = try Child("gora-train", words, in: bench.path, shell: "ulimit -c 0; exec \"$@\"")
      for _ in 0..<5000 where bench.files(in: "new/tuned").count < 2 { usleep(1000) }
      usleep(5000)
      child.send(number)
      let outcome = try child.wait()
      #expect(outcome.status == 128 + number)
      #expect(!outcome.error.contains("\n\n") && outcome.error.split(separator: "\n").count <= 1, "\(outcome.error)")
      #expect(!bench.exists("new"), "signal \(number)")
    }
    // Ignored on purpose, as by nohup.
    let child = try Child("gora-train", words, in: bench.path, shell: "trap '' HUP USR1; exec \"$@\"")
    for _ in 0..<5000 where bench.files(in: "new/tuned").count < 2 { usleep(1000) }
    child.send(SIGHUP)
    child.send(SIGUSR1)
    usleep(20_000)
    #expect(bench.exists("new"))
    child.send(SIGTERM)
    #expect(try child.wait().status == 128 + SIGTERM)
    #expect(!bench.exists("new"))
  }

  /// A reader that goes away.
  @Test func brokenPipe() throws {
    let bench = try Workbench()
    try bench.prepare()
    let outcome = try bench.run("gora-score --model model grad.h5", shell: "mkfifo p; { exec 3< p; } & \"$@\" > p; wait; exit 0")
    #expect(outcome.status == 0 && outcome.error.isEmpty, "\(outcome.error)")
  }

  /// A checkpoint that is cut short while it is mapped: one line with its name, and nothing left.
  @Test func aMappedFileThatShrinks() throws {
    let bench = try Workbench()
    try bench.prepare()
    for line in [
      "gora-train init --model model --data rows.jsonl -o new/tuned --max-steps 10000000 --batch-size 3",
      "gora-train init --model model --data rows.jsonl -o new/tuned --max-steps 10000000 --batch-size 3 --threads 2",
    ] {
      let weights = try bench.bytes("model/model.safetensors")
      let words = line.split(separator: " ").map(String.init)
      let child = try Child(words[0], Array(words.dropFirst()), in: bench.path)
      for _ in 0..<5000 where bench.files(in: "new/tuned").count < 2 { usleep(1000) }
      usleep(30_000)
      #expect(truncate(bench.file("model/model.safetensors"), 0) == 0)
      let outcome = try child.wait()
      try bench.write(weights, to: "model/model.safetensors")
      CommandLineTests.expect(outcome, 74, "gora-train: error: model/model.safetensors: cannot read: the file was cut short")
      #expect(outcome.error.split(separator: "\n").count == 3, "\(outcome.error)")
      #expect(!bench.exists("new"))
    }
  }

  /// Two runs on one output: the second is told, and the first goes on.
  @Test func twoRunsOnOneOutput() throws {
    let bench = try Workbench()
    try bench.prepare()
    let words = "init --model model --data rows.jsonl -o tuned --max-steps 10000000 --batch-size 3 --log log.jsonl"
      .split(separator: " ").map(String.init)
    let first = try Child("gora-train", words, in: bench.path)
    bench.wait(for: "log.jsonl")
    let line = "gora-train init --model model --data rows.jsonl --max-steps 2 --batch-size 3"
    CommandLineTests.expect(try bench.run("\(line) -o tuned"), 73, "tuned/", "another run")
    CommandLineTests.expect(try bench.run("\(line) -o second --log log.jsonl"), 73, "log.jsonl", "another run")
    #expect(!bench.exists("second"))
    first.send(SIGKILL)
    #expect(try first.wait().status == 128 + SIGKILL)
    #expect(bench.files(in: "tuned").contains { $0.hasSuffix(".tmp") })
    CommandLineTests.expect(try bench.run("\(line) -o tuned --log log.jsonl"), 0)
    #expect(
      bench.files(in: "tuned") == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "checkpoint/state.safetensors",
      ])
  }

  /// Pipes, devices and folders where a file is needed, at once and by their kind.
  @Test func specialFiles() throws {
    let bench = try Workbench()
    try bench.prepare()
    #expect(mkfifo(bench.file("pipe"), 0o600) == 0)
    func refused(_ line: String, _ place: String, _ kind: String) throws {
      let outcome = try bench.run(line, shell: "exec timeout 20 \"$@\"")
      CommandLineTests.expect(outcome, 66, place, kind)
    }
    for (target, kind) in [("pipe", "a pipe"), ("/dev/zero", "a device"), ("init", "directory")] {
      try refused("gora-score --model model \(target)", target, kind)
      try refused("gora-init plan.json --model model --gradients \(target) -o new", target, kind)
      for (folder, file, line) in [
        ("model", "model.safetensors", "gora-eval --model copy --task loss --data rows.jsonl"),
        ("init", "adapter_model.safetensors", "gora-eval --model model --adapter copy --task loss --data rows.jsonl"),
      ] {
        try bench.copy(folder, to: "copy")
        try bench.remove("copy/\(file)")
        let path = target.hasPrefix("/") ? target : "../\(target)"
        try FileManager.default.createSymbolicLink(atPath: bench.file("copy/\(file)"), withDestinationPath: path)
        try refused(line, "copy/\(file)", kind)
        try bench.remove("copy")
      }
    }
    #expect(!bench.exists("new"))
  }

  /// Names and values with control characters cannot forge a line or reach the terminal.
  @Test func controlCharactersAreEscaped() throws {
    let bench = try Workbench()
    try bench.prepare()
    let name = "a\u{1B}[2J\ngora-plan: ok\u{202E}\u{9B}b"
    for words in [
      ["gora-plan", name], ["gora-eval", "--model", name, "--task", "loss", "--data", "rows.jsonl"],
      ["gora-plan", "scores.json", "--format", name], ["gora-plan", "scores.json", name, name],
      ["gora-eval", "--model", "model", "--task", "loss", "--data", "rows.jsonl", "--require", name],
    ] {
      let outcome = try Child.run(words[0], Array(words.dropFirst()), in: bench.path)
      #expect(outcome.status == 64 || outcome.status == 66)
      #expect(outcome.error.split(separator: "\n").allSatisfy { $0.hasPrefix("\(words[0]): ") }, "\(outcome.error)")
      #expect(!outcome.error.unicodeScalars.contains { $0 != "\n" && $0.value < 0x20 || $0 == "\u{9B}" || $0 == "\u{202E}" })
    }
    for file in ["plan.json", "scores.json"] {
      let text = try String(decoding: bench.bytes(file), as: UTF8.self)
      try bench.write(
        text.replacing("model.layers.0.self_attn.q_proj", with: "model.layers.0.\\u001b[31mred\\u202e.q_proj"), to: "odd-\(file)")
    }
    for line in ["gora-plan odd-scores.json --format table --rank 2", "gora-report odd-plan.json odd-scores.json --format text"] {
      let outcome = try bench.run(line)
      #expect(outcome.status == 0 && outcome.output.contains("u{1b}"), "\(outcome.error) \(outcome.output)")
      #expect(!outcome.output.unicodeScalars.contains { $0 != "\n" && $0.value < 0x20 || $0 == "\u{202E}" }, "\(outcome.output)")
    }
    // A path that is not UTF-8.
    let odd = try bench.run("gora-plan scores.json -o out", shell: "exec \"$@\" --compare \"$(printf 'caf\\351')\"")
    CommandLineTests.expect(odd, 64, "not UTF-8")
  }

  /// A pipe by its name below /dev is one too.
  @Test func pipesBelowDev() throws {
    let bench = try Workbench()
    try bench.prepare()
    let plan = "gora-plan scores.json -q --no-provenance"
    let piped = try bench.run("\(plan) -o /dev/stdout", shell: "\"$@\" | cat")
    #expect(try !piped.output.isEmpty && piped.output == bench.run(plan).output, "\(piped.error)")
  }

  /// A full device is 74 wherever it shows.
  @Test func noRoomIsAnIOError() throws {
    let bench = try Workbench()
    try bench.prepare()
    for line in ["gora-plan scores.json -o /dev/full", "gora-plan scores.json -o -"] {
      CommandLineTests.expect(try bench.run(line, shell: "exec \"$@\" > /dev/full"), 74, "no space left")
    }
  }
}

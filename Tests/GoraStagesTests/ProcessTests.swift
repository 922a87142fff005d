import Foundation
import Glibc
import GoraCore
import GoraFormats
import GoraStages
import Testing

/// What only processes can show: thread counts, sudden deaths, signals.
@Suite(.serialized) struct ProcessTests {
  /// Scores and plans do not depend on the number of threads; gradients and training may, per their contract.
  @Test func scoresAndPlansForAnyThreadCount() throws {
    let bench = try Workbench()
    try bench.prepare()
    for metric in ["sensitivity", "gradient-nuclear", "sensitivity-frobenius"] {
      let runs = try ["1", "2", "3"].map {
        try bench.run("gora-score --model model grad.h5 --metric \(metric)", environment: ["GORA_THREADS=\($0)"])
      }
      #expect(runs[0].status == 0 && runs[0].output.contains("\"importance\""))
      #expect(runs.allSatisfy { $0.output == runs[0].output })
    }
    let plans = try ["1", "2"].map { try bench.run("gora-plan scores.json --budget exact", environment: ["GORA_THREADS=\($0)"]) }
    #expect(plans[0].status == 0 && plans[0].output.contains("\"rank\"") && plans[0].output == plans[1].output)
  }

  static let training =
    " --model model --data rows.jsonl -o tuned --max-steps 40 --batch-size 3 --lr 1e-3 --save-every 1 "
    + "--validation rows.jsonl --validate-every 2 --log metrics.jsonl --threads 1 -q"

  /// Killed without warning again and again, and resumed: adapter, checkpoint and log end in the bytes of an unbroken run.
  @Test(
    arguments: [
      "init", "init --rule lora-pro --lora-dropout 0.2 --keep-best --patience 99 --max-grad-norm 0.5", "--method full",
      "--method full --from-config model/config.json", "init --quantize nf4 --rule lora-fa",
      "adalora --target-rank 2 --delta-t 3 --lora-dropout 0.1 --keep-best",
    ].enumerated().map { ($0, $1) })
  func killedAndResumed(seed: Int, method: String) throws {
    let training = "gora-train \(method)" + Self.training
    let bench = try Workbench()
    try bench.prepare()
    try bench.prepareAdaLoRA()
    let clock = ContinuousClock()
    let start = clock.now
    let unbroken = try bench.run(training)
    #expect(unbroken.status == 0, "\(unbroken.error)")
    let duration = (clock.now - start) / .microseconds(1)
    let expected = try bench.contents("tuned")
    let log = try bench.bytes("metrics.jsonl")
    // Beside AdaLoRA's lines of ranks.
    #expect(String(decoding: log, as: UTF8.self).split(separator: "\n").count { !$0.contains("\"ranks\"") } == 60)
    try bench.remove("tuned")
    try bench.remove("metrics.jsonl")

    var random = Random(seed: UInt64(seed), stream: "kill")
    var killed = 0
    for attempt in 0..<5 {
      let words = (training + " --resume").split(separator: " ").map(String.init)
      let child = try Child(words[0], Array(words.dropFirst()), in: bench.path)
      if attempt == 0 {
        // Soon after the first checkpoint, so that one death at least comes in the middle.
        bench.wait(for: "tuned/checkpoint/state.safetensors")
        usleep(UInt32(2000 * random.uniform()))
      } else {
        usleep(UInt32(duration * (0.1 + 0.7 * random.uniform())))
      }
      child.send(SIGKILL)
      if try child.wait().status == 128 + SIGKILL { killed += 1 }
    }
    #expect(killed > 0)
    // What a killed save leaves.
    try bench.write("half", to: "tuned/checkpoint/.state.safetensors.0123456789abcdef.tmp")
    try bench.write("half", to: "tuned/.adapter_config.json.0123456789abcdef.tmp")
    let resumed = try bench.run(training + " --resume")
    #expect(resumed.status == 0, "\(resumed.error)")
    try? bench.remove("tuned/.adapter_config.json.0123456789abcdef.tmp")
    let result = try bench.contents("tuned")
    #expect(result.keys.sorted() == expected.keys.sorted())
    for (name, bytes) in expected { #expect(result[name] == bytes, "\(name)") }
    #expect(try bench.bytes("metrics.jsonl") == log)
  }

  /// A checkpoint of other settings is refused, and says which.
  @Test func resumedWithOtherSettings() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line = "gora-train init --model model --data rows.jsonl -o tuned --max-steps 4 --batch-size 3 --save-every 1 -t 2"
    #expect(try bench.run(line).status == 0)
    let before = try bench.contents("tuned")
    for (change, word) in [
      ("--lr 1e-3", "lr="), ("--seed 9", "seed="), ("--max-steps 5", "steps="), ("--no-shuffle", "shuffle="),
      ("-t 1", "go on with --threads 2"),
    ] {
      let outcome = try bench.run("\(line.replacing("-t 2", with: change.hasPrefix("-t") ? "" : "-t 2")) \(change) --resume")
      #expect(outcome.status == 65 && outcome.error.contains(word), "\(outcome.error)")
    }
    #expect(try bench.contents("tuned") == before)
  }

  /// Data, plan and adapter were read and hashed before the first step: what becomes of them then changes no byte.
  @Test(arguments: [false, true]) func inputsThatGoAway(removes: Bool) throws {
    let bench = try Workbench()
    try bench.prepare()
    try bench.copy("rows.jsonl", to: "data.jsonl")
    try bench.copy("init", to: "start")
    var configuration = TrainStage.Configuration(
      method: .adapter(bench.file("start")), model: bench.file("model"), data: DataOptions(paths: [bench.file("data.jsonl")]),
      output: bench.file("tuned"),
      context: RunContext(
        tool: "gora-train", version: "0", arguments: ["gora-train"], seed: 0, threads: 2, recordsProvenance: true))
    configuration.recipe.batchSize = 2
    configuration.recipe.maxSteps = 3
    _ = try TrainStage(configuration).run { _ in }
    let whole = try bench.contents("tuned")
    try bench.remove("tuned")
    var steps = 0
    _ = try TrainStage(configuration).run { event in
      guard case .progress(stage: "training", done: let done, total: _, unit: _, rate: _, loss: _, state: _) = event else {
        return
      }
      steps = done
      guard done == 1 else { return }
      if removes {
        try? bench.remove("data.jsonl")
        try? bench.remove("start")
      } else {
        try? bench.write("{\"prompt\": \"other\", \"response\": \"rows\"}\n", to: "data.jsonl")
        try? bench.write([0], to: "start/adapter_model.safetensors")
      }
    }
    #expect(steps == 3)
    #expect(try bench.contents("tuned") == whole)
  }

  /// Stopped by the clock (75), and continued to the unbroken run's state.
  @Test func maxTime() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line = "gora-train init --model model --data rows.jsonl --max-steps 6 --batch-size 3 --threads 1 --no-provenance"
    #expect(try bench.run("\(line) -o whole").status == 0)
    let stopped = try bench.run("\(line) -o tuned --max-time 1e-6")
    #expect(stopped.status == 75 && stopped.error.contains("--resume"))
    #expect(bench.files(in: "tuned") == ["checkpoint/state.safetensors"])
    // Without --resume it is not begun anew, which would lose what is done.
    let state = try bench.contents("tuned")
    CommandLineTests.expect(try bench.run("\(line) -o tuned"), 73, "a run stopped here after step", "--resume")
    #expect(try bench.contents("tuned") == state)
    #expect(try bench.run("\(line) -o tuned --resume").status == 0)
    #expect(try bench.contents("tuned") == bench.contents("whole"))
  }

  /// What is written has the least validation loss of the log; a run whose loss does not fall ends, and is at an end.
  @Test func bestAndEarly() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line =
      "gora-train init --model model --data rows.jsonl --batch-size 3 --schedule constant --warmup-ratio 0 --validation rows.jsonl "
      + "--validate-every 1 --log log.jsonl --json"
    // A rate at which the loss falls and rises again.
    let best = try bench.run("\(line) --max-steps 12 --lr 1e-1 --keep-best -o best")
    #expect(best.status == 0, "\(best.error)")
    let losses = try String(decoding: bench.bytes("log.jsonl"), as: UTF8.self).split(separator: "\n").compactMap { line in
      try JSONDocument(path: "log", text: Array(line.utf8)).root.optional("validation_loss")?.double
    }
    let least = try #require(losses.min())
    #expect(losses.count == 12 && least < losses[11] - 1e-3)
    let summary = try JSONDocument(path: "summary", text: Array(best.output.utf8)).root
    #expect(try summary.required("validation_loss").double == least)
    #expect(try summary.required("best_step").int == losses.firstIndex(of: least)! + 1)
    let eval = try bench.run("gora-eval --model model --adapter best --task loss --data rows.jsonl -q")
    let loss = try JSONDocument(path: "eval", text: Array(eval.output.utf8)).root.required("loss").double
    // Of the compact profile, whose B has s in it: binary32.
    #expect(abs(loss - least) < 1e-5 * least)
    // Without --keep-best the last values are written.
    #expect(try bench.run("\(line) --max-steps 12 --lr 1e-1 -o last").status == 0)
    #expect(try bench.bytes("last/adapter_model.safetensors") != bench.bytes("best/adapter_model.safetensors"))

    // At rate 0 nothing is better than the first.
    let early = try bench.run("\(line) --max-steps 12 --lr 0 --patience 3 -o early")
    #expect(early.status == 0 && early.error.contains("stopped early"), "\(early.error)")
    #expect(try JSONDocument(path: "summary", text: Array(early.output.utf8)).root.required("steps").int == 4)
    let ended = try bench.contents("early")
    for resume in [" --resume", ""] {
      #expect(try bench.run("\(line) --max-steps 12 --lr 0 --patience 3 -o early\(resume)").status == 0)
      #expect(try bench.contents("early").keys.sorted() == ended.keys.sorted())
      #expect(try bench.bytes("early/checkpoint/state.safetensors") == ended["checkpoint/state.safetensors"])
    }
  }

  /// SIGTERM and SIGINT: status 128 + n, and no half-written file. The checkpoint stays.
  @Test(arguments: [SIGTERM, SIGINT]) func signalWhileTraining(_ signal: Int32) throws {
    let bench = try Workbench()
    try bench.prepare()
    let words = "init --model model --data rows.jsonl -o tuned --max-steps 1000000 --batch-size 3 --save-every 1".split(
      separator: " ")
    for delay: UInt32 in [1000, 23_000, 61_000] {
      let child = try Child("gora-train", words.map(String.init), in: bench.path)
      bench.wait(for: "tuned/checkpoint/state.safetensors")
      usleep(delay)
      child.send(signal)
      #expect(try child.wait().status == 128 + signal)
      #expect(bench.files(in: "tuned") == ["checkpoint/state.safetensors"])
      // The next one begins anew.
      try bench.remove("tuned")
    }
  }

  @Test func signalWhileWritingGradients() throws {
    let bench = try Workbench()
    let rows = try String(decoding: bench.bytes("rows.jsonl"), as: UTF8.self)
    try bench.write(String(repeating: rows, count: 1000), to: "many.jsonl")
    let child = try Child(
      "gora-grad", ["--model", "model", "--data", "many.jsonl", "--steps", "6000", "-o", "grad.h5"], in: bench.path)
    for _ in 0..<3000 where !bench.files().contains(where: { $0.hasSuffix(".tmp") }) { usleep(5000) }
    child.send(SIGTERM)
    #expect(try child.wait().status == 128 + SIGTERM)
    #expect(!bench.files().contains { $0.contains("grad.h5") })
  }
}

import Foundation
import Glibc
import GoraCore
import GoraFormats
import GoraStages
import GoraTraining
import Testing

/// `--lr auto` on the llama fixture, as processes.
@Suite(.serialized) struct RateFinderTests {
  static let training = " --model model --data rows.jsonl --max-steps 100 --batch-size 2 --threads 1"

  /// What was found, of the summary.
  static func found(_ outcome: Outcome) throws -> (lr: String, ratio: String?) {
    let summary = try JSONDocument(path: "summary", text: Array(outcome.output.utf8)).root
    return (
      "\(try summary.required("lr").double)", try summary.optional("lr_ratio")?.double.description
    )
  }

  /// The trials leave no trace: the run is that of the rate that was found, byte for byte, whatever learns.
  @Test(arguments: [
    "init --lr-ratio auto --rule lora-pro --lora-dropout 0.2 --max-grad-norm 0.5", "adalora --target-rank 2 --delta-t 3",
    "--method full --from-config model/config.json",
  ])
  func sameBytesAsTheGivenRate(method: String) throws {
    let bench = try Workbench()
    try bench.prepare()
    try bench.prepareAdaLoRA()
    let line = "gora-train \(method)\(Self.training) --no-provenance"
    let auto = try bench.run("\(line) --lr auto --json --log auto.jsonl -o auto")
    #expect(auto.status == 0, "\(auto.error)")
    let (lr, ratio) = try Self.found(auto)
    let given = line.replacing(" --lr-ratio auto", with: " --lr-ratio \(ratio ?? "1")")
    let plain = try bench.run("\(given) --lr \(lr) --log given.jsonl -o given")
    #expect(plain.status == 0, "\(plain.error)")
    // Checkpoints say which run they are of.
    func outputs(_ folder: String) throws -> [String: [UInt8]] {
      try bench.contents(folder).filter { !$0.key.hasPrefix("checkpoint/") }
    }
    let (first, second) = (try outputs("auto"), try outputs("given"))
    #expect(first.count > 1 && first.keys.sorted() == second.keys.sorted())
    for (name, bytes) in first { #expect(second[name] == bytes, "\(name)") }
    // Nor do they in the log, but for its first lines; what is told there is what was found.
    let lines = try String(decoding: bench.bytes("auto.jsonl"), as: UTF8.self).split(separator: "\n")
    let rest = lines.filter { !$0.contains("\"step\":0,") }
    #expect(rest == (try String(decoding: bench.bytes("given.jsonl"), as: UTF8.self).split(separator: "\n")))
    #expect(lines.count { $0.contains("\"trial\"") } == auto.error.split(separator: "\n").count { $0.contains(" trial: ") })
    let number = try JSONDocument(path: "rate", text: Array(lr.utf8)).root.value.compact()
    #expect(lines.contains { $0.contains("\"found\":{\"lr\":\(number)") })
    #expect(auto.error.contains("found --lr"))
    // The rate is worth having.
    let losses = try rest.compactMap { try JSONDocument(path: "log", text: Array($0.utf8)).root.optional("loss")?.double }
    #expect(try #require(losses.last) < #require(losses.first), "\(losses.first ?? 0) to \(losses.last ?? 0) at \(lr)")
  }

  /// Six rows at once, 60 times: of rates a factor of 2 apart, the one that is found ends lowest, and those far from it end far above.
  @Test func nearTheBestOfAGrid() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line =
      "gora-train init --model model --data rows.jsonl --max-steps 60 --batch-size 6 --threads 1 --no-provenance --json -q"
    func loss(_ outcome: Outcome) throws -> Double {
      try JSONDocument(path: "summary", text: Array(outcome.output.utf8)).root.required("validation_loss").double
    }
    let validated = "--validation rows.jsonl --validate-every 60"
    let auto = try bench.run("\(line) \(validated) --lr auto -o auto")
    #expect(auto.status == 0, "\(auto.error)")
    let lr = try #require(try Double(Self.found(auto).lr))
    var losses: [Double] = []
    for factor in [0.125, 0.5, 2, 8] {
      losses.append(try loss(bench.run("\(line) \(validated) --lr \(lr * factor) -o factor-\(factor)")))
    }
    let best = try loss(auto)
    #expect(losses.allSatisfy { $0 > best } && losses[0] > 1.2 * best && losses[3] > 1.2 * best, "\(lr): \(best), \(losses)")
  }

  /// Killed in the middle of the trials and after them, and resumed: adapter, checkpoint, record and log end in the bytes of an unbroken
  /// run, which are those of any other.
  @Test func killedAndResumed() throws {
    let bench = try Workbench()
    try bench.prepare()
    let training =
      "gora-train init\(Self.training) --lr auto --lr-ratio auto --validation rows.jsonl --save-every 1 --log metrics.jsonl -o tuned -q"
    let clock = ContinuousClock()
    let start = clock.now
    let unbroken = try bench.run(training)
    #expect(unbroken.status == 0 && unbroken.error.isEmpty, "\(unbroken.error)")
    let duration = (clock.now - start) / .microseconds(1)
    let expected = try bench.contents("tuned")
    let log = try bench.bytes("metrics.jsonl")
    let record = String(decoding: try #require(expected["adapter_model.safetensors"]), as: UTF8.self)
    #expect(record.contains("lr_search") && record.contains("4 rows of --validation"))
    try bench.remove("tuned")
    try bench.remove("metrics.jsonl")

    var random = Random(seed: 7, stream: "kill")
    var (killed, amidTrials) = (0, 0)
    let words = (training + " --resume").split(separator: " ").map(String.init)
    func kill(after wait: () -> Void) throws {
      let child = try Child(words[0], Array(words.dropFirst()), in: bench.path)
      wait()
      child.send(SIGKILL)
      if try child.wait().status == 128 + SIGKILL { killed += 1 }
      let state = try SafetensorsFile(path: bench.file("tuned/checkpoint/state.safetensors"))
      if state.metadata.contains(where: { $0.key == "step" && $0.value == "0" }) { amidTrials += 1 }
    }
    // The first trial leaves the first checkpoint.
    try kill { bench.wait(for: "tuned/checkpoint/state.safetensors") }
    for _ in 0..<2 { try kill { usleep(UInt32(duration * (0.1 + 0.7 * random.uniform()))) } }
    #expect(killed > 0 && amidTrials > 0)
    let resumed = try bench.run(training + " --resume")
    #expect(resumed.status == 0, "\(resumed.error)")
    let result = try bench.contents("tuned")
    #expect(result.keys.sorted() == expected.keys.sorted())
    for (name, bytes) in expected { #expect(result[name] == bytes, "\(name)") }
    #expect(try bench.bytes("metrics.jsonl") == log)

    // The log and the adapter tell of one search.
    let report = try bench.run("gora-report metrics.jsonl tuned --figure search --format text")
    #expect(report.status == 0 && report.output.contains("learning rate of A"), "\(report.error)")
    #expect(report.output.split(separator: "\n").count { $0.contains(", found ") } == 1, "\(report.output)")
  }

  /// Six rows one at a time, at a rate that only single steps bear: the loss leaves the range of numbers, and the run starts over at half
  /// the rate until it does not. It ends in the bytes of a run at the last rate, also where it was killed on the way; the log tells of it
  /// alone, and of those that were given up.
  @Test func startsOverAtHalfTheRate() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line =
      "gora-train init --model model --data rows.jsonl --max-steps 400 --batch-size 1 --schedule constant --seed 4 --threads 1 --no-provenance"
    let training = "\(line) --lr auto --lr-budget 0.02 --save-every 10 --log auto.jsonl -o auto"
    let auto = try bench.run("\(training) --json")
    #expect(auto.status == 0, "\(auto.error)")
    let failures = auto.error.split(separator: "\n").filter { $0.contains(": from the start again, with --lr ") }
    #expect(!failures.isEmpty, "\(auto.error)")
    let (lr, _) = try Self.found(auto)
    #expect(try bench.run("\(line) --lr \(lr) --log given.jsonl -o given -q").status == 0)
    func outputs(_ folder: String) throws -> [String: [UInt8]] {
      try bench.contents(folder).filter { !$0.key.hasPrefix("checkpoint/") }
    }
    let expected = try outputs("auto")
    #expect(try outputs("given") == expected)
    let log = try bench.bytes("auto.jsonl")
    let lines = String(decoding: log, as: UTF8.self).split(separator: "\n")
    let given = try String(decoding: bench.bytes("given.jsonl"), as: UTF8.self).split(separator: "\n")
    #expect(lines.filter { !$0.contains("\"step\":0,") } == given)
    let abandoned = lines.filter { $0.contains("\"loss\":null") && !$0.contains("\"steps\":1,") }
    #expect(abandoned.count == failures.count && lines.count { $0.contains("\"found\"") } == 1)

    try bench.remove("auto")
    let words = (training + " --resume -q").split(separator: " ").map(String.init)
    for delay in [300_000, 600_000] as [UInt32] {
      let child = try Child(words[0], Array(words.dropFirst()), in: bench.path)
      bench.wait(for: "auto/checkpoint/state.safetensors")
      usleep(delay)
      child.send(SIGKILL)
      _ = try child.wait()
    }
    #expect(try bench.run(training + " --resume -q").status == 0)
    #expect(try outputs("auto") == expected)
    #expect(try bench.bytes("auto.jsonl") == log)
  }

  /// One row forty times and then forty others of other tokens, in the order in which the run takes them: the loss rises at any rate. A
  /// rate that is given stays, with a warning; one that was found is halved, until that has no end.
  @Test func rises() throws {
    let bench = try Workbench()
    try bench.prepare()
    var random = Random(seed: 3, stream: "rows")
    let order = BatchOrder(rows: 80, batchSize: 1, shuffles: true, seed: 0, stream: "gora-train").epoch(0)
    var rows = [String](repeating: "", count: 80)
    for (place, row) in order.enumerated() {
      let ids = place < 40 ? Array(1...16) : (0..<16).map { _ in 20 + Int(random.nextUInt64() % 44) }
      rows[row] = "{\"input_ids\": \(ids), \"labels\": \(ids)}\n"
    }
    try bench.write(rows.joined(), to: "turning.jsonl")
    let line = "gora-train init --model model --data turning.jsonl --max-steps 80 --batch-size 1 --threads 1"
    let given = try bench.run("\(line) --lr 3e-3 -o given")
    #expect(given.status == 0)
    let warning = "warning: the loss rises again: "
    #expect(given.error.split(separator: "\n").count { $0.contains(warning) && $0.contains("the rate may be too high") } == 1)
    #expect(try !bench.run("\(line) --lr 3e-3 --no-shuffle -o given").error.contains(warning))
    let ratio = try bench.run("\(line) --lr 3e-3 --lr-ratio auto --lr-budget 0.9 -o given")
    #expect(ratio.status == 0 && ratio.error.contains(warning), "\(ratio.error)")
    let found = try bench.run("\(line) --lr auto -o found")
    CommandLineTests.expect(found, 1, "the loss rises again: ", "--lr")
    #expect(found.error.split(separator: "\n").count { $0.contains(": from the start again, with --lr ") } == 6)
    #expect(!bench.exists("found/adapter_model.safetensors"))
  }

  /// Stopped by the clock before the first trial, and continued.
  @Test func maxTime() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line = "gora-train init\(Self.training) --lr auto --no-provenance"
    #expect(try bench.run("\(line) -o whole").status == 0)
    #expect(try bench.run("\(line) -o tuned --max-time 1e-6").status == 75)
    CommandLineTests.expect(try bench.run("\(line) -o tuned"), 73, "a run stopped here after step 0 of 100", "--resume")
    CommandLineTests.expect(try bench.run("\(line) -o tuned --resume --lr-budget 0.2"), 65, "lr=auto within 0.15")
    #expect(try bench.run("\(line) -o tuned --resume").status == 0)
    #expect(try bench.contents("tuned") == bench.contents("whole"))
  }

  @Test func refusals() throws {
    let bench = try Workbench()
    try bench.prepare()
    let line = "gora-train init --model model --data rows.jsonl --batch-size 2 -o out"
    CommandLineTests.expect(try bench.run("\(line) --lr auto --max-steps 10"), 64, "10 steps are too few", "--lr-budget")
    CommandLineTests.expect(try bench.run("\(line) --lr-budget 0.1"), 64, "--lr auto")
    CommandLineTests.expect(try bench.run("\(line) --lr best"), 64, "or auto")
    CommandLineTests.expect(
      try bench.run("\(line) --lr-ratio auto --rule lora-fa --max-steps 100"), 64, "lora-fa", "--lr-ratio")
    let rows = try String(decoding: bench.bytes("rows.jsonl"), as: UTF8.self).split(separator: "\n").prefix(3)
    try bench.write(rows.joined(separator: "\n"), to: "three.jsonl")
    CommandLineTests.expect(
      try bench.run("\(line.replacing("rows", with: "three")) --lr auto --max-steps 100"), 64, "3 rows are too few",
      "--validation")
    #expect(!bench.exists("out/adapter_model.safetensors"))
  }
}

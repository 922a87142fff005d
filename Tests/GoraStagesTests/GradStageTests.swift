import Foundation
import GoraCore
import GoraFormats
import GoraMethods
import GoraTraining
import Testing

@testable import GoraStages

/// gora-grad's choices: where gradients lie, when it stops, whether the weights move.
@Suite(.serialized) struct GradStageTests {
  init() { ThreadPool.start(threads: 2) }

  static let base = "gora-grad --model model --data rows.jsonl --no-provenance"

  /// Neither the place of the sums nor recomputation changes a byte, and no scratch file is left.
  @Test func sameBytesWhereverTheSumsLie() throws {
    let bench = try Workbench()
    var files: [[UInt8]] = []
    let before = bench.files()
    for options in ["--spill never --recompute never", "--spill . --recompute never", "--recompute always", ""] {
      let outcome = try bench.run("\(Self.base) --steps 6 -o out.h5 \(options)")
      #expect(outcome.status == 0, "\(outcome.error)")
      files.append(try bench.bytes("out.h5"))
      try bench.remove("out.h5")
      #expect(bench.files() == before)
    }
    #expect(files.dropFirst().allSatisfy { $0 == files[0] })
  }

  @Test func usage() throws {
    let bench = try Workbench()
    let before = bench.files()
    for options in [
      "--tolerance 0.1", "--patience 1", "--min-steps 2", "--stability-preset paper", "--until-stable --tolerance 0",
      "--until-stable --tolerance nan", "--until-stable --patience 0", "--until-stable --min-steps 9", "--explore-lr 1e-4",
      "--explore sgd --explore-lr 0", "--explore sgd --explore-lr inf", "--track 0", "--explore adam", "--recompute sometimes",
    ] {
      let outcome = try bench.run("\(Self.base) --steps 6 -o out.h5 \(options)")
      CommandLineTests.expect(outcome, 64, "gora-grad: error: ")
    }
    CommandLineTests.expect(try bench.run("\(Self.base) -o out.h5 --steps 6 --spill nowhere"), 73, "nowhere")
    CommandLineTests.expect(
      try bench.run("\(Self.base) -o out.h5 --steps 6 --spill .", shell: "ulimit -f 1; exec \"$@\""), 74, "error: ")
    #expect(bench.files() == before)
  }

  /// Stopped after n steps, the file holds what a run of n steps holds: the mean is over the steps that were made.
  @Test func stoppedRunIsARunOfSoManySteps() throws {
    let bench = try Workbench()
    let stopped = try bench.run(
      "\(Self.base) --no-shuffle --steps 6 --until-stable --tolerance 1e9 --patience 1 --min-steps 4 -o stopped.h5 --json")
    #expect(stopped.status == 0, "\(stopped.error)")
    #expect(stopped.error.contains("4 batches, then stable"))
    #expect(stopped.output.contains("\"steps\":4,\"stable\":true"))
    let short = try bench.run("\(Self.base) --no-shuffle --steps 4 -o short.h5")
    #expect(short.status == 0 && !short.error.contains("stable"))
    let (a, b) = (try GradientFileReader(path: bench.file("stopped.h5")), try GradientFileReader(path: bench.file("short.h5")))
    #expect(a.names == b.names && a.names.count == 8)
    for name in a.names { #expect(try a.read(name) == b.read(name), "\(name)") }
    let steps = try a.steps()
    #expect(try steps == b.steps())
    #expect(steps.loss.count == 4)
    #expect(try a.attribute("until_stable") == "tolerance 1000000000.0, patience 1, min_steps 4")
    #expect(try b.attribute("until_stable") == nil)
    // Changes are those of the importances beside them.
    #expect(steps.changeMax[0] == 1 && steps.changeMean[0] == 1)
    for t in 1..<4 {
      let changes = steps.importance.map { abs($0.values[t] - $0.values[t - 1]) / $0.values[t - 1] }
      #expect(abs(try #require(changes.max()) - steps.changeMax[t]) < 1e-12)
      #expect(abs(changes.reduce(0, +) / Double(changes.count) - steps.changeMean[t]) < 1e-12)
    }
    // Importances that go on moving: all steps, and no claim.
    let moving = try bench.run("\(Self.base) --steps 6 --until-stable --tolerance 1e-9 -o moving.h5")
    #expect(moving.status == 0 && moving.error.contains("6 batches (") && !moving.error.contains("stable"))
  }

  /// Exploration and tracking leave their records, and the model's file as it was.
  @Test func explorationAndTrack() throws {
    let bench = try Workbench()
    let model = try bench.contents("model")
    let options = "--no-shuffle --steps 6 --explore adalomo --explore-lr 1e-2"
    let outcome = try bench.run("\(Self.base) \(options) --track 2 -o explored.h5")
    #expect(outcome.status == 0, "\(outcome.error)")
    #expect(try bench.run("\(Self.base) --no-shuffle --steps 6 -o plain.h5").status == 0)
    #expect(try bench.contents("model") == model)
    let explored = try GradientFileReader(path: bench.file("explored.h5"))
    let plain = try GradientFileReader(path: bench.file("plain.h5"))
    #expect(try explored.attribute("explore") == "adalomo")
    #expect(try explored.attribute("explore_lr") == "0.01")
    #expect(try explored.attribute("track") == "2")
    #expect(try plain.attribute("explore") == nil && plain.track() == nil)
    let track = try #require(try explored.track())
    #expect(track.steps == [2, 4, 6] && track.importance.map(\.name) == explored.names)
    #expect(track.importance.allSatisfy { $0.values.allSatisfy { $0 > 0 } })
    // The first step is taken at the same weights; the others are not.
    let (a, b) = (try explored.steps().loss, try plain.steps().loss)
    #expect(a[0] == b[0] && zip(a, b).dropFirst().allSatisfy { $0 != $1 })
    // gora-init takes the file like any other.
    #expect(try bench.run("gora-score --model model explored.h5 -o scores.json -q").status == 0)
  }

  /// What does not fit goes to a file first; recomputation comes only where that is not enough.
  @Test func choicesThatMemoryForces() throws {
    let bench = try Workbench()
    let loaded = try LoadedModel(path: bench.file("model"), precision: .f32)
    func settled(
      tokens: Int, gradients: Int, spills: Bool? = nil, recompute: RecomputeChoice = .auto
    ) -> (spills: Bool, recomputes: Bool) {
      var estimate = RunEstimate(
        loaded,
        RunEstimate.Demand(
          tokens: tokens, labelled: 1, allTokens: tokens, distinctTokens: 1, lowestLayer: 0, learnt: 1, gradients: gradients))
      estimate.settle(spills: spills, recompute: recompute)
      return (estimate.spills, estimate.recomputes)
    }
    // 2⁵⁰ of anything fits no machine.
    #expect(settled(tokens: 8, gradients: 8) == (false, false))
    #expect(settled(tokens: 8, gradients: 1 << 48) == (true, false))
    #expect(settled(tokens: 1 << 40, gradients: 8) == (true, true))
    #expect(settled(tokens: 1 << 40, gradients: 8, recompute: .never) == (true, false))
    #expect(settled(tokens: 8, gradients: 1 << 48, spills: false) == (false, true))
    #expect(settled(tokens: 8, gradients: 8, spills: true, recompute: .always) == (true, true))
  }

  @Test func estimateOfMemory() throws {
    let bench = try Workbench()
    let rows = try String(decoding: bench.bytes("rows.jsonl"), as: UTF8.self)
    try bench.write(String(repeating: rows, count: 200), to: "many.jsonl")
    let small = try bench.run("gora-grad --model model --data rows.jsonl --steps 6 -v -o out.h5").expectEstimatedMemory()
    let large = "gora-grad --model model --data many.jsonl --steps 1 --batch-size 1200 --micro-batch-tokens 100000 -v -o out.h5"
    for options in ["", " --dtype bf16", " --recompute always --targets all-linear"] {
      let run = try bench.run(large + options).expectEstimatedMemory()
      // What the process itself takes is gone from the differences, which are activations: 70 to 100 MiB.
      let (expected, found) = (run.expected - small.expected, run.found - small.found)
      #expect(found > 50 && abs(expected - found) < 0.07 * found, "\(options): \(expected) MiB, \(found) MiB")
    }
    try bench.run("gora-eval --model model --data many.jsonl --task loss -v -o out.json").expectEstimatedMemory()
  }
}

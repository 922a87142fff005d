import Foundation
import GoraCore
import Testing

/// The same bytes from other processes: for any number of threads, and whatever a process's hash seed is.
@Suite(.serialized) struct DeterminismTests {
  /// A model whose products are large enough to be shared out among threads, and its gradients and plan.
  static func bench() throws -> Workbench {
    let bench = try Workbench()
    var config = String(decoding: try bench.bytes("model/config.json"), as: UTF8.self)
    for (key, value) in [("hidden_size", 256), ("intermediate_size", 640), ("num_hidden_layers", 1)] {
      config = config.replacing(try Regex("\"\(key)\": [0-9]+"), with: "\"\(key)\": \(value)")
    }
    try bench.write(config, to: "large.json")
    for line in [
      "gora-train --method full --model model --from-config large.json --data rows.jsonl -o large --max-steps 1 -q",
      "gora-grad --model large --data rows.jsonl --steps 2 --targets all-linear -o grad.h5 -q -t 1",
      "gora-score --model large grad.h5 -o scores.json -q", "gora-plan scores.json --rank 8 -o plan.json -q",
    ] {
      let outcome = try bench.run(line)
      guard outcome.status == 0 else { throw GoraError(.internal, "\(line): \(outcome.status) \(outcome.error)") }
    }
    return bench
  }

  @Test func startsAndExportsForAnyThreadCount() throws {
    let bench = try Self.bench()
    for method in [
      "--a kaiming", "--a gradient-svd", "--a weight-svd", "--method gora-svd", "--method pissa", "--method lora-ga",
    ] {
      func contents(_ command: String, _ threads: Int) throws -> [String: [UInt8]] {
        let outcome = try bench.run("\(command) -o out -q --no-provenance -t \(threads)")
        #expect(outcome.status == 0, "\(outcome.error)")
        let contents = try bench.contents("out")
        try bench.remove("out")
        return contents
      }
      let gradients = method == "--method pissa" ? "" : "--gradients grad.h5"
      let start = "gora-init plan.json --model large \(gradients) \(method)"
      let one = try contents(start, 1)
      #expect(one.count == 3)
      for threads in [3, 8] { #expect(try contents(start, threads) == one, "\(method), \(threads) threads") }
      // A merge does not ask how the adapter began, but for what has to be taken out of the weights.
      guard ["--a kaiming", "--method pissa"].contains(method) else { continue }
      try #require(try bench.run("\(start) -o init -q -t 2").status == 0)
      let merge = "gora-export init --model large --profile merged"
      let merged = try contents(merge, 1)
      for threads in [3, 8] { #expect(try contents(merge, threads) == merged, "\(method) merged, \(threads) threads") }
      try bench.remove("init")
    }
  }

  @Test func anyProcess() throws {
    let bench = try Workbench()
    try bench.prepare()
    for command in [
      "gora-report plan.json grad.h5 scores.json init -o out", "gora-init plan.json --model model --gradients grad.h5 -o out",
      "gora-export init --model model --profile compact -o out", "gora-export init --model model --profile merged -o out",
      "gora-score --model model grad.h5 -o out", "gora-plan scores.json --rank 4 --budget exact -o out",
    ] {
      func contents() throws -> [String: [UInt8]] {
        let outcome = try bench.run("\(command) -q")
        #expect(outcome.status == 0, "\(outcome.error)")
        let files = bench.files(in: "out")
        let contents = files.isEmpty ? ["": try bench.bytes("out")] : try bench.contents("out")
        try bench.remove("out")
        return contents
      }
      let first = try contents()
      // Each process has a hash seed of its own: an order that hangs on it would not hold five times.
      for _ in 0..<4 { #expect(try contents() == first, "\(command)") }
    }
  }
}

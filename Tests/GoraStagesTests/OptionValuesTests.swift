import Foundation
import GoraCore
import Testing

/// Every option of every tool, as the tool itself lists them: no value is passed over, none ends in a trap or never.
@Suite(.serialized) struct OptionValuesTests {
  struct Option {
    var tool: String
    var name: String
    /// Names of places for numbers are short: n, x, minutes.
    var isNumber: Bool
  }

  /// Command lines in which most options are looked at; `%` stands for the output.
  static let commands = [
    "gora-grad": "gora-grad --model model --data rows.jsonl --steps 2 --until-stable --explore sgd -o %",
    "gora-score": "gora-score --model model grad.h5 --metric sensitivity-nuclear-estimate --normalise softmax -o %",
    "gora-plan": "gora-plan scores.json --rank 4 -o %",
    "gora-init": "gora-init plan.json --model model --gradients grad.h5 --gamma auto --data rows.jsonl -o %",
    "gora-train": "gora-train init --model model --data rows.jsonl --max-steps 2 --batch-size 3 --validation rows.jsonl -o %",
    "gora-eval": "gora-eval --model model --task loss --data rows.jsonl -o %",
    "gora-export": "gora-export init --model model -o %",
    "gora-report": "gora-report plan.json grad.h5 -o %",
  ]

  /// The options that take a value.
  static func options(of tool: String) throws -> [Option] {
    let outcome = try Child.run(tool, ["--experimental-dump-help"], in: "/")
    let dump = try #require(try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any])
    let command = try #require(dump["command"] as? [String: Any])
    let arguments = try #require(command["arguments"] as? [[String: Any]])
    return try arguments.filter { $0["kind"] as? String == "option" }.map { argument in
      let names = try #require(argument["names"] as? [[String: Any]])
      let long = try #require(names.first { $0["kind"] as? String == "long" }?["name"] as? String)
      let place = argument["valueName"] as? String ?? ""
      return Option(tool: tool, name: "--\(long)", isNumber: place.count == 1 || place == "minutes")
    }
  }

  /// What no option for a number takes. Each option is given two of them, since one parser reads them all.
  static let impossible = ["", "nan", "-inf", "-1", "1e308", "1e-320", "one"]
  static let odd = ["0", "9223372036854775807"]

  @Test(arguments: CommandLineTests.tools) func numbers(_ tool: String) throws {
    let bench = try Workbench()
    try bench.prepare()
    let command = try #require(Self.commands[tool])
    let before = bench.files()
    let options = try Self.options(of: tool)
    #expect(options.contains { $0.isNumber } && options.contains { !$0.isNumber })
    for (place, option) in options.enumerated() where option.isNumber {
      for value in [Self.impossible[place % Self.impossible.count], Self.impossible[(place + 3) % Self.impossible.count]] {
        let outcome = try Self.run(bench, command, option, value)
        CommandLineTests.expect(outcome, 64, "\(tool): error: ", option.name)
        #expect(bench.files() == before, "\(option.name) \(value)")
      }
      for value in Self.odd { try Self.expectEnd(bench, command, option, value) }
    }
  }

  /// What is no number may be anything, so it may only not end badly.
  @Test(arguments: CommandLineTests.tools) func texts(_ tool: String) throws {
    let bench = try Workbench()
    try bench.prepare()
    let command = try #require(Self.commands[tool])
    for (place, option) in try Self.options(of: tool).enumerated() where !option.isNumber {
      try Self.expectEnd(bench, command, option, place % 2 == 0 ? "" : "nan")
    }
  }

  private static func run(_ bench: Workbench, _ command: String, _ option: Option, _ value: String) throws -> Outcome {
    var words = CommandLineTests.command(command, "out").split(separator: " ").map(String.init)
    if let given = words.firstIndex(of: option.name), words.count > given + 1 { words.removeSubrange(given...given + 1) }
    return try Child.run(
      option.tool, Array(words.dropFirst()) + ["\(option.name)=\(value)"], in: bench.path, shell: "exec timeout 60 \"$@\"")
  }

  /// Ends with a status of the table, and says why where that is not 0.
  private static func expectEnd(_ bench: Workbench, _ command: String, _ option: Option, _ value: String) throws {
    let outcome = try run(bench, command, option, value)
    #expect([0, 1, 64, 65, 66, 73, 75].contains(outcome.status), "\(option.name)=\(value): \(outcome.status) \(outcome.error)")
    #expect(outcome.status == 0 || outcome.error.contains("\(option.tool): error: "), "\(option.name)=\(value)")
    for name in ["out", "nan"] where bench.exists(name) { try bench.remove(name) }
  }

  /// Options that the rest of the command line leaves without a meaning, by what they go with.
  @Test(arguments: [
    (
      "gora-grad --model model --data rows.jsonl --steps 2 -o out",
      [
        "--tolerance 0.1", "--patience 1", "--min-steps 2", "--stability-preset paper", "--explore-lr 1e-4",
      ]
    ),
    ("gora-score --model model grad.h5 -o out", ["--temperature 0.5", "--svd-rank 32"]),
    (
      "gora-plan --uniform --model model -o out",
      [
        "--min-rank 1", "--max-rank 32", "--preset paper", "--budget open", "--budget-feature sqrt", "--budget-rounding none",
        "--rank-rounding nearest",
      ]
    ),
    ("gora-plan scores.json -o out", ["--model model", "--targets q_proj"]),
    ("gora-plan scores.json --compare scores.json", ["--rank 8", "--alpha 16", "--budget open", "--uniform"]),
    (
      "gora-init plan.json --model model --gradients grad.h5 -o out",
      [
        "--data rows.jsonl", "--gamma-batches 1", "--batch-size 64", "--dtype f32", "--template plain", "--max-length 512",
        "--skip-bad-rows", "--no-shuffle", "--stable-gamma 16",
      ]
    ),
    ("gora-init plan.json --model model --method lora -o out", ["--gradients grad.h5", "--gamma 0.05", "--exact-norm"]),
    ("gora-init plan.json --model model --method pissa -o out", ["--a kaiming"]),
    (
      "gora-train init --model model --data rows.jsonl -o out",
      [
        "--validate-every 1", "--targets q_proj", "--from-config model/config.json", "--max-steps 2 --epochs 1",
        "--schedule constant --lr-floor 0.1", "--lr-budget 0.2",
      ]
    ),
    ("gora-train --method full --model model --data rows.jsonl -o out", ["--lr-ratio 16", "--quantize nf4"]),
    (
      "gora-train --method full --from-config model/config.json --model model --data rows.jsonl -o out",
      [
        "--targets q_proj", "--dtype f32",
      ]
    ),
    (
      "gora-eval --model model --task loss --data rows.jsonl -o out",
      [
        "--samples samples", "--max-new-tokens 256", "--batch-size 16", "--temperature 0", "--top-p 1", "--stop x",
        "--extractor gora", "--require accuracy>=0.5", "--require loss>=nan",
      ]
    ),
    ("gora-eval --model model --task gsm8k --data rows.jsonl -o out", ["--max-length 512", "--top-p 0.9", "--require loss<=1"]),
    ("gora-problems --count 1 -o out", ["--vocab 512", "--kind arithmetic --forms 2", "--tokenizer --kind problems"]),
  ])
  func idleOptions(_ command: String, _ options: [String]) throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    for option in options {
      let outcome = try bench.run("\(command) \(option)")
      CommandLineTests.expect(
        outcome, 64, "error: ", option.split(separator: " ").first { $0.hasPrefix("--") }.map(String.init) ?? "")
      #expect(bench.files() == before, "\(command) \(option)")
    }
  }
}

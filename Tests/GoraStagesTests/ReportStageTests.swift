import Foundation
import GoraCore
import GoraReport
import GoraStages
import Testing

/// gora-report on files: what it takes for what, and what it leaves out.
@Suite struct ReportStageTests {
  private final class Events: @unchecked Sendable {
    var warnings: [String] = []
    var notes: [String] = []
  }

  private static func run(
    _ inputs: [String], figure: FigureName? = nil, baseline: String? = nil, _ format: ReportStage.Format = .text,
    output: String? = nil
  ) throws -> (text: String, line: String, events: Events) {
    let events = Events()
    let stage = ReportStage(
      try ReportStage.Configuration(
        inputs: inputs, figure: figure, baseline: baseline, format: format, textStyle: TextStyle(unicode: false, color: false),
        output: OutputTarget(option: output), dryRun: false))
    let summary = try stage.run { event in
      switch event {
      case .warning(let text): events.warnings.append(text)
      case .note(let text): events.notes.append(text)
      case .progress, .information: break
      }
    }
    return (summary.output ?? "", summary.line, events)
  }

  private static func plan(rank: Int, tool: String = "gora-plan") -> String {
    """
    {"format": "gora-plan", "format_version": 1, "reference_rank": 4, "min_rank": 1, "max_rank": 64, "alpha": 16,
     "scaling": "rslora", "modules": [{"name": "model.layers.0.q_proj", "shape": [64, 64], "rank": \(rank)}],
     "provenance": [{"tool": "gora-grad"}, {"tool": "\(tool)"}]}
    """
  }

  private static func result(_ accuracy: Double) -> String {
    """
    {"format": "gora-result", "format_version": 1, "task": "gsm8k", "rows": 10, "accuracy": \(accuracy), "interval": [0.1, 0.9],
     "provenance": [{"tool": "gora-grad"}, {"tool": "gora-eval"}]}
    """
  }

  /// An adapter of one module, with what gora-init says of its start.
  private static func adapter(in bench: Workbench, _ folder: String, start: String) throws {
    try FileManager.default.createDirectory(atPath: bench.file(folder), withIntermediateDirectories: true)
    try bench.write("{\"peft_type\": \"LORA\"}", to: "\(folder)/adapter_config.json")
    let name = "base_model.model.model.layers.0.q_proj.lora_"
    let header: [String: Any] = [
      "__metadata__": ["gora_start": start],
      "\(name)A.weight": ["dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]],
      "\(name)B.weight": ["dtype": "F32", "shape": [3, 2], "data_offsets": [32, 56]],
    ]
    let json = [UInt8](try JSONSerialization.data(withJSONObject: header))
    let length = (0..<8).map { UInt8(truncatingIfNeeded: json.count >> (8 * $0)) }
    try bench.write(length + json + [UInt8](repeating: 0, count: 56), to: "\(folder)/adapter_model.safetensors")
  }

  private static func folders(_ bench: Workbench, _ names: String...) throws {
    for name in names {
      try FileManager.default.createDirectory(atPath: bench.file(name), withIntermediateDirectories: true)
    }
  }

  @Test func findsWhatTheStagesWrote() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r/seed-0/gora", "r/seed-1/gora", "r/seed-0/lora")
    try bench.write(Self.plan(rank: 37), to: "r/seed-0/gora/any name")
    try bench.write(Self.plan(rank: 41), to: "r/seed-1/gora/plan.json")
    try bench.write(Self.result(0.5), to: "r/seed-0/gora/result.json")
    try bench.write(Self.result(0.7), to: "r/seed-1/gora/result.json")
    try bench.write(
      "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"validation_loss\":2.25}\n{\"step\":3,\"lo", to: "r/seed-0/lora/metrics.jsonl")
    try bench.write("{\"question\": \"a\"}\n{\"question\": \"b\"}\n", to: "r/rows.jsonl")
    try bench.write("", to: "r/empty")
    try bench.write(".", to: "r/.hidden")
    try Self.adapter(
      in: bench, "r/seed-0/gora/init",
      start: "{\"by_module\": {\"model.layers.0.q_proj\": {\"captured\": 0.125, \"cosine\": 0.5, \"norm_ratio\": 1}}}")
    let (text, line, events) = try Self.run([bench.file("r")])
    // Two plans, two results, metrics, an adapter; rows.jsonl and the empty file are no figures'.
    #expect(line.hasPrefix("6 files, 2 others left out, figures: results, loss, ranks, init, budget"))
    #expect(events.warnings.isEmpty && events.notes.count == 2)
    // (0.5 + 0.7)/2, and the sample deviation 0.2/√2.
    #expect(text.contains("60.00 +- 14.14"))
    #expect(text.contains("37") && text.contains("41") && text.contains("0.125"))
  }

  /// What two commands measured of one run is one row, and their times add up.
  @Test func answersAndLossOfOneRun() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r/seed-0/gora", "r/seed-0/lora")
    for (run, loss) in [("gora", 1.25), ("lora", 1.5)] {
      try bench.write(Self.result(0.5), to: "r/seed-0/\(run)/result.json")
      try bench.write(
        Self.result(0.5).replacingOccurrences(of: "\"accuracy\": 0.5, \"interval\": [0.1, 0.9]", with: "\"loss\": \(loss)"),
        to: "r/seed-0/\(run)/loss.json")
      try bench.write("5\n", to: "r/seed-0/\(run)/result.json.seconds")
      try bench.write("2\n", to: "r/seed-0/\(run)/loss.json.seconds")
    }
    func lines(_ figure: FigureName) throws -> [[String]] {
      try Self.run([bench.file("r")], figure: figure).text.split(separator: "\n").map {
        $0.split(separator: " ").map(String.init)
      }
    }
    let results = try lines(.results)
    #expect(results.contains(["gora", "1", "50.00", "10.0", "-", "90.0", "1.2500"]), "\(results)")
    #expect(results.contains(["lora", "1", "50.00", "10.0", "-", "90.0", "1.5000"]), "\(results)")
    #expect(try lines(.cost).contains { $0.first == "gora" && $0.suffix(2) == ["7.0", "s"] })
  }

  /// Results below folders like `lr-1e-3` are of rates that were tried: those of test.json and answers.json are told of, others choose.
  @Test func ratesThatWereTried() throws {
    let bench = try Workbench()
    let loss = { (loss: Double) in
      "{\"format\": \"gora-result\", \"format_version\": 1, \"task\": \"loss\", \"rows\": 9, \"loss\": \(loss)}"
    }
    for (run, validation, test) in [
      ("seed-0/lora/lr-1e-3", 2.0, 2.5), ("seed-0/lora/lr-1e-2", 1.5, 1.75), ("seed-1/lora/lr-1e-3", 2.0, 2.5),
      ("seed-1/lora/lr-1e-2", 1.5, 1.75), ("seed-0/gora/lr-1e-3", 1.0, 1.5), ("seed-1/gora/lr-1e-3", 1.0, 1.25),
    ] {
      try Self.folders(bench, "r/\(run)")
      try bench.write(loss(validation), to: "r/\(run)/validation.json")
      try bench.write(loss(test), to: "r/\(run)/test.json")
    }
    try bench.write(Self.result(0.75), to: "r/seed-0/gora/lr-1e-3/answers.json")
    // What was not finite is left out, and said to be.
    try Self.folders(bench, "r/seed-0/gora/lr-1e-2")
    try bench.write(
      "{\"format\": \"gora-result\", \"format_version\": 1, \"task\": \"loss\", \"rows\": 0, \"finite\": false}",
      to: "r/seed-0/gora/lr-1e-2/validation.json")
    try bench.write(loss(7), to: "r/base.json")
    let text = try Self.run([bench.file("r")], figure: .rates, baseline: "lora").text
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(
      lines.contains(["gora", "2", "0.001", "1.0000", "+-", "0.0000", "1.0000", "-", "1.0000", "1.3750", "+-", "0.1768"]),
      "\(text)")
    #expect(
      lines.contains(["lora", "2", ">", "0.01", "1.5000", "+-", "0.0000", "1.5000", "-", "1.5000", "1.7500", "+-", "0.0000"]))
    // −0.25 and −0.5: mean −0.375, deviation 0.25/√2.
    #expect(lines.contains(["gora", "75.00", "-0.3750", "+-", "0.1768", "-2.1", "0.01"]), "\(text)")
    // The results are those of rates, and the base.
    #expect(try !Self.run([bench.file("r")], figure: .results).text.contains("validation"))
    // From inside a run it has a name all the same.
    let inside = try Self.run([bench.file("r/seed-0/lora")], figure: .rates).text.split(separator: "\n")
    #expect(inside.contains { $0.split(separator: " ").prefix(4) == ["lora", "1", ">", "0.01"] }, "\(inside)")
    let error = #expect(throws: GoraError.self) { try Self.run([bench.file("r")], figure: .rates, baseline: "dora") }
    #expect(error?.status == .usage && error?.hint == "there are: gora, lora")
  }

  /// The gradient of a seed is made once, and counts for the run that came through it, not for plain LoRA.
  @Test func costsOfWhatRunsShare() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r/seed-0/gora", "r/seed-0/lora")
    try bench.write(Self.result(0.5), to: "r/seed-0/gora/result.json")
    try bench.write(
      Self.result(0.5).replacingOccurrences(of: "{\"tool\": \"gora-grad\"}, ", with: ""), to: "r/seed-0/lora/result.json")
    try bench.write("8\n", to: "r/seed-0/grad.h5.seconds")
    try bench.write("2\n", to: "r/seed-0/gora/result.json.seconds")
    try bench.write("3\n", to: "r/seed-0/lora/result.json.seconds")
    try bench.write("104857600\n", to: "r/seed-0/lora/result.json.peak")
    let text = try Self.run([bench.file("r")], figure: .cost).text
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(lines.contains { $0.first == "gora" && $0.suffix(2) == ["10.0", "s"] }, "\(text)")
    #expect(lines.contains { $0.first == "lora" && $0.suffix(2) == ["3.0", "s"] }, "\(text)")
    #expect(text.contains("100 MiB, gora-eval"))
  }

  @Test func ownOutputIsNoInput() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r")
    try bench.write(Self.plan(rank: 4), to: "r/plan.json")
    let output = bench.file("r/report.html")
    _ = try Self.run([bench.file("r")], .html, output: output)
    let first = try bench.bytes("r/report.html")
    let again = try Self.run([bench.file("r")], .html, output: output)
    #expect(try bench.bytes("r/report.html") == first && first.count > 1000)
    #expect(again.events.notes.isEmpty)
  }

  @Test func brokenFiles() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r")
    try bench.write(Self.plan(rank: 4), to: "r/plan.json")
    try bench.write(Self.plan(rank: 1000), to: "r/wrong.json")
    try bench.write([0x89, 0x48, 0x44, 0x46, 0x0D, 0x0A, 0x1A, 0x0A, 0], to: "r/grad.h5")
    let found = try Self.run([bench.file("r")])
    #expect(found.events.warnings.count == 2 && found.events.warnings.allSatisfy { $0.hasPrefix("left out: ") })
    for name in ["wrong.json", "grad.h5"] {
      #expect { try Self.run([bench.file("r/\(name)")]) } throws: { ($0 as? GoraError)?.status == .data }
    }
    let named = try Self.run([bench.file("r/plan.json"), bench.file("rows.jsonl")])
    #expect(named.events.warnings.count == 1)
    #expect { try Self.run([bench.file("rows.jsonl")]) } throws: { ($0 as? GoraError)?.status == .data }
    #expect { try Self.run([bench.file("missing")]) } throws: { ($0 as? GoraError)?.status == .noInput }
    #expect { try Self.run([bench.file("r/plan.json")], figure: .loss) } throws: { ($0 as? GoraError)?.status == .data }
    #expect { try Self.run([bench.file("r/plan.json")], .svg) } throws: { ($0 as? GoraError)?.status == .usage }
    #expect {
      try Self.run([bench.file("r/plan.json")], figure: .ranks, .svg, output: bench.file("r/plan.json"))
    } throws: { ($0 as? GoraError)?.status == .usage }
  }

  /// A loop of links ends, and what is linked is not read twice.
  @Test func linksInFolders() throws {
    let bench = try Workbench()
    try Self.folders(bench, "r/a")
    try bench.write(Self.plan(rank: 4), to: "r/a/plan.json")
    try FileManager.default.createSymbolicLink(atPath: bench.file("r/a/up"), withDestinationPath: "..")
    #expect(try Self.run([bench.file("r"), bench.file("r/a/plan.json")]).line.hasPrefix("1 file, figures"))
  }
}

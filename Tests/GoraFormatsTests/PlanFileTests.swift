import Foundation
import GoraCore
import GoraFormats
import Testing

/// The examples of the contract.
private let scores = """
  {"format": "gora-scores", "format_version": 1, "metric": "sensitivity",
   "modules": [{"name": "model.layers.0.self_attn.q_proj", "shape": [4096, 4096], "importance": 1.2e-7, "advantage": 0.0043}], "provenance": []}
  """
private let plan = """
  {"format": "gora-plan", "format_version": 1, "reference_rank": 8, "min_rank": 4, "max_rank": 32, "alpha": 16, "scaling": "rslora",
   "parameters": 6998016, "lora_parameters": 6815744,
   "modules": [{"name": "model.layers.0.self_attn.q_proj", "shape": [4096, 4096], "rank": 4, "importance": 1.2e-7}], "provenance": []}
  """

private func scoreTable(_ text: String) throws(GoraError) -> ScoreTable {
  try ScoreTable(reading: JSONDocument(path: "scores.json", text: Array(text.utf8)).root)
}

private func rankPlan(_ text: String) throws(GoraError) -> RankPlan {
  try RankPlan(reading: JSONDocument(path: "plan.json", text: Array(text.utf8)).root)
}

/// `text` with `old`, which occurs once, replaced.
private func edited(_ text: String, _ old: String, _ new: String) -> String {
  let parts = text.split(separator: old, omittingEmptySubsequences: false)
  precondition(parts.count == 2, "\(old) occurs \(parts.count - 1) times")
  return parts.joined(separator: new)
}

/// Line and column where `place` last stands in `text`.
private func location(of place: String, in text: String, _ path: String) -> Location? {
  let lines = text.components(separatedBy: "\n")
  guard let line = lines.lastIndex(where: { $0.contains(place) }),
    let range = lines[line].range(of: place, options: .backwards)
  else { return nil }
  return .text(path, line: line + 1, column: lines[line][..<range.lowerBound].utf8.count + 1)
}

@Suite struct PlanFileTests {
  @Test func readsAndWritesScores() throws {
    var table = try scoreTable(scores)
    let module = try #require(table.modules.first)
    #expect(table.metric == "sensitivity" && table.model == nil && table.modules.count == 1)
    #expect(module.name == "model.layers.0.self_attn.q_proj" && module.shape == [4096, 4096])
    #expect(module.importance == 1.2e-7 && module.advantage == 0.0043)
    #expect(table.normalisation == "sum" && table.temperature == nil && !table.takesSquareRoot && table.svdRank == nil)
    table.normalisation = "softmax"
    table.temperature = 0.25
    table.takesSquareRoot = true
    table.svdRank = 32
    table.modules[0].parts = [1.5, 2e-9]
    table.model = "abc"
    table.provenance = try Provenance().appending(tool: "gora-score", version: "1", arguments: ["x"], inputs: ["-"])
    let text = table.json.pretty()
    #expect(try scoreTable(text) == table)
    #expect(text.hasPrefix("{\n  \"format\": \"gora-scores\",\n  \"format_version\": 1,\n"))
  }

  @Test func readsAndWritesPlans() throws {
    var read = try rankPlan(plan)
    #expect(read.referenceRank == 8 && read.minRank == 4 && read.maxRank == 32 && read.alpha == 16)
    #expect(read.scaling == .rslora && read.modules.map(\.rank) == [4] && read.modules[0].importance == 1.2e-7)
    // The totals in the text are of another model: 4·8192 and 8·8192 are those of this one module.
    #expect(read.parameters == 32768 && read.loraParameters == 65536)
    read.modules.append(RankPlan.Module(name: "b", shape: [2, 3], rank: 0))
    read.model = "abc"
    read.alpha = 0.5
    let text = read.json.pretty()
    #expect(try rankPlan(text) == read)
    #expect(text.hasPrefix("{\n  \"format\": \"gora-plan\",\n  \"format_version\": 1,\n"))
    #expect(text.contains("\"parameters\": 32768"))
  }

  @Test(
    arguments: [
      ("\"gora-scores\"", "\"gora-plan\"", "format is \"gora-plan\"", "\"gora-plan\""),
      ("\"format_version\": 1", "\"format_version\": 2", "format_version is 2", "2,"),
      ("\"metric\"", "\"metrik\"", "unknown key \"metrik\"", "\"metrik\""),
      ("1.2e-7", "1.2e777", "out of range", "1.2e777"),
      ("1.2e-7", "\"a\"", "must be a number", "\"a\""),
      ("\"advantage\"", "\"gain\"", "unknown key \"gain\"", "\"gain\""),
      ("0.0043", "-0.0043", "the advantage of \"model.layers.0.self_attn.q_proj\" is -0.0043", "-0.0043"),
      ("0.0043", "0.0043, \"parts\": [1, \"a\"]", "must be a number", "\"a\""),
      ("0.0043", "0.0043, \"explained_variance\": [0.5, 1.5]", "expected a share from 0 to 1", "1.5"),
      ("0.0043", "0.0043, \"erank\": \"all\"", "must be a number", "\"all\""),
      ("\"metric\"", "\"temperature\": true, \"metric\"", "must be a number", "true"),
      ("[4096, 4096]", "[4096]", "shape is [4096]", "[4096]"),
      ("[4096, 4096]", "[4096, 0]", "shape is [4096,0]", "[4096, 0]"),
      ("[4096, 4096]", "[4096, 99999999999]", "shape is [4096,99999999999]", "[4096, 999"),
      ("\"model.layers.0.self_attn.q_proj\"", "\"\"", "is empty", "\"\""),
      ("}], \"prov", "}, {\"name\": \"model.layers.0.self_attn.q_proj\"}], \"prov", "occurs twice", "\"model.layers"),
      ("[{", "[], \"x\": [{", "unknown key \"x\"", "\"x\""),
    ] as [(String, String, String, String)])
  func refusesScores(_ old: String, _ new: String, _ words: String, _ place: String) throws {
    let text = edited(scores, old, new)
    let error = errorThrown { try scoreTable(text) }
    #expect(error.status == .data && error.problem.contains(words), "\(error)")
    #expect(error.location == location(of: place, in: text, "scores.json"), "\(error)")
  }

  @Test(
    arguments: [
      ("\"rank\": 4", "\"rank\": -1", "rank -1", "-1"),
      ("\"rank\": 4", "\"rank\": 4097", "expected 0 to 4096", "4097"),
      ("\"rank\": 4", "\"rank\": 4.5", "must be an integer", "4.5"),
      ("\"rank\": 4", "\"rnak\": 4", "unknown key \"rnak\"", "\"rnak\""),
      ("\"max_rank\": 32", "\"max_rank\": 3", "below \"min_rank\", 4", "3, \"alpha"),
      ("\"reference_rank\": 8", "\"reference_rank\": 0", "expected 1 to", "0, \"min"),
      ("\"alpha\": 16", "\"alpha\": 0", "expected a number from 1e-6 to 1e6", "0, \"scal"),
      ("\"rslora\"", "\"rs\"", "expected \"rslora\", \"lora\" or \"constant\"", "\"rs\""),
      ("\"parameters\": 6998016", "\"parameters\": \"many\"", "must be an integer", "\"many\""),
      ("\"importance\"", "\"advantage\"", "unknown key \"advantage\"", "\"advantage\""),
      ("\"provenance\": []", "\"provenance\": {}", "must be an array", "{}"),
      (
        "}], \"prov", "}, {\"name\": \"model.layers.0.self_attn.q_proj\", \"rank\": 1}], \"prov", "occurs twice", "\"model.layers"
      ),
    ] as [(String, String, String, String)])
  func refusesPlans(_ old: String, _ new: String, _ words: String, _ place: String) throws {
    let text = edited(plan, old, new)
    let error = errorThrown { try rankPlan(text) }
    #expect(error.status == .data && error.problem.contains(words), "\(error)")
    #expect(error.location == location(of: place, in: text, "plan.json"), "\(error)")
  }

  @Test func mutatedPlansNeverCrash() {
    var numbers = TestNumbers(state: 2)
    var refused = 0
    for _ in 0..<1000 {
      var bytes = Array(plan.utf8)
      for _ in 0..<Int.random(in: 1...3, using: &numbers) {
        bytes[Int.random(in: 0..<bytes.count, using: &numbers)] ^= 1 << UInt8.random(in: 0..<8, using: &numbers)
      }
      do throws(GoraError) {
        let plan = try RankPlan(reading: JSONDocument(path: "plan.json", text: bytes).root)
        #expect(plan.parameters >= 0)
      } catch {
        refused += 1
        #expect(error.status == .data)
      }
    }
    #expect(refused > 500)
  }
}

@Suite struct ProvenanceTests {
  @Test func chainsRecords() throws {
    let scratch = ScratchFolder()
    let file = try scratch.file("data.jsonl", "abc")
    try makeFolder("\(scratch.path)/model")
    _ = try scratch.file("model/config.json", "{}")
    let one = try Provenance().appending(
      tool: "gora-grad", version: "1.0", arguments: ["--seed", "3"], inputs: [file, "-", "/dev/null", "\(scratch.path)/model"],
      seed: 3, threads: 2, dtype: "f32", libraries: [("zstd", "1"), ("hdf5", "2")])
    let two = try one.appending(tool: "gora-score", version: "1.0", arguments: [], inputs: [], seed: .max)
    #expect(
      one.text
        == #"[{"tool":"gora-grad","version":"1.0","argv":["--seed","3"],"inputs":["#
        + #"{"path":"\#(file)","bytes":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"#
        + #"{"path":"-"},{"path":"/dev/null"},{"path":"\#(scratch.path)/model/config.json","bytes":2,"#
        + #""sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}],"#
        + #""seed":3,"threads":2,"dtype":"f32","libraries":{"hdf5":"2","zstd":"1"},"previous":null}]"#)
    #expect(two.records.count == 2 && two.records[0] == one.records[0])
    #expect(two.records[1].compact().hasSuffix(#""seed":"18446744073709551615","libraries":{},"previous":0}"#))
    #expect(try Provenance(text: two.text, path: "x") == two)
    #expect(errorThrown { try Provenance(text: "{}", path: "x") }.status == .data)
    #expect(errorThrown { try Provenance(text: "[1]", path: "x") }.status == .data)
    let missing = errorThrown {
      try one.appending(tool: "t", version: "1", arguments: [], inputs: ["\(scratch.path)/none"])
    }
    #expect(missing.status == .noInput)
  }
}

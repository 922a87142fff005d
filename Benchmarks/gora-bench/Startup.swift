import GoraCore
import GoraFormats

/// How long stages take that have little to do.
struct Startup {
  let workplace: Workplace

  private static let runs = 20

  func run() throws(GoraError) -> Measured {
    // A small model with gradients and scores.
    let folder = workplace.folder
    let preset = ModelPreset.known("15m")
    let model = try workplace.model(preset, dtype: "bf16")
    let rows = try workplace.randomRows(2, tokens: 32, vocabulary: preset.vocabularySize)
    let (gradients, scores) = ("\(folder)/startup.h5", "\(folder)/startup.json")
    let grad = workplace.tool("grad", ["--model", model, "--data", rows, "--steps", "1", "-o", gradients])
    _ = try workplace.children.run(grad)
    let score = workplace.tool("score", [gradients, "--model", model, "-o", scores])
    _ = try workplace.children.run(score)

    var table = TextTable(["start to end, ms, \(Self.runs) runs", "median", "+-", "wanted"])
    var json: [JSON] = []
    for (name, command) in [
      ("gora-plan --help", ["\(workplace.tools)/gora-plan", "--help"]),
      ("gora-train --help", ["\(workplace.tools)/gora-train", "--help"]),
      ("gora-plan, 24 modules", workplace.tool("plan", [scores, "-o", "\(folder)/startup-plan.json"])),
      ("gora-score, 15m", score),
    ] {
      var sample = Sample()
      for _ in 0..<Self.runs { sample.append(try workplace.children.run(command, watches: false).seconds) }
      table.append([name, fixed(sample.median * 1000, 1), percent(sample.spread), "50"])
      json.append(.object(["command": JSON(name), "seconds": sample.json]))
    }
    return Measured(name: "startup", text: "Start-up\n\n" + table.text, json: JSON(json))
  }
}

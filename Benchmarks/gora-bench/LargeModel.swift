import Glibc
import GoraCore
import GoraFormats

/// The stages on a checkpoint of Llama 3.1 8B's shape: what they take, and what they hold.
struct LargeModel {
  let workplace: Workplace
  let scratch: String

  /// 16 GB of weights, 5 of gradients (f32), adapters, and as much again where gradients are spilled while they are summed.
  private static let roomNeeded = 30 << 30

  func run() throws(GoraError) -> Measured {
    try makeFolders(scratch)
    let preset = ModelPreset.known("llama-3.1-8b")
    let model = "\(scratch)/\(preset.name)-bf16"
    var stages: [(name: String, arguments: [String])] = []
    if access("\(model)/config.json", R_OK) != 0 {
      try requireRoom(Self.roomNeeded)
      stages.append(("make the model", [workplace.program, "make-model", model, "--preset", preset.name, "--dtype", "bf16"]))
    } else {
      try requireRoom(Self.roomNeeded - preset.parameters * 2)
    }
    let rows = try workplace.randomRows(1, tokens: 512, vocabulary: preset.vocabularySize)
    let (gradients, scores) = ("\(scratch)/grad.h5", "\(scratch)/scores.json")
    stages.append(
      (
        "gora-grad --spill, 1x512",
        workplace.tool(
          "grad", ["--model", model, "--data", rows, "--steps", "1", "--spill", scratch, "--json", "-o", gradients])
      ))
    stages.append(("gora-score", workplace.tool("score", [gradients, "--model", model, "-o", scores, "--json"])))
    for rank in [8, 128] {
      let plan = "\(scratch)/plan-\(rank).json"
      stages.append(("gora-plan, rank \(rank)", workplace.tool("plan", [scores, "--rank", "\(rank)", "-o", plan, "--json"])))
      stages.append(
        (
          "gora-init, rank \(rank)",
          workplace.tool(
            "init", [plan, "--model", model, "--gradients", gradients, "-o", "\(scratch)/init-\(rank)", "--json"])
        ))
    }
    for (words, options, tuned) in [("", [], "tuned"), (" --quantize nf4", ["--quantize", "nf4"], "tuned-nf4")] {
      stages.append(
        (
          "gora-train\(words), 1 step of 1x512",
          workplace.tool(
            "train",
            [
              "\(scratch)/init-8", "--model", model, "--data", rows, "--batch-size", "1", "--max-steps", "1", "--json", "-o",
              "\(scratch)/\(tuned)",
            ] + options)
        ))
    }

    var table = TextTable([
      "8B, bf16, on disk", "s", "CPU s", "waiting", "peak MiB", "anonymous", "GB from disk", "s reading", "estimate",
    ])
    var json: [JSON] = []
    for stage in stages {
      workplace.say(stage.name)
      let child = try workplace.children.run(stage.arguments)
      // Processor time that the threads had and did not use: most of it waits for the disk.
      let waiting = max(0, 1 - child.processorSeconds / child.seconds / Double(workplace.threads))
      let summary = child.output.isEmpty ? nil : try child.json(stage.name)
      let reading = try summary?.optional("read_seconds")?.double ?? .nan
      let estimate = try summary?.optional("estimate")?.required("anonymous_bytes").double ?? .nan
      table.append([
        stage.name, fixed(child.seconds, 1), fixed(child.processorSeconds, 1), percent(waiting),
        mebibytes(Double(child.peakBytes)), mebibytes(Double(child.peakAnonymousBytes)),
        fixed(Double(child.storageBytes) / 1e9, 1),
        fixed(reading, 1), fixed(estimate / Double(child.peakAnonymousBytes), 2),
      ])
      json.append(
        .object([
          "stage": JSON(stage.name), "seconds": JSON(child.seconds), "processor_seconds": JSON(child.processorSeconds),
          "peak_bytes": JSON(child.peakBytes), "peak_anonymous_bytes": JSON(child.peakAnonymousBytes),
          "storage_bytes": JSON(child.storageBytes), "read_seconds": finite(reading),
          "estimate_over_anonymous_peak": finite(estimate / Double(child.peakAnonymousBytes)),
        ]))
    }
    let words = "waiting: share of the threads' time without work; s reading: of the stage itself, where it says\n"
    return Measured(name: "large", text: "Llama 3.1 8B's shape\n\n" + table.text + words, json: JSON(json))
  }

  private func requireRoom(_ bytes: Int) throws(GoraError) {
    var status = statvfs()
    guard statvfs(scratch, &status) == 0 else {
      throw GoraError(.cannotCreate, at: .file(scratch), String(cString: strerror(errno)))
    }
    let free = Int(status.f_bavail) * Int(status.f_frsize)
    guard free >= bytes else {
      throw GoraError(
        .cannotCreate, at: .file(scratch),
        "\(free >> 30) GiB free; expected \(bytes >> 30) GiB for the model, its gradients and adapters",
        hint: "name a folder on a larger disk with SCRATCH=")
    }
  }
}

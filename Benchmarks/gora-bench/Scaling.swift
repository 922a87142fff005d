import GoraCore
import GoraFormats

/// How the cost of a gradient step grows with tokens, layers and threads.
struct Scaling {
  let workplace: Workplace
  let repeats: Int

  private static let steps = 3

  func run() throws(GoraError) -> [Measured] { [try tokens(), try layers(), try threads()] }

  /// Seconds a step of gora-grad, median of the runs.
  private func stepSeconds(
    _ model: ModelPreset, dtype: String, tokens: Int, threads: Int? = nil
  ) throws(GoraError) -> Sample {
    let depth = model.layers == ModelPreset.known(model.name).layers ? nil : model.layers
    let folder = try workplace.model(model, dtype: dtype, layers: depth)
    let rows = try workplace.randomRows(Self.steps + 1, tokens: tokens, vocabulary: model.vocabularySize)
    var sample = Sample()
    for _ in 0..<repeats {
      let child = try workplace.children.run(
        workplace.tool(
          "grad",
          [
            "--model", folder, "--data", rows, "--dtype", dtype, "--max-length", "\(tokens)", "--no-shuffle", "--json", "--steps",
            "\(Self.steps + 1)", "-o", "\(workplace.folder)/grad.h5",
          ], threads: threads))
      sample.append(Double(tokens) / (try child.json("gora-grad").required("steady_tokens_per_second").double))
    }
    return sample
  }

  private static func operations(_ model: ModelPreset, _ tokens: Int) -> Operations {
    .gradients(model, [.init(tokens: tokens, labelled: tokens - 1)])
  }

  private func tokens() throws(GoraError) -> Measured {
    let model = ModelPreset.known("110m")
    var table = TextTable(["gora-grad, 110m f32, 1 row", "s/step", "+-", "s per 1000 tokens", "attention's share", "GFLOP/s"])
    var json: [JSON] = []
    for tokens in [512, 1024, 2048, 4096] {
      let sample = try stepSeconds(model, dtype: "f32", tokens: tokens)
      let count = Self.operations(model, tokens)
      table.append([
        "\(tokens) tokens", fixed(sample.median, 2), percent(sample.spread), fixed(sample.median * 1000 / Double(tokens), 3),
        percent(count.attention / count.total), fixed(count.total / sample.median / 1e9, 0),
      ])
      json.append(.object(["tokens": JSON(tokens), "seconds": sample.json, "operations": JSON(count.total)]))
    }
    return Measured(
      name: "scaling_tokens",
      text: "Tokens: linear where GFLOP/s stay\n\n" + table.text, json: JSON(json))
  }

  private func layers() throws(GoraError) -> Measured {
    var table = TextTable(["gora-grad, 110m f32, 1x512", "s/step", "+-", "s a layer more", "GFLOP/s"])
    var json: [JSON] = []
    var before: (layers: Int, seconds: Double)?
    for layers in [2, 4, 8] {
      var model = ModelPreset.known("110m")
      model.layers = layers
      let sample = try stepSeconds(model, dtype: "f32", tokens: 512)
      let more = before.map { (sample.median - $0.seconds) / Double(layers - $0.layers) } ?? .nan
      table.append([
        "\(layers) layers", fixed(sample.median, 3), percent(sample.spread), fixed(more, 4),
        fixed(Self.operations(model, 512).total / sample.median / 1e9, 0),
      ])
      json.append(.object(["layers": JSON(layers), "seconds": sample.json]))
      before = (layers, sample.median)
    }
    return Measured(
      name: "scaling_layers", text: "Layers: linear where the last two of \"a layer more\" agree\n\n" + table.text,
      json: JSON(json))
  }

  private func threads() throws(GoraError) -> Measured {
    let counts = workplace.threads > 1 ? [1, workplace.threads] : [1]
    var table = TextTable(["gora-grad, 1x512"] + counts.map { "\($0) thread\($0 == 1 ? "" : "s"), s/step" } + ["gain"])
    var json: [JSON] = []
    for (name, dtype) in [("110m", "f32"), ("110m", "bf16"), ("tinyllama-quarter", "bf16")] {
      var samples: [Sample] = []
      for count in counts { samples.append(try stepSeconds(.known(name), dtype: dtype, tokens: 512, threads: count)) }
      let gain = samples[0].median / samples[samples.count - 1].median
      table.append(["\(name) \(dtype)"] + samples.map { fixed($0.median, 2) } + [fixed(gain, 2)])
      json.append(.object(["model": JSON(name), "dtype": JSON(dtype), "seconds": JSON(samples.map(\.json)), "gain": JSON(gain)]))
    }
    return Measured(name: "scaling_threads", text: "Threads: 1.8 is wanted of two\n\n" + table.text, json: JSON(json))
  }
}

import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-export --check: what another reader would make of an adapter folder, by its own rule.
package struct AdapterCheckStage {
  package struct Configuration: Sendable {
    package var adapter: String
    package var model: String
    package var reader: AdapterReader

    package init(adapter: String, model: String, reader: AdapterReader) {
      self.adapter = adapter
      self.model = model
      self.reader = reader
    }
  }

  /// Factors that differ by no more, relatively, are the same number, rounded by one or the other.
  private static let rounding = 1e-6

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  /// - Throws: status 1 where the reader refuses the folder or computes another ΔW, after `show` had the table.
  /// - Parameter show: told what there is to say before that.
  package func run(events: EventHandler, show: (StageSummary) throws(GoraError) -> Void) throws(GoraError) {
    let c = configuration
    try Matmul.open()
    let adapter = try Adapter(readingFolder: c.adapter)
    let model = try ModelFolder(path: c.model)
    try adapter.requireBase(ModelIdentity(of: model), folder: c.adapter)
    let reading = try c.reader.reading(
      adapter, folder: c.adapter, kinds: AdapterKinds.all, hasHead: model.tensor(DecoderConfig.headName) != nil)
    if let refusal = reading.refusal {
      throw GoraError(
        .negative, at: .file(c.adapter), "\(c.reader.rawValue) refuses the folder: \(refusal)",
        hint: "gora-export --profile merged puts it into the model's weights")
    }
    var rows: [(module: AdapterModule, scaling: Double, difference: Double)] = []
    for (done, (module, scaling)) in zip(adapter.modules, reading.scalings).enumerated() {
      events(.progress(stage: "checking", done: done, total: adapter.modules.count, unit: "modules"))
      let isSame = abs(scaling - module.scaling) <= Self.rounding * abs(module.scaling)
      rows.append((module, scaling, isSame ? 0 : abs(scaling - module.scaling) * module.largestProduct))
    }
    let wrong = rows.filter { $0.difference > 0 }
    let largest = rows.map(\.difference).max() ?? 0
    let width = rows.reduce(6) { max($0, $1.module.name.count) }
    var details = [
      TableText.pad("module", width) + "  " + TableText.left("rank", 5) + "  " + TableText.left("s", 9) + "  "
        + TableText.left("reader's s", 10) + "  max |difference|"
    ]
    for row in rows {
      details.append(
        TableText.pad(row.module.name, width) + "  " + TableText.left("\(row.module.rank)", 5) + "  "
          + TableText.left(NumberText.significant(row.module.scaling), 9) + "  "
          + TableText.left(NumberText.significant(row.scaling), 10) + "  " + NumberText.significant(row.difference))
    }
    try show(
      StageSummary(
        line: "\(c.reader.rawValue): "
          + (wrong.isEmpty
            ? "the same \u{394}W in all \(rows.count) modules"
            : "another \u{394}W in \(wrong.count) of \(rows.count) modules, by \(NumberText.significant(largest)) at most"),
        json: .object([
          "reader": JSON(c.reader.rawValue), "largest": JSON(largest), "wrong": JSON(wrong.count),
          "modules": JSON(
            rows.map {
              .object([
                "module": JSON($0.module.name), "rank": JSON($0.module.rank), "scaling": JSON($0.module.scaling),
                "reader_scaling": JSON($0.scaling), "difference": JSON($0.difference),
              ])
            }),
        ]), output: details.joined(separator: "\n") + "\n"))
    guard wrong.isEmpty else {
      throw GoraError(
        .negative, at: .file(c.adapter),
        "\(c.reader.rawValue) would read the folder without a message, and compute something else",
        hint: c.reader == .llamaCPP
          ? "gora-export --profile gguf or ranked" : "gora-export --profile \(c.reader == .oldVLLM ? "compact" : "ranked")")
    }
  }
}

extension AdapterModule {
  /// max |B·A|.
  fileprivate var largestProduct: Double {
    var product = [Float](repeating: 0, count: shape[0] * shape[1])
    Merge.add(a: a, b: b, scaling: 1, to: &product, rows: shape[0], columns: shape[1], rank: rank)
    return Double(product.reduce(0) { max($0, $1.magnitude) })
  }
}

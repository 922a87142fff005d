import GoraCore
import GoraFormats
import GoraMethods

/// gora-score: model + grad.h5 → scores.json, one importance a weight.
package struct ScoreStage {
  package struct Configuration: Sendable {
    package var model: String
    package var gradients: String
    package var metric: ImportanceMetric
    package var output: OutputTarget
    package var dryRun: Bool
    package var context: RunContext

    package init(
      model: String, gradients: String, metric: ImportanceMetric, output: OutputTarget, dryRun: Bool, context: RunContext
    ) {
      self.model = model
      self.gradients = gradients
      self.metric = metric
      self.output = output
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try Matmul.open()
    let model = try ModelFolder(path: c.model)
    let gradients = try GradientFileReader(path: c.gradients)
    try gradients.requireModel(model)
    guard !gradients.names.isEmpty else { throw GoraError(.data, at: .file(c.gradients), "the file has no gradients") }
    let weights = try gradients.names.map { name throws(GoraError) in try gradients.weight(name, of: model) }
    var summary = StageSummary(
      line: "\(weights.count) modules by \(c.metric.rawValue)\(c.output.arrow)",
      json: .object(["modules": JSON(weights.count), "metric": JSON(c.metric.rawValue)]))
    if c.dryRun {
      let bytes = weights.reduce(0) { $0 + $1.count } * MemoryLayout<Float>.size
      summary.line = "would score \(summary.line); \(NumberText.count(bytes))B of gradients"
      return summary
    }

    var importances: [Double] = []
    for (i, name) in gradients.names.enumerated() {
      let gradient = try gradients.read(name)
      do throws(GoraError) {
        importances.append(
          try c.metric.importance(
            weight: c.metric.needsWeight ? weights[i].toFloat() : nil, gradient: gradient, rows: weights[i].shape[0],
            columns: weights[i].shape[1]))
      } catch {
        throw error.located(at: .object(c.gradients, name: "/gradients/\(name)"))
      }
      events(.progress(stage: "scoring", done: i + 1, total: weights.count, unit: "modules"))
    }
    let advantages: [Double]
    do throws(GoraError) { advantages = try Advantage.sumNormalised(importances) } catch {
      throw error.located(at: .file(c.gradients))
    }
    let earlier = try gradients.attribute("provenance").map { text throws(GoraError) in
      try Provenance(text: text, path: c.gradients)
    }
    let inputs = [c.model, c.gradients]
    let table = ScoreTable(
      metric: c.metric.rawValue, model: model.identity,
      modules: zip(zip(gradients.names, weights), zip(importances, advantages)).map { weight, score in
        ScoreTable.Module(
          name: moduleName(ofWeight: weight.0), shape: weight.1.shape, importance: score.0, advantage: score.1)
      },
      provenance: try c.context.exactProvenance(after: earlier, inputs: inputs))
    summary.output = try c.output.deliver(table.json.pretty(), inputs: inputs)
    return summary
  }
}

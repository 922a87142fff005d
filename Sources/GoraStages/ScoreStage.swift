import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-score: model + grad.h5 → scores.json, one importance a weight.
package struct ScoreStage {
  package struct Configuration: Sendable {
    package var model: String
    package var gradients: String
    package var metric: MetricBlend
    package var advantage: Advantage
    /// How many singular values a metric that estimates them goes by.
    package var svdRank: Int
    package var output: OutputTarget
    package var dryRun: Bool
    package var context: RunContext

    package init(
      model: String, gradients: String, metric: MetricBlend, advantage: Advantage = Advantage(),
      svdRank: Int = RandomisedSVD.standardRank,
      output: OutputTarget, dryRun: Bool, context: RunContext
    ) {
      self.model = model
      self.gradients = gradients
      self.metric = metric
      self.advantage = advantage
      self.svdRank = svdRank
      self.output = output
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try checkOutputs(c.output.paths, against: [c.model, c.gradients])
    let output = c.dryRun ? nil : try c.output.open()
    let svd = try RandomisedSVD(rank: c.svdRank, seed: c.context.seed)
    // Sums need no library, and opening one takes longer than a small model.
    if c.metric.decomposes || c.metric.estimates { try Matmul.open() }
    let model = try ModelFolder(path: c.model)
    let gradients = try GradientFileReader(path: c.gradients)
    let identity = try ModelIdentity(of: model)
    try gradients.requireModel(identity)
    guard !gradients.names.isEmpty else { throw GoraError(.data, at: .file(c.gradients), "the file has no gradients") }
    let weights = try gradients.names.map { name throws(GoraError) in try gradients.weight(name, of: model) }
    var summary = StageSummary(
      line: "\(weights.count) modules by \(c.metric.name)\(c.output.arrow)",
      json: .object(["modules": JSON(weights.count), "metric": JSON(c.metric.name)]))
    if c.dryRun {
      let bytes = weights.reduce(0) { $0 + $1.count } * MemoryLayout<Float>.size
      summary.line = "would score \(summary.line); \(NumberText.count(bytes))B of gradients"
      return summary
    }

    let importances = try self.importances(of: weights, gradients, svd, events)
    let shares: [Double]
    do throws(GoraError) { shares = try c.advantage.shares(importances) } catch {
      throw error.located(at: .file(c.gradients))
    }
    let earlier = try gradients.attribute("provenance").map { text throws(GoraError) in
      try Provenance(text: text, path: c.gradients)
    }
    let inputs = [c.model, c.gradients]
    var table = ScoreTable(
      metric: c.metric.name, model: identity.text,
      modules: weights.indices.map { i in
        let parts = importances.map { $0[i] }
        return ScoreTable.Module(
          name: ModuleName.of(weight: gradients.names[i]), shape: weights[i].shape,
          importance: parts.count == 1 ? parts[0] : shares[i], advantage: shares[i], parts: parts.count == 1 ? [] : parts)
      },
      provenance: try c.context.exactProvenance(
        after: earlier, inputs: inputs, seed: c.metric.estimates ? c.context.seed : nil))
    table.normalisation = c.advantage.normalisation.rawValue
    table.temperature = c.advantage.normalisation == .softmax ? c.advantage.temperature : nil
    table.takesSquareRoot = c.advantage.takesSquareRoot
    table.svdRank = c.metric.estimates ? c.svdRank : nil
    summary.output = try output?.deliver(table.json.pretty())
    return summary
  }

  /// A metric each, a weight each. A gradient is read, looked at and dropped; whole decompositions run on one thread, so as many
  /// weights are held as there are threads for them.
  private func importances(
    of weights: [TensorView], _ gradients: GradientFileReader, _ svd: RandomisedSVD, _ events: EventHandler
  ) throws(GoraError) -> [[Double]] {
    let metrics = configuration.metric.metrics
    var importances = [[Double]](repeating: [], count: metrics.count)
    let together = configuration.metric.decomposes ? ThreadPool.threads : 1
    let buffers = (0..<together).map { _ in FloatBuffer() }
    for first in stride(from: 0, to: weights.count, by: together) {
      let group = first..<min(weights.count, first + together)
      for i in group {
        let target = buffers[i - first].reserve(weights[i].count)
        try gradients.readRows(gradients.names[i], 0..<weights[i].shape[0], into: target)
      }
      var results = [Result<[Double], GoraError>](repeating: .success([]), count: group.count)
      results.withUnsafeMutableBufferPointer { results in
        nonisolated(unsafe) let results = results
        parallelParts(group.count) { part in
          let name = gradients.names[first + part]
          do throws(GoraError) {
            let weight = try Parameter(weights[first + part], precision: .f32)
            defer { withExtendedLifetime(weight) {} }
            let pair = WeightGradient(weight: weight.matrix, gradient: UnsafePointer(buffers[part].pointer))
            var values: [Double] = []
            for metric in metrics {
              values.append(try metric.importance(of: pair, module: ModuleName.of(weight: name), svd: svd))
            }
            results[part] = .success(values)
          } catch {
            results[part] = .failure(error.located(at: .object(gradients.path, name: "/gradients/\(name)")))
          }
        }
      }
      for result in results {
        for (metric, value) in try result.get().enumerated() { importances[metric].append(value) }
      }
      events(.progress(stage: "scoring", done: group.upperBound, total: weights.count, unit: "modules"))
    }
    return importances
  }
}

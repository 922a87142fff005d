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
    let inputs = c.metric.looks(at: .inputs) ? try self.inputs(of: gradients) : [:]
    let names = try self.names(gradients, inputs)
    if c.metric.looks(at: .squares), !gradients.has(.squares) {
      throw GoraError(.data, at: .file(c.gradients), "the file has no squares of gradients", hint: "run gora-grad with --squares")
    }
    let weights = try names.map { name throws(GoraError) in
      let module = ModuleName.of(weight: name)
      var weight: TensorView?
      if let input = inputs[module] { weight = try input.weight(of: module, in: model, path: c.gradients) }
      if c.metric.looks(at: .squares) { weight = try gradients.weight(name, of: model, kind: .squares) }
      if c.metric.looks(at: .gradient) { weight = try gradients.weight(name, of: model) }
      guard let weight else { throw GoraError(.internal, "a metric that looks at nothing") }
      return weight
    }
    var summary = StageSummary(
      line: "\(weights.count) modules by \(c.metric.name)\(c.output.arrow)",
      json: .object(["modules": JSON(weights.count), "metric": JSON(c.metric.name)]))
    if c.dryRun {
      let kinds = (c.metric.looks(at: .gradient) ? 1 : 0) + (c.metric.looks(at: .squares) ? 1 : 0)
      let bytes = weights.reduce(0) { $0 + $1.count } * kinds * MemoryLayout<Float>.size
      summary.line = "would score \(summary.line); \(NumberText.count(bytes))B of gradients"
      return summary
    }

    let evidence = Evidence(names: names, weights: weights, gradients: gradients, inputs: inputs)
    let (importances, eranks) = try self.importances(evidence, svd, events)
    let shares: [Double]
    do throws(GoraError) { shares = try c.advantage.shares(importances) } catch {
      throw error.located(at: .file(c.gradients))
    }
    let earlier = try gradients.attribute("provenance").map { text throws(GoraError) in
      try Provenance(text: text, path: c.gradients)
    }
    var table = ScoreTable(
      metric: c.metric.name, model: identity.text,
      modules: weights.indices.map { i in
        let parts = importances.map { $0[i] }
        var module = ScoreTable.Module(
          name: ModuleName.of(weight: names[i]), shape: weights[i].shape,
          importance: parts.count == 1 ? parts[0] : shares[i], advantage: shares[i], parts: parts.count == 1 ? [] : parts)
        module.erank = eranks[i]
        module.explainedVariance = inputs[module.name]?.ratios ?? []
        return module
      },
      provenance: try c.context.exactProvenance(
        after: earlier, inputs: [c.model, c.gradients], seed: c.metric.estimates ? c.context.seed : nil))
    table.normalisation = c.advantage.normalisation.rawValue
    table.temperature = c.advantage.normalisation == .softmax ? c.advantage.temperature : nil
    table.takesSquareRoot = c.advantage.takesSquareRoot
    table.svdRank = c.metric.estimates ? c.svdRank : nil
    summary.output = try output?.deliver(table.json.pretty())
    return summary
  }

  /// What is looked at, a module each.
  private struct Evidence {
    var names: [String]
    var weights: [TensorView]
    var gradients: GradientFileReader
    /// By module.
    var inputs: [String: InputComponents]
  }

  private func inputs(of gradients: GradientFileReader) throws(GoraError) -> [String: InputComponents] {
    var byModule: [String: InputComponents] = [:]
    for input in try gradients.requireInputs() { for module in input.modules { byModule[module] = input } }
    return byModule
  }

  /// The weights to score: those that have gradients, in natural order of their names; where inputs alone are looked at those that have
  /// them, in the model's order.
  private func names(_ gradients: GradientFileReader, _ inputs: [String: InputComponents]) throws(GoraError) -> [String] {
    let metric = configuration.metric
    guard metric.looks(at: .gradient) || metric.looks(at: .squares) else {
      return try gradients.inputs().flatMap(\.modules).map(ModuleName.weight)
    }
    guard !gradients.names.isEmpty else { throw GoraError(.data, at: .file(gradients.path), "the file has no gradients") }
    if metric.looks(at: .inputs), let missing = gradients.names.first(where: { inputs[ModuleName.of(weight: $0)] == nil }) {
      throw GoraError(.data, at: .file(gradients.path), "no components of the inputs of \"\(ModuleName.of(weight: missing))\"")
    }
    return gradients.names
  }

  /// A metric each, a weight each; and the effective rank of each gradient whose singular values were computed. A gradient is read, looked
  /// at and dropped; whole decompositions run on one thread, so as many weights are held as there are threads for them.
  private func importances(
    _ evidence: Evidence, _ svd: RandomisedSVD, _ events: EventHandler
  ) throws(GoraError) -> ([[Double]], [Double?]) {
    let metrics = configuration.metric.metrics
    let (weights, gradients) = (evidence.weights, evidence.gradients)
    var importances = [[Double]](repeating: [], count: metrics.count)
    var eranks: [Double?] = []
    let together = configuration.metric.decomposes ? ThreadPool.threads : 1
    let kinds: [(kind: GradientKind, evidence: ImportanceMetric.Evidence)] = [(.mean, .gradient), (.squares, .squares)]
    let buffers = kinds.map { _ in (0..<together).map { _ in FloatBuffer() } }
    for first in stride(from: 0, to: weights.count, by: together) {
      let group = first..<min(weights.count, first + together)
      for i in group {
        for (buffers, kind) in zip(buffers, kinds) where configuration.metric.looks(at: kind.evidence) {
          let target = buffers[i - first].reserve(weights[i].count)
          try gradients.readRows(evidence.names[i], of: kind.kind, 0..<weights[i].shape[0], into: target)
        }
      }
      var results = [Result<([Double], Double?), GoraError>](repeating: .success(([], nil)), count: group.count)
      results.withUnsafeMutableBufferPointer { results in
        nonisolated(unsafe) let results = results
        parallelParts(group.count) { part in
          let name = evidence.names[first + part]
          var group = "gradients"
          do throws(GoraError) {
            let weight = try Parameter(weights[first + part], precision: .f32)
            defer { withExtendedLifetime(weight) {} }
            var values: [Double] = []
            var spectra = Spectra()
            for metric in metrics {
              if metric.evidence == .inputs {
                values.append((evidence.inputs[ModuleName.of(weight: name)]?.ratios ?? []).reduce(0, +))
                continue
              }
              group = metric.evidence == .gradient ? "gradients" : "squares"
              let buffer = buffers[metric.evidence == .gradient ? 0 : 1][part]
              let pair = WeightGradient(weight: weight.matrix, gradient: UnsafePointer(buffer.pointer))
              values.append(try metric.importance(of: pair, module: ModuleName.of(weight: name), svd: svd, spectra: &spectra))
            }
            results[part] = .success((values, spectra.effectiveRank))
          } catch {
            results[part] = .failure(error.located(at: .object(gradients.path, name: "/\(group)/\(name)")))
          }
        }
      }
      for result in results {
        let (values, erank) = try result.get()
        for (metric, value) in values.enumerated() { importances[metric].append(value) }
        eranks.append(erank)
      }
      events(.progress(stage: "scoring", done: group.upperBound, total: weights.count, unit: "modules"))
    }
    return (importances, eranks)
  }
}

import GoraCore

/// The importance of each module: what gora-score writes and gora-plan reads (`gora-scores`, version 1).
package struct ScoreTable: Equatable, Sendable {
  package struct Module: Equatable, Sendable {
    /// Module path in the model, without `.weight`.
    package var name: String
    /// [out, in].
    package var shape: [Int]
    /// In the unit of the metric, or, where several are averaged, the advantage; finite.
    package var importance: Double
    /// Share of the rank budget, 0 or more; gora-score's sum to 1.
    package var advantage: Double
    /// The importance by each metric where several are averaged; else empty.
    package var parts: [Double]
    /// The effective rank of the gradient, where all its singular values were computed.
    package var erank: Double?
    /// The explained variance ratio of each component of the module's inputs, falling; empty for metrics that do not look at them.
    package var explainedVariance: [Double] = []

    package init(name: String, shape: [Int], importance: Double, advantage: Double, parts: [Double] = []) {
      self.name = name
      self.shape = shape
      self.importance = importance
      self.advantage = advantage
      self.parts = parts
    }
  }

  package static let format = "gora-scores"
  package static let formatVersion = 1

  /// As `gora-score --metric` spells it.
  package var metric: String
  /// As `gora-score --normalise` spells it.
  package var normalisation = "sum"
  /// T of a softmax.
  package var temperature: Double?
  /// Whether square roots of the importances were normalised.
  package var takesSquareRoot = false
  /// How many singular values were estimated, where the metric does so.
  package var svdRank: Int?
  /// `ModelFolder.identity` of the model that was scored.
  package var model: String?
  package var modules: [Module]
  package var provenance: Provenance

  package init(metric: String, model: String? = nil, modules: [Module], provenance: Provenance = Provenance()) {
    self.metric = metric
    self.model = model
    self.modules = modules
    self.provenance = provenance
  }

  /// - Throws: `.data` with line and column for a wrong format, an unknown key, a duplicate module or a number out of range.
  package init(reading field: JSONField) throws(GoraError) {
    try FormatHeader.check(field, format: Self.format, version: Self.formatVersion, madeBy: "gora-score")
    try field.allowOnly([
      "format", "format_version", "metric", "normalisation", "temperature", "square_root", "svd_rank", "model", "modules",
      "provenance",
    ])
    metric = try field.required("metric").string
    normalisation = try field.optional("normalisation")?.string ?? "sum"
    temperature = try field.optional("temperature")?.double
    takesSquareRoot = try field.optional("square_root")?.bool ?? false
    svdRank = try field.optional("svd_rank")?.int
    model = try FormatHeader.model(field)
    provenance = try FormatHeader.provenance(field)
    modules = []
    var seen: Set<String> = []
    for element in try field.required("modules").elements {
      try element.allowOnly(["name", "shape", "importance", "advantage", "parts", "erank", "explained_variance"])
      let name = try FormatHeader.name(element, seen: &seen)
      let advantage = try element.required("advantage")
      guard try advantage.double >= 0 else {
        throw advantage.error("the advantage of \"\(name)\" is \(advantage.value.compact()); expected a number from 0")
      }
      var parts: [Double] = []
      for part in try element.optional("parts")?.elements ?? [] { parts.append(try part.double) }
      var module = Module(
        name: name, shape: try FormatHeader.shape(element), importance: try element.required("importance").double,
        advantage: try advantage.double, parts: parts)
      module.erank = try element.optional("erank")?.double
      for ratio in try element.optional("explained_variance")?.elements ?? [] {
        guard 0...1.001 ~= (try ratio.double) else {
          throw ratio.error(
            "an explained variance ratio of \"\(name)\" is \(ratio.value.compact()); expected a share from 0 to 1")
        }
        module.explainedVariance.append(try ratio.double)
      }
      modules.append(module)
    }
    if modules.isEmpty { throw try field.required("modules").error("the table has no modules") }
  }

  /// - Precondition: every number is finite.
  package var json: JSON {
    var members = [
      JSON.Member("format", JSON(Self.format)), JSON.Member("format_version", JSON(Self.formatVersion)),
      JSON.Member("metric", JSON(metric)), JSON.Member("normalisation", JSON(normalisation)),
    ]
    if let temperature { members.append(JSON.Member("temperature", JSON(whole: temperature))) }
    if takesSquareRoot { members.append(JSON.Member("square_root", true)) }
    if let svdRank { members.append(JSON.Member("svd_rank", JSON(svdRank))) }
    if let model { members.append(JSON.Member("model", JSON(model))) }
    let entries: [JSON] = modules.map { module in
      var entry = [
        JSON.Member("name", JSON(module.name)), JSON.Member("shape", .integers(module.shape)),
        JSON.Member("importance", JSON(module.importance)), JSON.Member("advantage", JSON(module.advantage)),
      ]
      if !module.parts.isEmpty { entry.append(JSON.Member("parts", JSON(module.parts.map { JSON($0) }))) }
      if let erank = module.erank { entry.append(JSON.Member("erank", JSON(erank))) }
      if !module.explainedVariance.isEmpty {
        entry.append(JSON.Member("explained_variance", JSON(module.explainedVariance.map { JSON($0) })))
      }
      return JSON(.object(entry))
    }
    members.append(JSON.Member("modules", JSON(entries)))
    members.append(JSON.Member("provenance", provenance.json))
    return JSON(.object(members))
  }
}

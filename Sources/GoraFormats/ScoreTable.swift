import GoraCore

/// The importance of each module: what gora-score writes and gora-plan reads (`gora-scores`, version 1).
package struct ScoreTable: Equatable, Sendable {
  package struct Module: Equatable, Sendable {
    /// Module path in the model, without `.weight`.
    package var name: String
    /// [out, in].
    package var shape: [Int]
    /// In the unit of the metric; finite.
    package var importance: Double
    /// Share of the rank budget; the advantages of a table sum to 1.
    package var advantage: Double

    package init(name: String, shape: [Int], importance: Double, advantage: Double) {
      self.name = name
      self.shape = shape
      self.importance = importance
      self.advantage = advantage
    }
  }

  package static let format = "gora-scores"
  package static let formatVersion = 1

  /// As `gora-score --metric` spells it.
  package var metric: String
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
    try field.allowOnly(["format", "format_version", "metric", "model", "modules", "provenance"])
    metric = try field.required("metric").string
    model = try FormatHeader.model(field)
    provenance = try FormatHeader.provenance(field)
    modules = []
    var seen: Set<String> = []
    for element in try field.required("modules").elements {
      try element.allowOnly(["name", "shape", "importance", "advantage"])
      modules.append(
        Module(
          name: try FormatHeader.name(element, seen: &seen), shape: try FormatHeader.shape(element),
          importance: try element.required("importance").double, advantage: try element.required("advantage").double))
    }
    if modules.isEmpty { throw try field.required("modules").error("the table has no modules") }
  }

  /// - Precondition: every number is finite.
  package var json: JSON {
    var members = [
      JSON.Member("format", JSON(Self.format)), JSON.Member("format_version", JSON(Self.formatVersion)),
      JSON.Member("metric", JSON(metric)),
    ]
    if let model { members.append(JSON.Member("model", JSON(model))) }
    let entries: [JSON] = modules.map {
      .object([
        "name": JSON($0.name), "shape": .integers($0.shape), "importance": JSON($0.importance),
        "advantage": JSON($0.advantage),
      ])
    }
    members.append(JSON.Member("modules", JSON(entries)))
    members.append(JSON.Member("provenance", provenance.json))
    return JSON(.object(members))
  }
}

import GoraCore

/// The rank of each module: what gora-plan writes, people edit and gora-init reads (`gora-plan`, version 1).
package struct RankPlan: Equatable, Sendable {
  package struct Module: Equatable, Sendable {
    /// Module path in the model, without `.weight`.
    package var name: String
    /// [out, in].
    package var shape: [Int]
    /// 0 leaves the module without an adapter.
    package var rank: Int
    /// What the rank was given for; nil in a plan made without gradients.
    package var importance: Double?

    package init(name: String, shape: [Int], rank: Int, importance: Double? = nil) {
      self.name = name
      self.shape = shape
      self.rank = rank
      self.importance = importance
    }
  }

  /// The factor s in ΔW = s·B·A, as `gora-plan --scaling` spells it.
  package enum Scaling: String, Sendable, CaseIterable {
    /// α/√r.
    case rslora
    /// α/r.
    case lora
    /// α/R with the reference rank R, whatever the rank: as PEFT's EVA, which multiplies α by r/R.
    case constant

    package init(isRSLoRA: Bool) { self = isRSLoRA ? .rslora : .lora }

    /// What α is divided by at rank r.
    /// - Parameter reference: R.
    package func divisor(_ rank: Int, reference: Int) -> Double {
      switch self {
      case .rslora: Double(rank).squareRoot()
      case .lora: Double(rank)
      case .constant: Double(reference)
      }
    }
  }

  package static let format = "gora-plan"
  package static let formatVersion = 1
  /// What α may be: beyond, the scale times a product of factors leaves f32.
  package static let alphas = 1e-6...1e6

  package var referenceRank: Int
  package var minRank: Int
  package var maxRank: Int
  package var alpha: Double
  package var scaling: Scaling
  /// What the adapters are to be started with, a name of gora-init's `--method`; nil: GoRA.
  package var start: String?
  /// `ModelFolder.identity` of the model that the plan is for.
  package var model: String?
  package var modules: [Module]
  package var provenance: Provenance

  package init(
    referenceRank: Int, minRank: Int, maxRank: Int, alpha: Double, scaling: Scaling, model: String? = nil,
    modules: [Module], provenance: Provenance = Provenance()
  ) {
    self.referenceRank = referenceRank
    self.minRank = minRank
    self.maxRank = maxRank
    self.alpha = alpha
    self.scaling = scaling
    self.model = model
    self.modules = modules
    self.provenance = provenance
  }

  /// s of a module of that rank.
  package func factor(rank: Int) -> Double { alpha / scaling.divisor(rank, reference: referenceRank) }

  /// Trainable parameters: Σ r·(out + in).
  package var parameters: Int { modules.reduce(0) { $0 + $1.rank * ($1.shape[0] + $1.shape[1]) } }

  /// Those of plain LoRA at the reference rank.
  package var loraParameters: Int { modules.reduce(0) { $0 + referenceRank * ($1.shape[0] + $1.shape[1]) } }

  /// Totals in the file are not trusted: after an edit by hand they are stale, so they are counted again.
  /// - Throws: `.data` with line and column for a wrong format, an unknown key, a duplicate module or a number out of range.
  package init(reading field: JSONField) throws(GoraError) {
    try FormatHeader.check(field, format: Self.format, version: Self.formatVersion, madeBy: "gora-plan")
    try field.allowOnly([
      "format", "format_version", "reference_rank", "min_rank", "max_rank", "alpha", "scaling", "start", "model", "parameters",
      "lora_parameters", "modules", "provenance",
    ])
    let largest = 1 << 20
    referenceRank = try field.required("reference_rank").int(in: 1...largest)
    minRank = try field.required("min_rank").int(in: 0...largest)
    let maxField = try field.required("max_rank")
    maxRank = try maxField.int(in: 0...largest)
    guard maxRank >= minRank else { throw maxField.error("\"max_rank\" is \(maxRank), below \"min_rank\", \(minRank)") }
    let alphaField = try field.required("alpha")
    alpha = try alphaField.double
    guard Self.alphas ~= alpha else {
      throw alphaField.error("\"alpha\" is \(alphaField.value.compact()); expected a number from 1e-6 to 1e6")
    }
    let scalingField = try field.required("scaling")
    guard let scaling = Scaling(rawValue: try scalingField.string) else {
      throw scalingField.error("\"scaling\" is \"\(try scalingField.string)\"; expected \"rslora\", \"lora\" or \"constant\"")
    }
    self.scaling = scaling
    start = try field.optional("start")?.string
    _ = try field.optional("parameters")?.int
    _ = try field.optional("lora_parameters")?.int
    model = try FormatHeader.model(field)
    provenance = try FormatHeader.provenance(field)
    modules = []
    var seen: Set<String> = []
    for element in try field.required("modules").elements {
      try element.allowOnly(["name", "shape", "rank", "importance"])
      let name = try FormatHeader.name(element, seen: &seen)
      let shape = try FormatHeader.shape(element)
      let rank = try element.required("rank")
      let limit = min(shape[0], shape[1])
      guard 0...limit ~= (try rank.int) else {
        throw rank.error("rank \(try rank.int) of \"\(name)\"; expected 0 to \(limit), the smaller side of its shape \(shape)")
      }
      modules.append(
        Module(name: name, shape: shape, rank: try rank.int, importance: try element.optional("importance")?.double))
    }
    if modules.isEmpty { throw try field.required("modules").error("the plan has no modules") }
  }

  /// - Precondition: every number is finite.
  package var json: JSON {
    var members = [
      JSON.Member("format", JSON(Self.format)), JSON.Member("format_version", JSON(Self.formatVersion)),
      JSON.Member("reference_rank", JSON(referenceRank)), JSON.Member("min_rank", JSON(minRank)),
      JSON.Member("max_rank", JSON(maxRank)), JSON.Member("alpha", JSON(whole: alpha)),
      JSON.Member("scaling", JSON(scaling.rawValue)),
    ]
    if let start { members.append(JSON.Member("start", JSON(start))) }
    if let model { members.append(JSON.Member("model", JSON(model))) }
    members.append(JSON.Member("parameters", JSON(parameters)))
    members.append(JSON.Member("lora_parameters", JSON(loraParameters)))
    let entries: [JSON] = modules.map { module in
      var entry = [
        JSON.Member("name", JSON(module.name)), JSON.Member("shape", .integers(module.shape)),
        JSON.Member("rank", JSON(module.rank)),
      ]
      if let importance = module.importance { entry.append(JSON.Member("importance", JSON(importance))) }
      return JSON(.object(entry))
    }
    members.append(JSON.Member("modules", JSON(entries)))
    members.append(JSON.Member("provenance", provenance.json))
    return JSON(.object(members))
  }
}

import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-export: an adapter for other readers, or merged into its base as a full checkpoint.
package struct ExportStage {
  package enum Profile: String, CaseIterable, Sendable {
    case compact, padded, native, merged
  }

  package struct Configuration: Sendable {
    package var adapter: String
    package var model: String
    package var profile: Profile
    /// Fewer components: at most this many of each module.
    package var maxRank: Int?
    /// Fewer components: one threshold over all modules, so that this many parameters stay.
    package var keptParameters: ParameterBudget?
    package var output: String
    package var dryRun: Bool
    package var context: RunContext

    package init(
      adapter: String, model: String, profile: Profile, maxRank: Int? = nil, keptParameters: ParameterBudget? = nil,
      output: String, dryRun: Bool, context: RunContext
    ) {
      self.adapter = adapter
      self.model = model
      self.profile = profile
      self.maxRank = maxRank
      self.keptParameters = keptParameters
      self.output = output
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    guard c.keptParameters == nil || c.profile != .padded else {
      throw GoraError(
        .usage, "--keep-parameters does not go with --profile padded, which fills all modules up to the largest rank",
        hint: "--max-rank N, or another profile")
    }
    let profile = AdapterProfile(rawValue: c.profile.rawValue)
    if profile == nil, try CheckpointFiles(c.model).gguf != nil {
      throw GoraError(
        .usage, at: .file(c.model), "--profile merged writes a checkpoint folder, and this is a GGUF file",
        hint: "merge into the folder that it was made from, or load the adapter beside the GGUF file")
    }
    let names = profile == nil ? ModelFolder.fileNames(withCompanionsIn: c.model) : Adapter.fileNames
    try checkOutputs(names.map { "\(c.output)/\($0)" }, against: [c.adapter, c.model])
    let output = c.dryRun ? nil : try OutputFolder(path: c.output, files: names)
    try Matmul.open()
    var adapter = try Adapter(readingFolder: c.adapter).folded
    let model = try ModelFolder(path: c.model)
    adapter.taskType = try model.family.taskType
    try adapter.requireBase(ModelIdentity(of: model), folder: c.adapter)
    adapter.noteBase(of: nil, events)
    for module in adapter.modules {
      guard let weight = model.tensor(ModuleName.weight(of: module.name)) else {
        throw GoraError(.data, at: .file(c.adapter), "module \"\(module.name)\" is not in \(c.model)")
      }
      guard weight.shape == module.shape else {
        throw GoraError(
          .data, at: .file(c.adapter),
          "module \"\(module.name)\" has shape \(module.shape) in the adapter, \(weight.shape) in \(c.model)")
      }
    }
    var truncation: AdapterTruncation?
    if c.maxRank != nil || c.keptParameters != nil {
      let made = try AdapterTruncation(
        of: adapter, maxRank: c.maxRank, budget: c.keptParameters, keepsScaling: c.profile == .native, folder: c.adapter,
        events: events)
      adapter = made.adapter
      truncation = made
    }
    let parameters = c.profile == .merged ? model.totalParameters : adapter.parameters(in: c.profile)
    let content = "\(c.profile.rawValue) \(c.profile == .merged ? "checkpoint" : "adapter")"
    var json: [JSON.Member] = [
      JSON.Member("profile", JSON(c.profile.rawValue)), JSON.Member("modules", JSON(adapter.modules.count)),
      JSON.Member("parameters", JSON(parameters)),
    ]
    if let truncation { json.append(JSON.Member("truncation", truncation.json)) }
    var summary = StageSummary(
      line: "\(content), \(adapter.modules.count) modules, \(NumberText.count(parameters)) parameters"
        + (truncation.map { ", relative error \(NumberText.significant($0.error))" } ?? "") + " -> \(c.output)",
      details: truncation?.details ?? [], json: JSON(.object(json)))
    guard let output else {
      summary.line = "would write \(summary.line)"
      return summary
    }
    let provenance =
      c.context.recordsProvenance
      ? try c.context.exactProvenance(after: adapter.provenance, inputs: [c.adapter, c.model]) : nil
    if let profile {
      try adapter.write(to: output, profile: profile, baseModel: c.model, provenance: provenance)
    } else {
      try MergedCheckpoint(adapter: adapter, model: model).write(to: output, provenance: provenance, events: events)
    }
    return summary
  }
}

extension Adapter {
  /// Numbers that a profile stores.
  fileprivate func parameters(in profile: ExportStage.Profile) -> Int {
    guard profile == .padded, let largest = modules.map(\.rank).max() else { return parameters }
    return modules.reduce(0) { $0 + largest * ($1.shape[0] + $1.shape[1]) }
  }
}

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
    package var output: String
    package var dryRun: Bool
    package var context: RunContext

    package init(
      adapter: String, model: String, profile: Profile, output: String, dryRun: Bool, context: RunContext
    ) {
      self.adapter = adapter
      self.model = model
      self.profile = profile
      self.output = output
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    let profile = AdapterProfile(rawValue: c.profile.rawValue)
    let names = profile == nil ? ModelFolder.fileNames(withCompanionsIn: c.model) : Adapter.fileNames
    try checkOutputs(names.map { "\(c.output)/\($0)" }, against: [c.adapter, c.model])
    let output = c.dryRun ? nil : try OutputFolder(path: c.output, files: names)
    try Matmul.open()
    let adapter = try Adapter(readingFolder: c.adapter).folded
    let model = try ModelFolder(path: c.model)
    try adapter.requireBase(ModelIdentity(of: model), folder: c.adapter)
    adapter.noteBase(of: nil, events)
    for module in adapter.modules {
      guard let weight = model.tensor("\(module.name).weight") else {
        throw GoraError(.data, at: .file(c.adapter), "module \"\(module.name)\" is not in \(c.model)")
      }
      guard weight.shape == module.shape else {
        throw GoraError(
          .data, at: .file(c.adapter),
          "module \"\(module.name)\" has shape \(module.shape) in the adapter, \(weight.shape) in \(c.model)")
      }
    }
    let parameters = c.profile == .merged ? model.totalParameters : adapter.parameters(in: c.profile)
    let content = "\(c.profile.rawValue) \(c.profile == .merged ? "checkpoint" : "adapter")"
    var summary = StageSummary(
      line: "\(content), \(adapter.modules.count) modules, \(NumberText.count(parameters)) parameters -> \(c.output)",
      json: .object([
        "profile": JSON(c.profile.rawValue), "modules": JSON(adapter.modules.count), "parameters": JSON(parameters),
      ]))
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

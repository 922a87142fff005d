import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-export: an adapter for other readers, or merged into its base as a full checkpoint.
package struct ExportStage {
  package enum Profile: String, CaseIterable, Sendable {
    case ranked, compact, padded, native, gguf, merged
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
    /// Elements of a GGUF file's tensors that are written anew: F32, F16, of a merged one also BF16 and Q8_0; nil: F32 of an adapter, F16 of a
    /// merged model.
    package var outtype: DType?
    /// `base_model_name_or_path`; nil: where the base lies.
    package var baseModel: String?
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
    let base = try CheckpointFiles(c.model)
    let isFile = c.profile == .gguf || c.profile == .merged && base.gguf != nil
    try checkOuttype(isFile: isFile)
    let names = profile == nil ? try ModelFolder.fileNames(withCompanionsIn: c.model) : Adapter.fileNames
    if c.profile == .merged, !isFile { try ModelFolder.requireNoOther(in: c.output) }
    try checkOutputs(isFile ? [c.output] : names.map { "\(c.output)/\($0)" }, against: [c.adapter, c.model])
    let folder = c.dryRun || isFile ? nil : try OutputFolder(path: c.output, files: names)
    let file = c.dryRun || !isFile ? nil : try AtomicFile(path: c.output)
    try Matmul.open()
    var adapter = try Adapter(readingFolder: c.adapter).folded
    let model = try ModelFolder(base)
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
    let content = "\(c.profile.rawValue) \(c.profile == .merged ? (isFile ? "GGUF file" : "checkpoint") : "adapter")"
    var json: [JSON.Member] = [
      JSON.Member("profile", JSON(c.profile.rawValue)), JSON.Member("modules", JSON(adapter.modules.count)),
      JSON.Member("parameters", JSON(parameters)),
    ]
    if let truncation { json.append(JSON.Member("truncation", truncation.json)) }
    var summary = StageSummary(
      line: "\(content), \(adapter.modules.count) modules, \(NumberText.count(parameters)) parameters"
        + (truncation.map { ", relative error \(NumberText.significant($0.error))" } ?? "") + " -> \(c.output)",
      details: truncation?.details ?? [], json: JSON(.object(json)))
    if profile != nil, let largest = adapter.largestRank {
      if let allowed = AdapterReader.vLLMRank(for: largest) {
        events(.note("for vLLM: --max-lora-rank \(allowed)"))
      } else {
        events(.warning("the largest rank is \(largest); vLLM takes 512 at most"))
      }
    }
    if c.dryRun {
      summary.line = "would write \(summary.line)"
      return summary
    }
    let provenance =
      c.context.recordsProvenance
      ? try c.context.exactProvenance(after: adapter.provenance, inputs: [c.adapter, c.model]) : nil
    if let profile, let folder {
      let baseModel = AdapterBase.name(c.baseModel, earlier: adapter.baseModel, path: c.model)
      try adapter.write(to: folder, profile: profile, baseModel: baseModel, provenance: provenance)
    } else if let folder {
      try MergedCheckpoint(adapter: adapter, model: model).write(to: folder, provenance: provenance, events: events)
    } else if let file {
      let architecture = try architecture(of: model)
      if c.profile == .gguf {
        let tensors = base.gguf.map { Set($0.tensors.map(\.name)) } ?? Set(model.names.compactMap(architecture.ggufName))
        try adapter.writeGGUF(
          to: file, dtype: c.outtype ?? .f32, architecture: architecture, headSize: try DecoderConfig(of: model).headSize,
          tensors: tensors, provenance: provenance)
      } else if let gguf = base.gguf {
        try MergedGGUF(
          adapter: adapter, model: model, base: gguf, architecture: architecture, dtype: c.outtype ?? .f16
        ).write(to: file, provenance: provenance, events: events)
      }
      try file.commit()
    }
    return summary
  }

  /// - Throws: status 64 for a type that the output does not have.
  private func checkOuttype(isFile: Bool) throws(GoraError) {
    guard let type = configuration.outtype else { return }
    guard isFile else {
      throw GoraError(.usage, "--outtype goes with --profile gguf, and with merged where --model is a GGUF file")
    }
    guard configuration.profile == .merged || [.f32, .f16].contains(type) else {
      throw GoraError(.usage, "--outtype \(type.rawValue.lowercased()) goes with a merged GGUF file; an adapter has f32 or f16")
    }
  }

  /// What the base is to llama.cpp.
  private func architecture(of model: ModelFolder) throws(GoraError) -> GGUFArchitecture {
    if let gguf = model.files.gguf { return try GGUFArchitecture.of(gguf) }
    let type = try model.config.root.required("model_type")
    guard let architecture = GGUFArchitecture.of(modelType: try type.string) else {
      throw type.error(
        "is \"\(try type.string)\", which gora cannot write for llama.cpp",
        hint: "--profile ranked, then llama.cpp's own converter")
    }
    return architecture
  }
}

extension Adapter {
  fileprivate var largestRank: Int? { modules.map(\.rank).max() }

  /// Numbers that a profile stores.
  fileprivate func parameters(in profile: ExportStage.Profile) -> Int {
    guard profile == .padded, let largest = modules.map(\.rank).max() else { return parameters }
    return modules.reduce(0) { $0 + largest * ($1.shape[0] + $1.shape[1]) }
  }
}

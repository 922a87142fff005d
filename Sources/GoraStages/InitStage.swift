import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-init: plan.json + grad.h5 + model → a PEFT folder with the adapter before its first training step.
package struct InitStage {
  package struct Configuration: Sendable {
    /// plan.json, or `-` for standard input.
    package var plan: String
    package var model: String
    package var gradients: String?
    package var output: String
    package var start: any AdapterStart
    /// What is asked of a start that the plan names, which goes before `start`; nil where none does.
    package var ofPlannedStart: (settings: StartSettings, options: Set<StartOption>)?
    /// Choose the γ of a `GoRAStart` by trying; its own is not looked at then.
    package var gammaTrial: GammaTrialOptions?
    /// Factor on A, with B divided by it: the same start, other effective rates.
    package var scaleOfA: Double
    /// What stands beside the weight.
    package var kind: any AdapterKind.Type = LoRAKind.self
    package var dryRun: Bool
    /// `base_model_name_or_path` of the adapter; nil: where the base lies.
    package var baseModel: String?
    package var context: RunContext

    package init(
      plan: String, model: String, gradients: String?, output: String, start: any AdapterStart, dryRun: Bool,
      context: RunContext
    ) {
      self.plan = plan
      self.model = model
      self.gradients = gradients
      self.output = output
      self.start = start
      scaleOfA = 1
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    var c = configuration
    try checkOutputs(
      Adapter.fileNames.map { "\(c.output)/\($0)" },
      against: [c.plan, c.model] + (c.gradients.map { [$0] } ?? []) + (c.gammaTrial?.data.inputs ?? []))
    let output = c.dryRun ? nil : try OutputFolder(path: c.output, files: Adapter.fileNames)
    try Matmul.open()
    let document = try JSONDocument(
      path: c.plan == "-" ? "standard input" : c.plan, text: InputText.read(c.plan, limit: FileLimit.plan))
    let plan = try RankPlan(reading: document.root)
    if let asked = c.ofPlannedStart, let name = plan.start {
      c.start = try Self.start(named: name, asked, kind: c.kind, in: document)
    }
    if c.start.needsGradientFile, c.gradients == nil {
      throw GoraError(
        .usage, "this initialisation needs --gradients", hint: "give gora-grad's file, or --method lora for a plain start")
    }
    let model = try ModelFolder(path: c.model)
    let identity = try ModelIdentity(of: model)
    if let difference = plan.model.flatMap(identity.difference) {
      throw GoraError(
        .data, at: .file(document.path), "the plan is for \(difference)",
        hint: "give the --model it was made for, or plan again")
    }
    let gradients = try c.gradients.map { path throws(GoraError) in try GradientFileReader(path: path) }
    try gradients?.requireModel(identity)
    if c.start.matrix == .displacement, let gradients, !gradients.has(.displacement) {
      throw GoraError(
        .data, at: .file(gradients.path), "the file has no displacements",
        hint: "run gora-grad with --preset head-start")
    }
    let modules = plan.modules.filter { $0.rank > 0 }
    let layout = try c.kind.init(ranks: modules.map(\.rank)) { i throws(GoraError) in
      try Self.field("rank", of: modules[i], in: document)
    }
    let components = c.start.needs.contains(.inputs) ? try gradients?.requireInputs() ?? [] : []
    let weights = try modules.map { module throws(GoraError) in
      try self.weight(of: module, for: c.start, in: model, gradients: gradients, components: components, document: document)
    }
    let trial = try c.gammaTrial.map { options throws(GoraError) in
      try GammaTrial(options, model: c.model, seed: c.context.seed, threads: c.context.threads, events: events)
    }
    guard let output else {
      return StageSummary(
        line: "would start \(modules.count) adapters, \(NumberText.count(plan.parameters)) parameters "
          + "(\(NumberText.count(plan.parameters * (type(of: c.start).isResidual ? 8 : 4)))B) -> \(c.output)",
        json: .object(["modules": JSON(modules.count), "parameters": JSON(plan.parameters)]))
    }

    // Before the work: an input that changes meanwhile does not change what was read.
    let inputs = [c.plan, c.model] + (c.gradients.map { [$0] } ?? []) + (c.gammaTrial?.data.paths ?? [])
    // Losses, and with them γ, depend on the number of threads as those of gora-train do; all else does not.
    let provenance: Provenance? =
      if let trial {
        try c.context.provenance(after: plan.provenance, inputs: inputs, dtype: trial.dtype)
      } else if c.context.recordsProvenance {
        try c.context.exactProvenance(after: plan.provenance, inputs: inputs, seed: c.context.seed)
      } else {
        nil
      }

    // One gradient at a time; only the adapters are kept.
    var report = InitReport(start: c.start, modules: modules, diagnostics: [], parameters: plan.parameters)
    var start = c.start
    // A start with a step of γ = 1, of which every other step is made.
    var searched = trial == nil ? nil : start as? GoRAStart
    searched?.gamma = 1
    if let searched { start = searched }
    var starts: [AdapterFactors] = []
    for (i, module) in modules.enumerated() {
      var clock = Stopwatch()
      let input = try self.input(
        for: module, scaling: plan.factor(rank: module.rank), weight: weights[i], c.start, gradients, components)
      if let kind = c.start.matrix, i + 1 < modules.count {
        try gradients?.announce(ModuleName.weight(of: modules[i + 1].name), of: kind)
      }
      report.readSeconds += clock.seconds
      clock = Stopwatch()
      do throws(GoraError) { starts.append(try start.factors(for: input, seed: c.context.seed)) } catch {
        throw error.located(at: .object(c.gradients ?? c.model, name: " \(ModuleName.weight(of: module.name))"))
      }
      report.solveSeconds += clock.seconds
      events(.progress(stage: "initialising", done: i + 1, total: modules.count, unit: "modules"))
    }
    if let trial, var searched {
      let clock = Stopwatch()
      let search = try trial.search(zip(modules, starts).map { adapterModule($0, $1, plan) }, events: events)
      report.searchSeconds = clock.seconds
      report.search = (search, trial.rows.count)
      searched.gamma = search.best.gamma
      report.start = searched
      for i in starts.indices { starts[i] = starts[i].stepping(search.best.gamma) }
      if search.best.gamma == 0 { events(.warning("no step lowers the loss: gamma is 0, and the adapters start as B = 0")) }
    }
    report.diagnostics = starts.map(\.diagnostics)

    let isResidual = type(of: start).isResidual
    let adapters = try zip(zip(modules, starts), weights).map { pair, weight throws(GoraError) in
      let (module, factors) = pair
      var adapter = adapterModule(module, factors.balanced(c.scaleOfA), plan)
      adapter.vector = try c.kind.start(rank: adapter.rank, columns: module.shape[1]) { () throws(GoraError) in
        try Self.merged(adapter, beside: weight)
      }
      adapter.scaling = layout.scaling(alpha: adapter.scaling * Double(adapter.rank)) ?? adapter.scaling
      return isResidual ? adapter.residual(useRSLoRA: plan.scaling == .rslora) : adapter
    }
    let baseModel = AdapterBase.name(c.baseModel, path: c.model)
    var adapter = Adapter(modules: adapters, useRSLoRA: plan.scaling == .rslora, model: identity.text, baseModel: baseModel)
    adapter.layout = layout
    adapter.start = report.record
    adapter.taskType = try model.family.taskType
    try adapter.write(to: output, profile: .native, baseModel: baseModel, provenance: provenance)
    report.parameters = adapter.trainedParameters
    return report.summary(output: c.output)
  }

  /// The start that the plan names.
  /// - Throws: status 65 where there is none of the name, 64 where it does not understand an option or go with the kind of adapter.
  private static func start(
    named name: String, _ asked: (settings: StartSettings, options: Set<StartOption>), kind: any AdapterKind.Type,
    in document: JSONDocument
  ) throws(GoraError) -> any AdapterStart {
    guard let named = AdapterStarts.named(name) else {
      throw try document.root.required("start").error(
        "there is no start \"\(name)\"; there are: \(AdapterStarts.all.map { $0.name }.joined(separator: ", "))")
    }
    if let option = StartOption.allCases.first(where: { asked.options.contains($0) && !named.options.contains($0) }) {
      throw GoraError(
        .usage, "--\(option.rawValue) does not go with the start that the plan names, \(name)", hint: "name another with --method"
      )
    }
    guard kind.accepts(named) else {
      throw GoraError(
        .usage, "--adapter \(kind.name) does not go with the start that the plan names, \(name)",
        hint: "name another with --method")
    }
    return named.init(asked.settings)
  }

  /// What the start wants to see of a module. The weight is passed over once for its norm, and kept only where it is asked for.
  private func input(
    for module: RankPlan.Module, scaling: Double, weight: TensorView, _ start: any AdapterStart,
    _ gradients: GradientFileReader?, _ components: [InputComponents]
  ) throws(GoraError) -> AdapterModuleInput {
    let needs = start.needs
    var input = AdapterModuleInput(
      name: module.name, rows: module.shape[0], columns: module.shape[1], rank: module.rank, scaling: scaling)
    let name = ModuleName.weight(of: module.name)
    if needs.contains(.gradient), let gradients { input.gradient = try gradients.read(name) }
    if needs.contains(.displacement), let gradients { input.displacement = try gradients.read(name, of: .displacement) }
    if let gradients, let found = components.first(where: { $0.modules.contains(module.name) }) {
      input.components = try gradients.components(of: found, count: module.rank)
    }
    if needs.contains(.weight) { input.weight = try weight.toFloat() }
    if needs.contains(.weightNorm) { input.weightNorm = try Self.norm(of: weight) }
    return input
  }

  /// W + s·B₀·A₀.
  private static func merged(_ module: AdapterModule, beside weight: TensorView) throws(GoraError) -> [Float] {
    var values = try weight.toFloat()
    let (rows, columns) = (module.shape[0], module.shape[1])
    Merge.add(
      a: module.a, b: module.b, scaling: module.scaling, to: &values, rows: rows, columns: columns, rank: module.rank)
    return values
  }

  /// ‖W‖, from where the weight lies.
  private static func norm(of weight: TensorView) throws(GoraError) -> Double {
    let parameter = try Parameter(weight, precision: .f32)
    defer { withExtendedLifetime(parameter) {} }
    return FixedSum.squares(parameter.matrix).squareRoot()
  }

  private func adapterModule(_ module: RankPlan.Module, _ factors: AdapterFactors, _ plan: RankPlan) -> AdapterModule {
    AdapterModule(
      name: module.name, rank: module.rank, alpha: plan.alpha, scaling: plan.factor(rank: module.rank), shape: module.shape,
      a: factors.a, b: factors.b)
  }

  /// The weight that a module of the plan adapts.
  /// - Throws: status 65 where model, plan and gradients do not belong together.
  private func weight(
    of module: RankPlan.Module, for start: any AdapterStart, in model: ModelFolder, gradients: GradientFileReader?,
    components: [InputComponents], document: JSONDocument
  ) throws(GoraError) -> TensorView {
    let name = ModuleName.weight(of: module.name)
    guard let weight = model.tensor(name) else {
      throw try Self.field("name", of: module, in: document).error("module \"\(module.name)\" is not in \(model.path)")
    }
    guard weight.shape == module.shape else {
      throw try Self.field("shape", of: module, in: document).error(
        "module \"\(module.name)\" has shape \(module.shape) in the plan, \(weight.shape) in \(model.path)")
    }
    if let gradients, start.needs.contains(.inputs) {
      guard let found = components.first(where: { $0.modules.contains(module.name) }) else {
        throw GoraError(
          .data, at: .file(gradients.path), "no components of the inputs of \"\(module.name)\", which the plan adapts",
          hint: "run gora-grad with --targets that cover the plan")
      }
      _ = try found.weight(of: module.name, in: model, path: gradients.path)
      guard found.ratios.count >= module.rank else {
        throw try Self.field("rank", of: module, in: document).error(
          "\"\(module.name)\" has rank \(module.rank) in the plan, \(gradients.path) has \(found.ratios.count) components of its inputs",
          hint: "run gora-grad with --input-components \(module.rank)")
      }
    } else if let gradients {
      guard gradients.names.contains(name) else {
        throw GoraError(
          .data, at: .file(gradients.path), "no gradient of \"\(name)\", which the plan adapts",
          hint: "run gora-grad with --targets that cover the plan")
      }
      _ = try gradients.weight(name, of: model, kind: start.matrix ?? .mean)
    }
    return weight
  }
}

extension InitStage {
  /// A member of a module's entry in the plan, for its line and column.
  private static func field(
    _ key: String, of module: RankPlan.Module, in document: JSONDocument
  ) throws(GoraError) -> JSONField {
    for element in try document.root.required("modules").elements {
      let name = try element.required("name")
      if try name.string == module.name { return try element.required(key) }
    }
    return document.root
  }
}

extension AdapterStart {
  /// The matrix that it reads of a gradient file for each module; nil where it reads none.
  fileprivate var matrix: GradientKind? {
    needs.contains(.displacement) ? .displacement : needs.contains(.gradient) ? .mean : nil
  }
}

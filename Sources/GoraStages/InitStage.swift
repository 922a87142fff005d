import GoraCore
import GoraFormats
import GoraMethods

/// gora-init: plan.json + grad.h5 + model → a PEFT folder with the adapter before its first training step.
package struct InitStage {
  package struct Configuration: Sendable {
    /// plan.json, or `-` for standard input.
    package var plan: String
    package var model: String
    package var gradients: String?
    package var output: String
    package var method: InitialisationMethod
    package var dryRun: Bool
    package var context: RunContext

    /// - Throws: status 64 where the method needs gradients and there are none.
    package init(
      plan: String, model: String, gradients: String?, output: String, method: InitialisationMethod, dryRun: Bool,
      context: RunContext
    ) throws(GoraError) {
      if method.needsGradient, gradients == nil {
        throw GoraError(
          .usage, "this initialisation needs --gradients", hint: "give gora-grad's file, or --method lora for a plain start")
      }
      self.plan = plan
      self.model = model
      self.gradients = gradients
      self.output = output
      self.method = method
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try Matmul.open()
    let document = try JSONDocument(path: c.plan == "-" ? "standard input" : c.plan, text: InputText.read(c.plan))
    let plan = try RankPlan(reading: document.root)
    let model = try ModelFolder(path: c.model)
    if let made = plan.model, made != model.identity {
      throw GoraError(
        .data, at: .file(document.path), "the plan is for model \(made.prefix(12))…, \(c.model) is \(model.identity.prefix(12))…",
        hint: "give the --model it was made for, or plan again")
    }
    let gradients = try c.gradients.map { path throws(GoraError) in try GradientFileReader(path: path) }
    try gradients?.requireModel(model)
    let modules = plan.modules.filter { $0.rank > 0 }
    let weights = try modules.map { module throws(GoraError) in
      try self.weight(of: module, in: model, gradients: gradients, document: document)
    }
    if c.dryRun {
      return StageSummary(
        line: "would start \(modules.count) adapters, \(NumberText.count(plan.parameters)) parameters "
          + "(\(NumberText.count(plan.parameters * 4))B) -> \(c.output)",
        json: .object(["modules": JSON(modules.count), "parameters": JSON(plan.parameters)]))
    }

    var adapters: [AdapterModule] = []
    var diagnostics: [InitialisationDiagnostics?] = []
    for (i, module) in modules.enumerated() {
      let name = "\(module.name).weight"
      let scaling = plan.factor(rank: module.rank)
      var input = AdapterModuleInput(
        name: module.name, rows: module.shape[0], columns: module.shape[1], rank: module.rank, scaling: scaling)
      if c.method.needsGradient, let gradients {
        input.gradient = try gradients.read(name)
        // Read for ‖ΔW₀‖/‖W‖ even where the method does without.
        input.weight = weights[i].toFloat()
      } else if c.method.needsWeight {
        input.weight = weights[i].toFloat()
      }
      let factors: AdapterFactors
      do throws(GoraError) { factors = try c.method.factors(for: input, seed: c.context.seed) } catch {
        throw error.located(at: .object(c.gradients ?? c.model, name: " \(name)"))
      }
      adapters.append(
        AdapterModule(
          name: module.name, rank: module.rank, alpha: plan.alpha, scaling: scaling, shape: module.shape, a: factors.a,
          b: factors.b))
      diagnostics.append(factors.diagnostics)
      events(.progress(stage: "initialising", done: i + 1, total: modules.count, unit: "modules"))
    }
    let inputs = [c.plan, c.model] + (c.gradients.map { [$0] } ?? [])
    let adapter = Adapter(modules: adapters, useRSLoRA: plan.scaling == .rslora, model: model.identity, baseModel: c.model)
    try adapter.write(
      folder: c.output, profile: .native, baseModel: c.model,
      provenance: c.context.recordsProvenance
        ? try c.context.exactProvenance(after: plan.provenance, inputs: inputs, seed: c.context.seed) : nil)
    return InitReport(modules: modules, diagnostics: diagnostics, parameters: adapter.parameters, output: c.output).summary
  }

  /// The weight that a module of the plan adapts.
  /// - Throws: status 65 where model, plan and gradients do not belong together.
  private func weight(
    of module: RankPlan.Module, in model: ModelFolder, gradients: GradientFileReader?, document: JSONDocument
  ) throws(GoraError) -> TensorView {
    let name = "\(module.name).weight"
    guard let weight = model.tensor(name) else {
      throw GoraError(.data, at: .file(document.path), "module \"\(module.name)\" is not in \(model.path)")
    }
    guard weight.shape == module.shape else {
      throw GoraError(
        .data, at: .file(document.path),
        "module \"\(module.name)\" has shape \(module.shape) in the plan, \(weight.shape) in \(model.path)")
    }
    if let gradients {
      guard gradients.names.contains(name) else {
        throw GoraError(
          .data, at: .file(gradients.path), "no gradient of \"\(name)\", which the plan adapts",
          hint: "run gora-grad with --targets that cover the plan")
      }
      _ = try gradients.weight(name, of: model)
    }
    return weight
  }
}

extension RankPlan {
  /// s in ΔW = s·B·A: α/√r or α/r.
  func factor(rank: Int) -> Double {
    switch scaling {
    case .rslora: alpha / Double(rank).squareRoot()
    case .lora: alpha / Double(rank)
    }
  }
}

/// What gora-init says of the adapters it made.
private struct InitReport {
  let modules: [RankPlan.Module]
  let diagnostics: [InitialisationDiagnostics?]
  let parameters: Int
  let output: String

  var summary: StageSummary {
    let known = diagnostics.compactMap { $0 }
    var line = "\(modules.count) adapters, \(NumberText.count(parameters)) parameters"
    var members = [
      JSON.Member("modules", JSON(modules.count)), JSON.Member("parameters", JSON(parameters)),
    ]
    var details: [String] = []
    if let mean = InitialisationDiagnostics.mean(known, weighted: false),
      let weighted = InitialisationDiagnostics.mean(known, weighted: true)
    {
      line += ", captured \(NumberText.significant(mean.captured)), cosine \(NumberText.significant(mean.cosine))"
      line += ", norm ratio \(NumberText.significant(mean.normRatio))"
      if let relative = mean.relativeUpdate { line += ", update/weight \(NumberText.significant(relative))" }
      members.append(JSON.Member("mean", json(mean)))
      members.append(JSON.Member("gradient_weighted_mean", json(weighted)))
      members.append(
        JSON.Member(
          "by_module",
          JSON(.object(zip(modules, diagnostics).compactMap { module, d in d.map { JSON.Member(module.name, json($0)) } }))))
      details.append("  rank  captured    cosine  norm ratio  residual  update/weight  module")
      for (module, d) in zip(modules, diagnostics) { if let d { details.append(row(String(module.rank), d, module.name)) } }
      details.append(row("", mean, "mean"))
      details.append(row("", weighted, "mean weighted by gradient energy"))
    }
    return StageSummary(line: "\(line) -> \(output)", details: details, json: JSON(.object(members)))
  }

  private func row(_ rank: String, _ d: InitialisationDiagnostics, _ name: String) -> String {
    func column(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
    return column(rank, 6) + column(NumberText.significant(d.captured), 10) + column(NumberText.significant(d.cosine), 10)
      + column(NumberText.significant(d.normRatio), 12) + column(NumberText.significant(d.residual), 10)
      + column(d.relativeUpdate.map { NumberText.significant($0) } ?? "", 15) + "  " + name
  }

  private func json(_ d: InitialisationDiagnostics) -> JSON {
    var members = [
      JSON.Member("captured", JSON(d.captured)), JSON.Member("cosine", JSON(d.cosine)),
      JSON.Member("norm_ratio", JSON(d.normRatio)), JSON.Member("residual", JSON(d.residual)),
    ]
    if let relative = d.relativeUpdate { members.append(JSON.Member("relative_update", JSON(relative))) }
    return JSON(.object(members))
  }
}

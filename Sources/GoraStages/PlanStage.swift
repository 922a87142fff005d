import GoraCore
import GoraFormats
import GoraMethods
import GoraModels

/// gora-plan: scores → plan.json, or a plain LoRA from the model's config.json alone.
package struct PlanStage {
  /// What is planned from.
  package enum Source: Sendable {
    /// scores.json, or `-` for standard input.
    case scores(String)
    /// The same rank everywhere.
    case uniform(model: String, targets: TargetSelection)

    var path: String {
      switch self {
      case .scores(let path): path
      case .uniform(let model, _): model
      }
    }
  }

  package enum Format: String, CaseIterable, Sendable {
    case json, table, peft
  }

  package struct Configuration: Sendable {
    package var source: Source
    package var allocation: RankAllocation
    /// What gora-init is to start the plan with, where that is not GoRA.
    package var start: String?
    /// Share out by explained variance, up to the allocation's largest rank; the rest of it is not looked at then.
    package var poolsExplainedVariance = false
    package var alpha: Double
    package var scaling: RankPlan.Scaling
    package var format: Format
    package var output: OutputTarget
    /// Whether tables may use Unicode.
    package var unicode: Bool
    package var dryRun: Bool
    package var context: RunContext

    package init(
      source: Source, allocation: RankAllocation, alpha: Double, scaling: RankPlan.Scaling, format: Format,
      output: OutputTarget, unicode: Bool, dryRun: Bool, context: RunContext
    ) {
      self.source = source
      self.allocation = allocation
      self.alpha = alpha
      self.scaling = scaling
      self.format = format
      self.output = output
      self.unicode = unicode
      self.dryRun = dryRun
      self.context = context
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try checkOutputs(c.output.paths, against: [c.source.path])
    let output = c.dryRun ? nil : try c.output.open()
    let (plan, eranks) = try plan()
    let step = plan.modules.reduce(0) { max($0, $1.shape[0] + $1.shape[1]) }
    if c.allocation.budget == .exact, abs(plan.parameters - plan.loraParameters) >= step {
      events(
        .warning(
          "the bounds on ranks keep the budget from being met: \(plan.parameters) parameters, "
            + "\(plan.loraParameters) in plain LoRA"))
    }
    let ranks = plan.modules.map(\.rank)
    let dropped = ranks.count { $0 == 0 }
    if dropped > 0 { events(.note("\(dropped) modules get rank 0, that is no adapter")) }

    let range = TableText.range(ranks, unicode: c.unicode)
    var summary = StageSummary(
      line: "\(ranks.count) modules, \(NumberText.count(plan.parameters)) parameters, rank \(range)",
      json: .object([
        "modules": JSON(ranks.count), "parameters": JSON(plan.parameters), "lora_parameters": JSON(plan.loraParameters),
        "lowest_rank": JSON(ranks.min() ?? 0), "highest_rank": JSON(ranks.max() ?? 0),
      ]))
    if c.dryRun {
      summary.line = "would plan \(summary.line)\(c.output.arrow)"
      return summary
    }
    let text =
      switch c.format {
      case .json: plan.json.pretty()
      case .peft: PEFTConfigText.text(plan)
      case .table:
        PlanTable(
          plan: plan,
          title: "\(ranks.count) modules, rank \(range), \(plan.scaling.rawValue), "
            + "alpha \(NumberText.significant(plan.alpha, 6))",
          eranks: eranks, unicode: c.unicode
        ).text()
      }
    summary.output = try output?.deliver(text)
    summary.line += c.output.arrow
    return summary
  }

  /// The plan, and the effective rank of each module's gradient where the scores have it.
  private func plan() throws(GoraError) -> (RankPlan, eranks: [Double?]) {
    let c = configuration
    switch c.source {
    case .scores(let path):
      let document = try JSONDocument(
        path: path == "-" ? "standard input" : path, text: InputText.read(path, limit: FileLimit.plan))
      let table = try ScoreTable(reading: document.root)
      let candidates = table.modules.map {
        RankCandidate(name: $0.name, rows: $0.shape[0], columns: $0.shape[1], advantage: $0.advantage)
      }
      do throws(GoraError) {
        let ranks =
          c.poolsExplainedVariance
          ? try ExplainedVarianceAllocation(referenceRank: c.allocation.referenceRank, maxRank: c.allocation.maxRank)
            .ranks(for: candidates, ratios: table.modules.map(\.explainedVariance)) : try c.allocation.ranks(for: candidates)
        let provenance = try c.context.exactProvenance(after: table.provenance, inputs: [path])
        let importances = table.modules.map(\.importance)
        return (
          assemble(candidates, ranks, importances, model: table.model, provenance: provenance), table.modules.map(\.erank)
        )
      } catch {
        throw error.located(at: .file(document.path))
      }
    case .uniform(let model, let targets):
      let config = try ModelFamilies.config(reading: CheckpointFiles(model).config)
      let modules = config.linearModules
      let selected = try targets.selected(of: modules.map(\.name))
      let candidates = modules.filter { selected.contains($0.name) }.map {
        RankCandidate(name: $0.name, rows: $0.shape[0], columns: $0.shape[1], advantage: 0)
      }
      let provenance = try c.context.exactProvenance(after: nil, inputs: [model])
      let ranks = c.allocation.uniformRanks(for: candidates)
      return (assemble(candidates, ranks, nil, model: nil, provenance: provenance), [])
    }
  }

  private func assemble(
    _ candidates: [RankCandidate], _ ranks: [Int], _ importances: [Double]?, model: String?, provenance: Provenance
  ) -> RankPlan {
    let allocation = configuration.allocation
    var plan = RankPlan(
      referenceRank: allocation.referenceRank, minRank: allocation.minRank, maxRank: allocation.maxRank,
      alpha: configuration.alpha, scaling: configuration.scaling, model: model,
      modules: candidates.indices.map { i in
        RankPlan.Module(
          name: candidates[i].name, shape: [candidates[i].rows, candidates[i].columns], rank: ranks[i],
          importance: importances?[i])
      },
      provenance: provenance)
    plan.start = configuration.start
    return plan
  }
}

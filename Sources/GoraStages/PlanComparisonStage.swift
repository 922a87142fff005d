import GoraCore
import GoraFormats

/// gora-plan --compare: two plans → how they differ.
package struct PlanComparisonStage {
  package struct Configuration: Sendable {
    /// plan.json, or `-` for standard input, which only one of the two can be.
    package var first: String
    package var second: String
    package var format: PlanStage.Format
    package var output: OutputTarget
    /// Whether tables may use Unicode.
    package var unicode: Bool
    package var dryRun: Bool

    /// - Throws: status 64 where both plans are standard input or the format is no table and no JSON.
    package init(
      first: String, second: String, format: PlanStage.Format, output: OutputTarget, unicode: Bool, dryRun: Bool
    ) throws(GoraError) {
      if first == "-", second == "-" { throw GoraError(.usage, "both plans are standard input") }
      if format == .peft { throw GoraError(.usage, "--compare with --format peft; expected table or json") }
      self.first = first
      self.second = second
      self.format = format
      self.output = output
      self.unicode = unicode
      self.dryRun = dryRun
    }
  }

  private let configuration: Configuration

  package init(_ configuration: Configuration) { self.configuration = configuration }

  package func run(events: EventHandler) throws(GoraError) -> StageSummary {
    let c = configuration
    try checkOutputs(c.output.paths, against: [c.first, c.second])
    let output = c.dryRun ? nil : try c.output.open()
    let first = try plan(c.first)
    let second = try plan(c.second)
    if let one = first.model, let other = second.model, one != other {
      events(.warning("the plans are for different models, \(one.prefix(12))… and \(other.prefix(12))…"))
    }
    let comparison: PlanComparison
    do throws(GoraError) { comparison = try PlanComparison(first, second) } catch { throw error.located(at: .file(c.second)) }
    let changed = comparison.changed.count
    var summary = StageSummary(
      line: "\(changed) of \(comparison.modules.count) modules differ, \(NumberText.count(first.parameters)) parameters against "
        + NumberText.count(second.parameters),
      json: .object([
        "modules": JSON(comparison.modules.count), "changed": JSON(changed),
        "parameters": .integers([first.parameters, second.parameters]),
      ]))
    if c.dryRun {
      summary.line = "would compare: \(summary.line)\(c.output.arrow)"
      return summary
    }
    let text =
      c.format == .json
      ? comparison.json.pretty() : comparison.table(names: (label(c.first), label(c.second)), unicode: c.unicode)
    summary.output = try output?.deliver(text)
    summary.line += c.output.arrow
    return summary
  }

  private func plan(_ path: String) throws(GoraError) -> RankPlan {
    try RankPlan(reading: JSONDocument(path: label(path), text: InputText.read(path, limit: FileLimit.plan)).root)
  }

  private func label(_ path: String) -> String { path == "-" ? "standard input" : path }
}

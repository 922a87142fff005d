import GoraCore
import GoraFormats
import GoraModels

/// How the number of components falls in AdaLoRA (Zhang et al. 2023, section 3.3; PEFT `tuners/adalora/layer.py`): all of them for `first`
/// steps, then along a cube down to the target, which is reached `last` steps before the end and stays.
package struct RankSchedule: Sendable, Equatable, CustomStringConvertible {
  package let config: AdaLoRAKind
  package let steps: Int
  /// Steps without any choice.
  package let first: Int
  /// Steps at the end without any further choice.
  package let last: Int

  /// Shares of the run where neither the adapter nor the user says: those of the authors' example (500 and 1500 of 3000 steps).
  static let standardShares = (first: 6, last: 2)

  /// - Throws: status 64 where the schedule ends before it begins or anything is measured, or the target is no less than what it begins with.
  package init(_ config: AdaLoRAKind, steps: Int) throws(GoraError) {
    self.config = config
    self.steps = steps
    first = config.initialSteps ?? steps / Self.standardShares.first
    last = config.finalSteps ?? steps / Self.standardShares.last
    guard first < steps - last else {
      throw GoraError(
        .usage, "the rank schedule ends before it begins: --tinit \(first) and --tfinal \(last) of \(steps) steps",
        hint: "their sum must be less than the steps of the run")
    }
    guard steps - last > 1 else {
      throw GoraError(
        .usage,
        "the last choice of components, --tfinal \(last) of \(steps) steps before the end, comes before anything is measured",
        hint: "give the run more steps, or a smaller --tfinal")
    }
    guard config.targetRank < config.initialRank else {
      throw GoraError(
        .usage, "the target rank is \(config.targetRank), the adapter's own \(config.initialRank): there is nothing to leave out",
        hint: "give a smaller --target-rank, or begin with a larger rank")
    }
  }

  /// All that decides what it does.
  package var description: String {
    "target \(config.targetRank) after \(first) until \(steps - last) every \(config.interval) betas \(config.beta1) \(config.beta2) "
      + "orthogonal \(config.orthogonalWeight)"
  }

  package enum Phase: Sendable, Equatable {
    /// Importances are measured, nothing is chosen.
    case measuring
    /// The most important components, so many in all, stay from now on.
    case choosing(Int)
    /// The same as the last, and nothing is measured any more.
    case settling(Int)
    /// What was chosen stays chosen.
    case settled
  }

  /// What comes after step `t`, 1 for the first.
  package func phase(_ t: Int, modules: Int) -> Phase {
    let (all, target) = (config.initialRank * modules, config.targetRank * modules)
    if t > steps - last { return .settled }
    if t == steps - last { return .settling(target) }
    if t <= first || t % config.interval != 0 { return .measuring }
    let rest = 1 - Double(t - first) / Double(steps - last - first)
    return .choosing(Int(Double(all - target) * (rest * rest * rest) + Double(target)))
  }
}

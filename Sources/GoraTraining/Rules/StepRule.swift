import GoraCore
import GoraModels

/// What a training step does with adapters between their gradients and their next values: which factors learn, what becomes of the
/// gradients, and which optimizer takes them. A new one is a file beside this and a line in `all`.
package protocol StepRule: Sendable {
  /// `--rule` of gora-train.
  static var name: String { get }
  /// B's rate over A's where none is given.
  static var standardRatio: Double { get }
  static func trains(_ kind: any AdapterKind.Type) -> Bool
  /// Starts of gora-init whose adapters it trains where no rule is given.
  static var starts: Set<String> { get }
  /// The factors that learn.
  static func learns(_ adapter: LowRankAdapter) -> [Parameter]
  /// Floats of moments, which a checkpoint keeps beside the values: by default two for each that learns.
  static func stateFloats(_ adapters: [LowRankAdapter]) -> Int
  /// Floats that an update takes besides.
  static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int
  static func optimizer(_ adapters: [LowRankAdapter], _ settings: StepSettings) -> any Optimizer
}

/// What a rule is told of a run.
package struct StepSettings: Sendable {
  /// B's rate over A's.
  package var ratio: Double
  package var weightDecay: Double
  /// How the number of components falls, for AdaLoRA.
  package var ranks: RankSchedule?

  package init(ratio: Double, weightDecay: Double, ranks: RankSchedule? = nil) {
    (self.ratio, self.weightDecay, self.ranks) = (ratio, weightDecay, ranks)
  }

  var adamW: AdamW.Settings { AdamW.Settings(weightDecay: Float(weightDecay)) }
}

extension StepRule {
  package static func trains(_ kind: any AdapterKind.Type) -> Bool { !kind.hasOwnRule }
  package static var starts: Set<String> { [] }
  package static func learns(_ adapter: LowRankAdapter) -> [Parameter] { adapter.parameters }
  package static func stateFloats(_ adapters: [LowRankAdapter]) -> Int {
    2 * adapters.reduce(0) { sum, adapter in learns(adapter).reduce(sum) { $0 + $1.count } }
  }
  package static func scratchFloats(_ adapters: [LowRankAdapter]) -> Int { 0 }
}

/// All rules, the default first.
package enum StepRules {
  package static let all: [any StepRule.Type] = [
    AdamWRule.self,
    LoRAFARule.self,
    ProjectedLoRAFARule.self,
    LoRAProRule.self,
    LightLoRAProRule.self,
    SOAPRule.self,
    AdaLoRARule.self,
  ]

  /// The first that trains such adapters, those of the rule's own starts before others.
  /// - Parameter start: what the adapter's record calls its start.
  package static func standard(for kind: any AdapterKind.Type, start: String? = nil) -> any StepRule.Type {
    let able = all.filter { $0.trains(kind) }
    return able.first { rule in start.map(rule.starts.contains) ?? false } ?? able.first ?? AdamWRule.self
  }
}

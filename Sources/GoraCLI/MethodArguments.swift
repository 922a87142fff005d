import ArgumentParser
import GoraCore
import GoraMethods
import GoraModels
import GoraTraining

// The choices of the methods as option values: their names in files are their names on the command line.
extension MetricBlend: ExpressibleByArgument {
  package init?(argument: String) { self.init(argument) }
  package var defaultValueDescription: String { name }
  package static var allValueStrings: [String] { ImportanceMetric.allCases.map(\.rawValue) }
}
extension Normalisation: ExpressibleByArgument {}
extension AllocationPreset: ExpressibleByArgument {}
extension BudgetFeature: ExpressibleByArgument {}
extension RankRounding: ExpressibleByArgument {}
extension BudgetRule: ExpressibleByArgument {}
extension DownProjection: ExpressibleByArgument {}
extension GradientDirections: ExpressibleByArgument {}
extension GradientScale: ExpressibleByArgument {}
extension LoRAGAStart.Variant: ExpressibleByArgument {}

/// A start by its name.
package struct StartName: ExpressibleByArgument {
  package let type: any AdapterStart.Type

  package init(_ type: any AdapterStart.Type) { self.type = type }
  package init?(argument: String) {
    guard let type = AdapterStarts.named(argument) else { return nil }
    self.type = type
  }

  package var defaultValueDescription: String { type.name }
  package static var allValueStrings: [String] { AdapterStarts.all.map { $0.name } }
}

/// A kind of adapter by its name.
package struct AdapterKindName: ExpressibleByArgument {
  package let type: any AdapterKind.Type

  package init?(argument: String) {
    guard let type = AdapterKinds.all.first(where: { $0.name == argument }) else { return nil }
    self.type = type
  }

  package var defaultValueDescription: String { type.name }
  package static var allValueStrings: [String] { AdapterKinds.all.map { $0.name } }
}

/// A step rule by its name.
package struct StepRuleName: ExpressibleByArgument {
  package let type: any StepRule.Type

  package init(_ type: any StepRule.Type) { self.type = type }
  package init?(argument: String) {
    guard let type = StepRules.all.first(where: { $0.name == argument }) else { return nil }
    self.type = type
  }

  package var defaultValueDescription: String { type.name }
  package static var allValueStrings: [String] { StepRules.all.map { $0.name } }
}

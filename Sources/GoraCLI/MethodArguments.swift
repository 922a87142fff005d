import ArgumentParser
import GoraCore
import GoraMethods

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

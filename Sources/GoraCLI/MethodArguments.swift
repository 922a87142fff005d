import ArgumentParser
import GoraCore
import GoraMethods

// The choices of the methods as option values: their names in files are their names on the command line.
extension ImportanceMetric: ExpressibleByArgument {}
extension BudgetFeature: ExpressibleByArgument {}
extension RankRounding: ExpressibleByArgument {}
extension BudgetRule: ExpressibleByArgument {}
extension DownProjection: ExpressibleByArgument {}

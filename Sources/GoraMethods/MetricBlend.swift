import GoraCore

/// One metric, or several whose shares are averaged (the authors' code has pairs of them).
package struct MetricBlend: Sendable, Equatable {
  /// At least one.
  package let metrics: [ImportanceMetric]

  package init(_ metric: ImportanceMetric) { metrics = [metric] }

  /// `sensitivity`, or names joined as in `sensitivity+gradient-nuclear-estimate`; nil where one is unknown.
  package init?(_ name: String) {
    let parts = name.split(separator: "+", omittingEmptySubsequences: false).map { ImportanceMetric(rawValue: String($0)) }
    let known = parts.compactMap { $0 }
    guard known.count == parts.count, !known.isEmpty else { return nil }
    metrics = known
  }

  /// As `init(_:)` reads it.
  package var name: String { metrics.map(\.rawValue).joined(separator: "+") }

  package var decomposes: Bool { metrics.contains { $0.decomposes } }
  /// Whether one of the metrics is computed of this.
  package func looks(at evidence: ImportanceMetric.Evidence) -> Bool { metrics.contains { $0.evidence == evidence } }
  package var estimates: Bool { metrics.contains { $0.estimates } }
}

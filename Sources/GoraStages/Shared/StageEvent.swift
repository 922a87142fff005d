/// What a running stage tells its caller; the command line decides whether and how to show it.
package enum StageEvent: Sendable {
  /// How far the stage is.
  ///
  /// - stage: a word or two for people (`"gradients"`, `"training"`).
  /// - done, total: counts in `unit` (`"batches"`, `"modules"`); total is nil where it is not known beforehand.
  /// - rate: a speed worth showing beside the count's own (`"tokens/s"`), nil for none.
  /// - loss: the latest training loss, nil where there is none.
  /// - state: what else there is to say of the run now, nil for nothing.
  case progress(
    stage: String, done: Int, total: Int?, unit: String, rate: StageRate? = nil, loss: Double? = nil, state: String? = nil)
  /// What everybody should know of the run, unless `-q`: how rows are read, say.
  case information(String)
  /// A line for those who ask with `-v`.
  case note(String)
  /// A line everybody sees unless `-q`.
  case warning(String)
}

/// A speed with its unit: `12.5 k tokens/s`.
package struct StageRate: Sendable, Equatable {
  package var value: Double
  package var unit: String

  package init(_ value: Double, _ unit: String) {
    self.value = value
    self.unit = unit
  }
}

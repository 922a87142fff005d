/// The speed of a run once it is warm: its first step pays for page faults and for memory that is touched for the first time.
struct StepRates {
  private var rates: [Double] = []
  private var hasStarted = false

  /// Takes in one step's tokens and its seconds.
  mutating func append(tokens: Int, seconds: Double) {
    if hasStarted { rates.append(Double(tokens) / max(seconds, 1e-9)) }
    hasStarted = true
  }

  /// Median tokens a second of the steps after the first; nil where there was none.
  var steady: Double? {
    if rates.isEmpty { return nil }
    let sorted = rates.sorted()
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }
}

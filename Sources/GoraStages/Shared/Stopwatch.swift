/// Seconds since it was made.
struct Stopwatch {
  private let start = ContinuousClock.now
  var seconds: Double {
    let elapsed = start.duration(to: .now).components
    return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
  }
}

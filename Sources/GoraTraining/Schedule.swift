import Glibc

/// The learning rate by step: linear warm-up, then a decay to a floor (methods of the GoRA paper, section 4).
package struct Schedule: Sendable, Equatable {
  package enum Shape: String, Sendable, CaseIterable {
    case cosine, linear, constant
  }
  package var shape: Shape
  /// Rate at the top.
  package var peak: Double
  /// Steps in all.
  package var steps: Int
  /// Steps of warm-up: ⌈ratio·steps⌉.
  package var warmup: Int
  /// Last rate as a share of the peak.
  package var floor: Double

  package init(shape: Shape, peak: Double, steps: Int, warmupRatio: Double, floor: Double) {
    self.shape = shape
    self.peak = peak
    self.steps = steps
    self.floor = floor
    warmup = min(steps, Int((warmupRatio * Double(steps)).rounded(.up)))
  }

  /// The same course in fewer steps, at another peak.
  package func shortened(to steps: Int, peak: Double) -> Schedule {
    var schedule = self
    schedule.peak = peak
    schedule.steps = steps
    schedule.warmup = min(steps, Int((Double(warmup) * Double(steps) / Double(max(1, self.steps))).rounded(.up)))
    return schedule
  }

  /// - Parameter step: 0 for the first update; the first step of a warm-up already learns.
  package func rate(at step: Int) -> Double {
    if step < warmup { return peak * Double(step + 1) / Double(warmup) }
    let progress = Double(step - warmup) / Double(max(1, steps - warmup - 1))
    switch shape {
    case .constant: return peak
    case .linear: return peak * (1 - (1 - floor) * min(1, progress))
    case .cosine: return peak * (floor + (1 - floor) * (1 + cos(.pi * min(1, progress))) / 2)
    }
  }
}

import GoraTraining
import Testing

/// Values worked out by hand.
@Suite struct ScheduleTests {
  static func rates(_ schedule: Schedule) -> [Double] { (0..<schedule.steps).map { schedule.rate(at: $0) } }

  static func expect(_ rates: [Double], _ expected: [Double]) {
    #expect(rates.count == expected.count)
    for (rate, value) in zip(rates, expected) { #expect(abs(rate - value) < 1e-12) }
  }

  /// Warm-up of ⌈0.2·10⌉ = 2 steps, then from the peak to its tenth in the eight that are left.
  @Test func linear() {
    let schedule = Schedule(shape: .linear, peak: 1, steps: 10, warmupRatio: 0.2, floor: 0.1)
    Self.expect(Self.rates(schedule), [0.5, 1] + (0...7).map { 1 - 0.9 * Double($0) / 7 })
  }

  /// cos over half a turn: 1, ¾, ¼, 0 at thirds.
  @Test func cosine() {
    let schedule = Schedule(shape: .cosine, peak: 2, steps: 5, warmupRatio: 0.2, floor: 0.1)
    Self.expect(Self.rates(schedule), [2, 2, 2 * (0.1 + 0.9 * 0.75), 2 * (0.1 + 0.9 * 0.25), 0.2])
    let bare = Schedule(shape: .cosine, peak: 1, steps: 3, warmupRatio: 0, floor: 0)
    Self.expect(Self.rates(bare), [1, 0.5, 0])
  }

  @Test func constant() {
    let schedule = Schedule(shape: .constant, peak: 3, steps: 6, warmupRatio: 0.5, floor: 0)
    Self.expect(Self.rates(schedule), [1, 2, 3, 3, 3, 3])
  }

  /// ⌈ratio·steps⌉, and at most all steps.
  @Test(arguments: [(100, 0.03, 3), (101, 0.03, 4), (10, 0, 0), (1, 0.03, 1), (10, 1, 10)])
  func warmup(steps: Int, ratio: Double, expected: Int) {
    #expect(Schedule(shape: .cosine, peak: 1, steps: steps, warmupRatio: ratio, floor: 0.1).warmup == expected)
  }

  /// Never above the peak, never zero while warming up, and it ends on the floor.
  @Test(arguments: Schedule.Shape.allCases, [1, 2, 3, 50]) func bounds(_ shape: Schedule.Shape, steps: Int) {
    for ratio in [0, 0.03, 0.5, 1] {
      let schedule = Schedule(shape: shape, peak: 0.5, steps: steps, warmupRatio: ratio, floor: 0.1)
      let rates = Self.rates(schedule)
      #expect(rates.allSatisfy { $0 > 0 && $0 <= 0.5 + 1e-15 })
      if shape != .constant, steps - schedule.warmup > 1 { #expect(abs((rates.last ?? 0) - 0.05) < 1e-12) }
    }
  }
}

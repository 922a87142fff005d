import Foundation
import GoraCore
import GoraTraining
import Testing

/// Which courses of a loss are called a rise.
@Suite struct LossWatchTests {
  /// The first rise in a run with these losses.
  static func rise(steps: Int, _ loss: (Int) -> Double) -> LossWatch.Rise? {
    var watch = LossWatch(steps: steps)
    return rise(after: 0, of: steps, &watch, loss)
  }

  static func rise(after first: Int, of steps: Int, _ watch: inout LossWatch, _ loss: (Int) -> Double) -> LossWatch.Rise? {
    for step in first + 1...steps {
      if let rise = watch.add(loss(step)) { return rise }
    }
    return nil
  }

  /// Noise of this deviation for every step.
  static func noise(_ deviation: Double, seed: UInt64 = 1) -> (Int) -> Double {
    var random = Random(seed: seed, stream: "noise")
    let values = (0..<2000).map { _ in deviation * random.normal() }
    return { values[$0] }
  }

  /// From 2 down to 0.5, and from step 100 on up by a hundredth a step: half of what was gained is lost at 1.25, of the mean over a window.
  @Test func halfOfTheGain() throws {
    let found = try #require(
      Self.rise(steps: 400) { $0 <= 50 ? 2 - 0.03 * Double($0) : $0 <= 100 ? 0.5 : 0.5 + 0.01 * Double($0 - 100) })
    // Windows of ten steps. The first has the mean 1.835; half the way back is at 1.1675, step 167; that of 171 to 180 is above.
    #expect(found.from.steps == 51...60 && abs(found.from.mean - 0.5) < 1e-9)
    #expect(found.to.steps == 171...180 && abs(found.to.mean - 1.255) < 1e-9)
  }

  /// What healthy runs do: fall, level off with much noise, come down from a start that a warm-up first disturbs, or have nothing to gain.
  @Test(arguments: 0..<8) func healthy(seed: UInt64) {
    let noise = Self.noise(0.4, seed: seed)
    #expect(Self.rise(steps: 1000) { 1 + 2 * exp(-Double($0) / 100) + noise($0) } == nil)
    #expect(Self.rise(steps: 1000) { 1.5 + noise($0) } == nil)
    #expect(Self.rise(steps: 300) { 2 + 0.15 * exp(-pow(Double($0 - 30) / 10, 2)) - 0.002 * Double($0) + noise($0) / 4 } == nil)
    #expect(Self.rise(steps: 40) { 1 + noise($0) } == nil)
  }

  /// What rates that are too high do: up from the beginning, or after a while, also under noise.
  @Test(arguments: 0..<8) func diverging(seed: UInt64) throws {
    let noise = Self.noise(0.3, seed: seed)
    let up = try #require(Self.rise(steps: 400) { 2 + 0.02 * Double($0) + noise($0) })
    #expect(up.to.steps.upperBound <= 120)
    let late = try #require(
      Self.rise(steps: 400) { 0.5 + 2 * exp(-Double($0) / 30) + max(0, 0.01 * Double($0 - 200)) + noise($0) })
    #expect(late.to.steps.lowerBound > 200 && late.to.steps.upperBound <= 350)
  }

  /// A run that stops anywhere and goes on sees what an unbroken one sees.
  @Test func goesOn() throws {
    let noise = Self.noise(0.2)
    func loss(_ step: Int) -> Double { 1 + exp(-Double(step) / 20) + max(0, 0.02 * Double(step - 100)) + noise(step) }
    let expected = Self.rise(steps: 400, loss)
    #expect(expected != nil)
    for stop in [0, 1, 9, 10, 11, 25, 100, 119] {
      var watch = LossWatch(steps: 400)
      for step in 0..<stop { _ = watch.add(loss(step + 1)) }
      var next = LossWatch(steps: 400)
      let isRestored = next.restore(watch.description, step: stop)
      #expect(isRestored)
      let found = Self.rise(after: stop, of: 400, &next, loss)
      #expect(found == expected, "\(stop)")
    }
  }

  @Test(arguments: [
    "", "0", "x", "0 0", "0 0 0 0", "0 0 0 9 0 1 0", "0 0 0 0 0 1 0", "x 0 0 1 0 1 0", "9221120237041090560 0 0",
    "0 9221120237041090560 0",
    "0 13830554455654793216 0 1 0 1 0", "0 0 0 1 9218868437227405312 1 0", "0 0 0 18446744073709551615 0 1 0",
  ])
  func damagedTexts(text: String) {
    var watch = LossWatch(steps: 400)
    for step in [1, 10, 12] {
      let isRestored = watch.restore(text, step: step)
      #expect(!isRestored, "\(text) at \(step)")
    }
  }
}

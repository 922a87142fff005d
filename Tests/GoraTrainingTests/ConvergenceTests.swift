import Testing

@testable import GoraTraining

@Suite struct ConvergenceTests {
  /// The step after which a sequence of importances counts as settled; nil where it never does.
  static func stop(_ rule: Convergence.Rule?, _ importances: [[Double]]) -> Int? {
    var convergence = Convergence(rule)
    for (i, values) in importances.enumerated() {
      _ = convergence.add(values)
      if convergence.isReached { return i + 1 }
    }
    return nil
  }

  @Test func changes() {
    var convergence = Convergence(nil)
    #expect(convergence.add([1, 2, 4]) == .init(maximum: 1, mean: 1))
    let change = convergence.add([1.5, 1, 4])
    #expect(change.maximum == 0.5 && abs(change.mean - 1.0 / 3) < 1e-15)
    // Relative to the step before, however small the values are.
    var small = Convergence(nil)
    _ = small.add([1e-20, 2e-20, 4e-20])
    let smallChange = small.add([1.5e-20, 1e-20, 4e-20])
    #expect(abs(smallChange.maximum - 0.5) < 1e-12 && abs(smallChange.mean - 1.0 / 3) < 1e-12)
    // Exact zeros divide by nothing.
    var zeros = Convergence(nil)
    _ = zeros.add([0, 0])
    #expect(zeros.add([0, 3]) == .init(maximum: 1, mean: 0.5))
    #expect(zeros.add([0, 0]) == .init(maximum: 1, mean: 0.5))
    #expect(!zeros.isReached)
  }

  @Test func presets() {
    #expect(Convergence.Rule.paper == .init(tolerance: 0.01, patience: 2, minimumSteps: 3))
    #expect(Convergence.Rule.official == .init(tolerance: 0.1, patience: 1, minimumSteps: 3))
    let flat = [[Double]](repeating: [1, 2], count: 6)
    #expect(Self.stop(.paper, flat) == 3)
    #expect(Self.stop(.official, flat) == 3)
    #expect(Self.stop(nil, flat) == nil)
    // 10 %, 5 %, 0.9 %, 0.9 % ...
    let settling = [[1.0], [1.10], [1.155], [1.165], [1.175], [1.185]]
    #expect(Self.stop(.paper, settling) == 5)
    #expect(Self.stop(.official, settling) == 3)
  }

  /// One module that moves is enough to go on, and calm steps count only together.
  @Test func everyModuleAndTogether() {
    let rule = Convergence.Rule(tolerance: 0.01, patience: 2, minimumSteps: 1)
    #expect(Self.stop(rule, [[1, 1], [1, 1.5], [1, 2], [1, 2.5]]) == nil)
    #expect(Self.stop(rule, [[1], [1], [2], [2], [2]]) == 5)
    #expect(Self.stop(rule, [[1], [1], [1]]) == 3)
    #expect(Self.stop(.init(tolerance: 0.01, patience: 1, minimumSteps: 1), [[1], [1]]) == 2)
    #expect(Self.stop(.init(tolerance: 0.01, patience: 1, minimumSteps: 4), [[1], [1], [1], [1]]) == 4)
  }
}

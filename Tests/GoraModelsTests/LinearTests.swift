import GoraCore
import GoraFormats
import Testing

@testable import GoraModels

/// One linear with an adapter beside it, by differences.
@Suite struct LinearTests {
  init() throws {
    ThreadPool.start(threads: 2)
    try Matmul.open()
  }

  private static let (tokens, inputs, outputs, rank) = (5, 12, 7, 3)

  private static func numbers(_ count: Int, _ stream: String) -> [Float] {
    var random = Random(seed: 3, stream: stream)
    return (0..<count).map { _ in Float(random.normal()) }
  }

  private static func linear() throws -> Linear {
    let linear = try Linear(
      name: "m", outputSize: outputs, inputSize: inputs, hasBias: false,
      from: RandomSource(seed: 1) { _ in .normal(deviation: 0.5) })
    linear.adapter = LowRankAdapter(
      module: "m", rank: rank, scaling: 1.5, a: FloatBuffer(numbers(rank * inputs, "a")),
      b: FloatBuffer(numbers(outputs * rank, "b")), inputSize: inputs, outputSize: outputs)
    return linear
  }

  /// Σ y⊙weights, in double.
  private static func value(_ linear: Linear, _ x: [Float], _ weights: [Float]) -> Double {
    var y = [Float](repeating: 0, count: tokens * outputs)
    linear.forward(x, tokens: tokens, into: &y, down: FloatBuffer(), workspace: Workspace())
    return zip(y, weights).reduce(0) { $0 + Double($1.0) * Double($1.1) }
  }

  /// The function is linear in each number by itself, so that a central difference is exact up to rounding: 1e-4 of sums near 1 to 100.
  /// With magnitudes that holds while norms stay as they were refreshed, which is what backward takes them for.
  @Test(arguments: [false, true], [(false, false), (true, false), (false, true), (true, true)])
  func gradientsByDifferences(drops: Bool, learns: (a: Bool, m: Bool)) throws {
    let linear = try Self.linear()
    let adapter = try #require(linear.adapter)
    let learnsA = learns.a
    if learns.m {
      let values = Self.numbers(Self.outputs, "m").map { 2 + $0 }
      let magnitude = Magnitude(module: "m", values: values, weight: linear.weight.matrix)
      magnitude.vector.gradient = FloatBuffer(zeros: Self.outputs)
      adapter.outputScale = magnitude
      linear.refresh(workspace: Workspace())
    }
    if drops { (adapter.dropoutRate, adapter.dropoutKey) = (0.4, 77) }
    if learnsA { adapter.a.gradient = FloatBuffer(zeros: adapter.a.count) }
    adapter.b.gradient = FloatBuffer(zeros: adapter.b.count)
    #expect(linear.learns && linear.needsInput == learnsA)
    var x = Self.numbers(Self.tokens * Self.inputs, "x")
    let weights = Self.numbers(Self.tokens * Self.outputs, "w")
    var y = [Float](repeating: 0, count: weights.count)
    var dx = [Float](repeating: 0, count: x.count)
    let (down, workspace) = (FloatBuffer(), Workspace())
    linear.forward(x, tokens: Self.tokens, into: &y, down: down, workspace: workspace)
    linear.backward(weights, x: x, down: down, tokens: Self.tokens, dx: &dx, workspace: workspace)
    func expect(_ gradient: Float, _ change: (Float) -> Void, _ what: String) {
      change(0.25)
      let above = Self.value(linear, x, weights)
      change(-0.5)
      let below = Self.value(linear, x, weights)
      change(0.25)
      #expect(abs((above - below) / 0.5 - Double(gradient)) < 1e-4 * max(1, abs(Double(gradient))), "\(what)")
    }
    for (parameter, name) in [(adapter.a, "A"), (adapter.b, "B")] {
      guard let gradient = parameter.gradient else { continue }
      let values = try #require(parameter.values).pointer
      for i in 0..<parameter.count { expect(gradient.pointer[i], { values[i] += $0 }, "\(name)[\(i)]") }
    }
    if let vector = adapter.outputScale?.vector, let gradient = vector.gradient {
      let values = try #require(vector.values).pointer
      for i in 0..<vector.count {
        expect(
          gradient.pointer[i],
          {
            values[i] += $0
            linear.refresh(workspace: Workspace())
          }, "m[\(i)]")
      }
    }
    for i in x.indices { expect(dx[i], { x[i] += $0 }, "x[\(i)]") }
  }

  /// Of many inputs the share that the rate says is left out, others of another key, the same whatever thread does which part; what stays
  /// is larger by 1/(1 − rate), so that the mean stays.
  @Test(arguments: [0.05, 0.5, 0.9]) func dropout(_ rate: Double) throws {
    let adapter = try #require(try Self.linear().adapter)
    adapter.dropoutRate = rate
    let count = 100_000
    let ones = [Float](repeating: 1, count: count)
    func mask(_ key: UInt64) -> [Float] {
      adapter.dropoutKey = key
      var y = [Float](repeating: 9, count: count)
      adapter.drop(ones, count: count, into: &y)
      return y
    }
    let (one, other) = (mask(1), mask(1 << 32 | 1))
    #expect(Set(one) == [0, Float(1 / (1 - rate))] && one == mask(1))
    // Five deviations of a binomial count.
    let deviation = (Double(count) * rate * (1 - rate)).squareRoot()
    for mask in [one, other, mask(12345)] {
      #expect(abs(Double(mask.count { $0 == 0 }) - Double(count) * rate) < 5 * deviation)
    }
    // Two masks agree as often as independent ones: neighbours, and keys.
    let agreement = rate * rate + (1 - rate) * (1 - rate)
    let limit = 5 * (Double(count) * agreement * (1 - agreement)).squareRoot()
    for (x, y) in [(one[...], other[...]), (one.dropLast(), one.dropFirst()), (one.dropLast(64), one.dropFirst(64))] {
      let equal = zip(x, y).count { $0 == $1 }
      #expect(abs(Double(equal) - Double(x.count) * agreement) < limit, "\(equal)")
    }
  }
}

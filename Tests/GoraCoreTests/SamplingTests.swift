import CGoraKernels
import Glibc
import GoraCore
import Testing

/// Draws without a sort, beside the nucleus that a full sort gives.
@Suite struct SamplingTests {
  /// In double: how much each element has of the distribution; outside the nucleus nil.
  static func nucleus(_ x: [Float], temperature: Double, topP: Double) -> [Double?] {
    let top = Double(x.max()!)
    let weights = x.map { exp((Double($0) - top) / temperature) }
    let total = weights.reduce(0, +)
    var kept = [Double?](repeating: nil, count: x.count)
    var mass = 0.0
    for i in x.indices.sorted(by: { x[$0] > x[$1] || (x[$0] == x[$1] && $0 < $1) }) {
      // Elements of no weight at all would make the end of the last interval a matter of rounding.
      if mass >= topP * total || weights[i] == 0 { break }
      kept[i] = weights[i]
      mass += weights[i]
    }
    return kept.map { $0.map { $0 / mass } }
  }

  static let kinds = ["normal", "flat", "peaked", "ties", "one", "steps"]

  static func logits(_ kind: String) -> [Float] {
    var random = Random(seed: 1, stream: kind)
    return switch kind {
    case "normal": (0..<5000).map { _ in Float(2 * random.normal()) }
    case "flat": [Float](repeating: 1.5, count: 1000)
    case "peaked": (0..<5000).map { $0 == 77 ? 30 : Float(random.normal()) }
    case "ties": (0..<300).map { _ in Float(random.below(4)) }
    case "one": [3]
    default: (0..<200).map { Float($0) * -0.07 }
    }
  }

  /// The element drawn is the one in whose interval the number lies, intervals in order of the elements.
  @Test(arguments: kinds, [(1.0, 1.0), (1.0, 0.9), (0.7, 0.5), (2.5, 0.99), (1.0, 1e-9), (0.05, 0.95)])
  func intervals(_ kind: String, setting: (Double, Double)) {
    let (temperature, topP) = setting
    let x = Self.logits(kind)
    let expected = Self.nucleus(x, temperature: temperature, topP: topP)
    var ends: [Double] = []
    var sum = 0.0
    for share in expected {
      sum += share ?? 0
      ends.append(sum)
    }
    for k in 0..<500 {
      let uniform = k == 499 ? 1 - 0x1p-53 : Double(k) / 499
      var y = x
      let drawn = gora_sample(&y, x.count, Float(temperature), topP, uniform)
      guard drawn < x.count, let share = expected[drawn] else {
        Issue.record("\(drawn) is outside the nucleus of \(kind)")
        continue
      }
      // An exponential's error of some 1e-6 moves the ends by no more.
      #expect(ends[drawn] - share - 5e-6 <= uniform && uniform <= ends[drawn] + 5e-6)
    }
  }

  @Test func notFinite() {
    for bad in [Float.nan, .infinity] {
      var x: [Float] = [1, bad, 2]
      #expect(gora_sample(&x, 3, 1, 1, 0.5) == 3)
      x = [1, bad, 2]
      #expect(gora_sample(&x, 3, 1, 0.9, 0.5) == 3)
    }
    // What can never be is never drawn.
    for k in 0..<100 {
      var x: [Float] = [-.infinity, 1, -.infinity, 1, -.infinity]
      #expect([1, 3].contains(gora_sample(&x, 5, 1, k % 2 == 0 ? 1 : 0.999, Double(k) / 99.5)))
    }
  }
}

import Glibc
import GoraCore

/// From values to places on an axis or in a palette.
package struct Scale: Sendable, Equatable {
  package enum Kind: Sendable { case linear, logarithmic }

  package let kind: Kind
  package let lower: Double
  package let upper: Double

  /// Beyond these sizes differences and ratios leave a double's range: such values are shown at the ends, the small ones as 0.
  private static let sizes = 1e-150...1e150

  /// A scale over all values of drawable size; a range without width is widened.
  /// - Parameters:
  ///   - ratio: the scale is logarithmic where all values are above 0 and the largest is this many times the smallest.
  ///   - includesZero: a linear scale starts at 0 or below.
  package init(covering values: [Double], logarithmicFrom ratio: Double = .infinity, includesZero: Bool = false) {
    let drawable = values.compactMap { value -> Double? in
      Self.sizes.contains(abs(value)) ? value : abs(value) < Self.sizes.lowerBound ? 0 : nil
    }
    var (low, high) = (drawable.min() ?? 0, drawable.max() ?? 1)
    let isLogarithmic = ratio < .infinity && low > 0 && high / low >= ratio
    kind = isLogarithmic ? .logarithmic : .linear
    if !isLogarithmic, includesZero {
      low = min(0, low)
      high = max(0, high)
    }
    if low == high {
      let margin = low == 0 ? 1 : abs(low) * 0.1
      if low == 0 || !includesZero { low -= includesZero ? 0 : margin }
      high += margin
    }
    lower = low
    upper = high
  }

  package init(kind: Kind, lower: Double, upper: Double) {
    precondition(lower < upper && (kind == .linear || lower > 0), "an empty scale")
    self.kind = kind
    self.lower = lower
    self.upper = upper
  }

  /// The same with its ends moved outwards, to the next tick or by a share of the range.
  func widened(by share: Double) -> Scale {
    switch kind {
    case .linear:
      let margin = (upper - lower) * share
      return Scale(kind: kind, lower: lower == 0 ? 0 : lower - margin, upper: upper + margin)
    case .logarithmic:
      let factor = exp((log(upper) - log(lower)) * share)
      return Scale(kind: kind, lower: lower / factor, upper: upper * factor)
    }
  }

  /// 0 at the lower end, 1 at the upper; monotone; beyond that range outside, by at most a hundred times the range. Not a number for
  /// what is none.
  package func fraction(_ value: Double) -> Double {
    let fraction =
      switch kind {
      case .linear: (value - lower) / (upper - lower)
      case .logarithmic: value > 0 ? (log(value) - log(lower)) / (log(upper) - log(lower)) : -.infinity
      }
    return fraction.isNaN ? fraction : min(max(fraction, -100), 100)
  }

  /// A tick and what it says.
  package struct Tick: Sendable, Equatable {
    package let value: Double
    package let label: String
  }

  /// Round values in the range, at most about `count`.
  package func ticks(_ count: Int) -> [Tick] {
    switch kind {
    case .linear: linearTicks(count)
    case .logarithmic: logarithmicTicks(count)
    }
  }

  private func linearTicks(_ count: Int) -> [Tick] {
    let raw = (upper - lower) / Double(max(1, count))
    let power = pow(10, floor(log10(raw)))
    let step = power * ([1, 2, 5, 10].first { $0 * power >= raw * 0.999 } ?? 10)
    let first = (lower / step - 1e-9).rounded(.up)
    let last = (upper / step + 1e-9).rounded(.down)
    guard step > 0, step.isFinite, last >= first, last - first < 1000, abs(first) < 1e15 else { return [] }
    let decimals = max(0, -Int(floor(log10(step) + 1e-9)))
    let largest = max(abs(lower), abs(upper))
    return (0...Int(last - first)).map { i in
      let value = (first + Double(i)) * step
      if largest >= 1e12 { return Tick(value: value, label: value == 0 ? "0" : NumberText.significant(value, 3)) }
      if largest >= 1e6 { return Tick(value: value, label: value == 0 ? "0" : NumberText.scaled(value)) }
      if decimals > 4 { return Tick(value: value, label: value == 0 ? "0" : NumberText.significant(value, 3)) }
      if decimals == 0 { return Tick(value: value, label: NumberText.grouped(Int(value.rounded()))) }
      return Tick(value: value, label: NumberText.fixed(value, decimals))
    }
  }

  private func logarithmicTicks(_ count: Int) -> [Tick] {
    let (first, last) = (Int(floor(log10(lower))), Int(ceil(log10(upper))))
    let decades = log10(upper) - log10(lower)
    let steps: [Double] = decades > 2.5 ? [1] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7]
    let stride = max(1, Int((decades / Double(max(1, count))).rounded(.up)))
    var ticks: [Tick] = []
    for power in first...max(first, last) where (power - first) % stride == 0 || stride == 1 {
      for step in steps {
        let value = step * pow(10, Double(power))
        guard value >= lower * 0.999, value <= upper * 1.001 else { continue }
        ticks.append(Tick(value: value, label: Self.short(value)))
      }
    }
    return ticks
  }

  /// `0.05`, `20`, `5e-05` as `5e-5`.
  static func short(_ value: Double) -> String {
    if value >= 1e-3, value < 1e6 {
      return value >= 1000 ? NumberText.grouped(Int(value.rounded())) : NumberText.significant(value, 3)
    }
    return NumberText.significant(value, 2).replacing(/e([-+])0*/) { "e\($0.1 == "-" ? "-" : "")" }
  }
}

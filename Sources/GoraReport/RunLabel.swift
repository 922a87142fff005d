/// Which run a file belongs to, and what the parts of its path say of it.
package struct RunLabel: Sendable, Equatable, Hashable {
  /// `seed-0/gora/rank-8`
  package var name: String
  /// The name without its seed; runs of one group differ in nothing else.
  package var group: String
  /// The parts that are seeds; runs of two groups with equal ones are pairs.
  package var seed: String
  /// The group without its ranks and batches: `gora`.
  package var method: String
  /// Ranks and batches: `rank-8/batch-32`. Methods are compared where these are equal.
  package var condition: String

  package init(_ name: String) {
    self.name = name
    let parts = name.split(separator: "/").map(String.init)
    func joined(_ parts: [String]) -> String { parts.joined(separator: "/") }
    let kept = parts.filter { !Self.isSeed($0) }
    group = kept.isEmpty ? name : joined(kept)
    seed = joined(parts.filter(Self.isSeed))
    let named = kept.filter { !Self.isCondition($0) }
    method = named.isEmpty ? group : joined(named)
    condition = joined(kept.filter(Self.isCondition))
  }

  /// `seed0`, `seed-0`, `seed_0`
  private static func isSeed(_ part: String) -> Bool {
    guard part.lowercased().hasPrefix("seed") else { return false }
    let rest = part.dropFirst(4).drop { $0 == "-" || $0 == "_" }
    return !rest.isEmpty && rest.allSatisfy { $0.isASCII && $0.isNumber }
  }

  /// `rank-8`, `batch-32`
  private static func isCondition(_ part: String) -> Bool {
    number("rank", in: part) != nil || number("batch", in: part) != nil
  }

  /// 0.001 for `lr` in `lr-1e-3`; nil for other parts.
  fileprivate static func number(_ name: String, in part: String) -> Double? {
    guard part.hasPrefix("\(name)-"), let value = Double(part.dropFirst(name.count + 1)), value.isFinite, value > 0 else {
      return nil
    }
    return value
  }
}

/// A run at one of several rates: `seed-0/gora/rank-8/ratio-16/lr-1e-3`.
package struct TriedRun: Sendable, Equatable {
  /// Without the parts that are tried.
  package let run: RunLabel
  /// Learning rate of A, or of the weights themselves.
  package let rate: Double
  /// Rate of B over that of A, where the path says it.
  package let ratio: Double?

  /// nil for a path without a part like `lr-1e-3`.
  /// - Parameter name: of a run whose path says no more than its rate.
  package init?(_ parts: [String], otherwise name: String = "run") {
    guard let rate = parts.compactMap({ RunLabel.number("lr", in: $0) }).last else { return nil }
    self.rate = rate
    ratio = parts.compactMap { RunLabel.number("ratio", in: $0) }.last
    let rest = parts.filter { RunLabel.number("lr", in: $0) == nil && RunLabel.number("ratio", in: $0) == nil }
    run = RunLabel(rest.isEmpty ? name : rest.joined(separator: "/"))
  }
}

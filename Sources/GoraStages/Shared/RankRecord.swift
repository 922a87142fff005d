import GoraCore

/// The ranks that AdaLoRA has left so far.
struct RankRecord: CustomStringConvertible {
  private let modules: [String]
  private var ranks: [Int] = []

  /// - Parameter modules: in the adapters' order.
  init(_ modules: [String]) { self.modules = modules }

  /// - Returns: nil where they are as they were.
  mutating func update(_ now: [Int]) -> [(module: String, rank: Int)]? {
    if now == ranks { return nil }
    ranks = now
    return zip(modules, now).map { ($0, $1) }
  }

  var description: String {
    guard let least = ranks.min(), let most = ranks.max() else { return "" }
    let mean = Double(ranks.reduce(0, +)) / Double(ranks.count)
    return "ranks \(least) to \(most), mean \(NumberText.significant(mean, 3))"
  }
}

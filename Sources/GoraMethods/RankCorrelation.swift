/// How alike two orders are.
package enum RankCorrelation {
  /// Spearman's ρ, equal values sharing their mean place; nil where one side has no order, all its values being equal.
  package static func spearman(_ x: [Double], _ y: [Double]) -> Double? {
    precondition(x.count == y.count)
    let (x, y) = (places(x), places(y))
    // The mean of all places, shared or not.
    let mean = Double(x.count - 1) / 2
    var (xx, yy, xy) = (0.0, 0.0, 0.0)
    for (a, b) in zip(x, y) {
      xx += (a - mean) * (a - mean)
      yy += (b - mean) * (b - mean)
      xy += (a - mean) * (b - mean)
    }
    return xx > 0 && yy > 0 ? xy / (xx * yy).squareRoot() : nil
  }

  private static func places(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var places = [Double](repeating: 0, count: values.count)
    var from = 0
    while from < order.count {
      var to = from
      while to < order.count, values[order[to]] == values[order[from]] { to += 1 }
      for place in from..<to { places[order[place]] = Double(from + to - 1) / 2 }
      from = to
    }
    return places
  }
}

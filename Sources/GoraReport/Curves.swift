/// A point of a curve.
package struct Point: Sendable, Equatable {
  package var x: Double
  package var y: Double

  package init(_ x: Double, _ y: Double) {
    self.x = x
    self.y = y
  }

  var isFinite: Bool { x.isFinite && y.isFinite && abs(x) < 1e300 && abs(y) < 1e300 }
}

/// The mean over the `window` points around each; fewer at the ends. Points that are not finite do not count and give none.
package func smoothed(_ points: [Point], window: Int) -> [Point] {
  let finite = points.filter(\.isFinite)
  let half = max(1, window) / 2
  // Sums up to each point, from the first one's height, so that a long run loses no digits.
  let base = finite.first?.y ?? 0
  var sums = [0.0]
  for point in finite { sums.append((sums.last ?? 0) + (point.y - base)) }
  return finite.indices.map { i in
    let (first, last) = (max(0, i - half), min(finite.count, i + half + 1))
    return Point(finite[i].x, base + (sums[last] - sums[first]) / Double(last - first))
  }
}

/// At most about `limit` points of a curve: of each stretch its ends' neighbours with the least and the greatest y, so that no
/// spike is lost.
package func decimated(_ points: [Point], to limit: Int) -> [Point] {
  guard limit >= 4, points.count > limit, let first = points.first, let last = points.last else { return points }
  let inner = points[1..<points.count - 1]
  let stretches = (limit - 2) / 2
  var kept = [first]
  for i in 0..<stretches {
    let from = inner.startIndex + inner.count * i / stretches
    let to = inner.startIndex + inner.count * (i + 1) / stretches
    guard from < to else { continue }
    let low = (from..<to).min { points[$0].y < points[$1].y } ?? from
    let high = (from..<to).max { points[$0].y < points[$1].y } ?? from
    kept.append(points[min(low, high)])
    if low != high { kept.append(points[max(low, high)]) }
  }
  kept.append(last)
  return kept
}

/// Places for labels that want to be at `wanted`, at least `gap` apart, inside 0…`height` where they fit.
package func separated(_ wanted: [Double], gap: Double, height: Double) -> [Double] {
  let order = wanted.indices.sorted { (wanted[$0], $0) < (wanted[$1], $1) }
  var places = wanted
  var last = -Double.infinity
  for i in order {
    places[i] = max(places[i], last + gap)
    last = places[i]
  }
  // Back up from the lower edge.
  var limit = height
  for i in order.reversed() {
    places[i] = min(places[i], limit)
    limit = places[i] - gap
  }
  return places
}

/// The value below which a share of the sorted values lies, interpolated.
func quantile(_ sorted: [Double], _ share: Double) -> Double {
  guard let last = sorted.last else { return .nan }
  let place = share * Double(sorted.count - 1)
  let i = Int(place)
  if i + 1 >= sorted.count { return last }
  return sorted[i] + (place - Double(i)) * (sorted[i + 1] - sorted[i])
}

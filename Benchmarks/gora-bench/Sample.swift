import GoraFormats

/// Repeated measurements of one thing.
struct Sample {
  private(set) var values: [Double] = []

  init(_ values: [Double] = []) { self.values = values }

  mutating func append(_ value: Double) { values.append(value) }

  var isEmpty: Bool { values.isEmpty }

  /// The middle one, or the mean of the two in the middle; NaN of nothing.
  var median: Double {
    if values.isEmpty { return .nan }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// Half the distance of the largest from the smallest, relative to the median; NaN of fewer than two.
  var spread: Double {
    guard values.count > 1, let low = values.min(), let high = values.max() else { return .nan }
    return (high - low) / 2 / median
  }

  var json: JSON {
    .object(["median": finite(median), "spread": finite(spread), "values": JSON(values.map { finite($0) })])
  }
}

/// The number, null where it is not finite.
func finite(_ value: Double) -> JSON { value.isFinite ? JSON(value) : nil }

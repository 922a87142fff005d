/// Module names as a table: kinds of modules against layers.
package struct ModuleGrid: Sendable {
  /// `q_proj`, `down_proj`, …; more of the path where two kinds end alike.
  package let kinds: [String]
  /// Layer numbers in order; -1 stands for modules outside the layers.
  package let layers: [Int]
  /// Of each module given, its row in `kinds` and its column in `layers`.
  package let places: [(kind: Int, layer: Int)]

  package init(_ names: [String]) {
    let split = names.map(Self.split)
    var suffixes: [String] = []
    var known: Set<String> = []
    for part in split where known.insert(part.kind).inserted { suffixes.append(part.kind) }
    let short = Self.shortened(suffixes)
    let order = suffixes.indices.sorted { a, b in
      let (x, y) = (Self.rank(short[a]), Self.rank(short[b]))
      return x == y ? a < b : x < y
    }
    kinds = order.map { short[$0] }
    layers = Set(split.map(\.layer)).sorted()
    var rows: [String: Int] = [:]
    for (row, i) in order.enumerated() { rows[suffixes[i]] = row }
    var columns: [Int: Int] = [:]
    for (column, layer) in layers.enumerated() { columns[layer] = column }
    places = split.map { (rows[$0.kind] ?? 0, columns[$0.layer] ?? 0) }
  }

  /// What a column is called.
  package var layerNames: [String] { layers.map { $0 < 0 ? "–" : String($0) } }

  /// The values in the table's cells; nil where no module is.
  func table(_ values: [Double]) -> [[Double?]] {
    var table = [[Double?]](repeating: [Double?](repeating: nil, count: layers.count), count: kinds.count)
    for (place, value) in zip(places, values) { table[place.kind][place.layer] = value }
    return table
  }

  /// The first part that is a number is the layer, what follows is the kind, with what comes before it where that is not the usual.
  private static func split(_ name: String) -> (layer: Int, kind: String) {
    var parts = name.split(separator: ".").map(String.init)
    if parts.last == "weight" { parts.removeLast() }
    guard let place = parts.firstIndex(where: { Int($0).map { $0 >= 0 } ?? false }), let layer = Int(parts[place]),
      place + 1 < parts.count
    else { return (-1, parts.joined(separator: ".")) }
    parts.remove(at: place)
    return (layer, parts.joined(separator: "."))
  }

  /// The fewest last parts of each path that tell all of them apart.
  private static func shortened(_ paths: [String]) -> [String] {
    let parts = paths.map { $0.split(separator: ".").map(String.init) }
    for count in 1...max(1, parts.map(\.count).max() ?? 1) {
      let short = parts.map { $0.suffix(count).joined(separator: ".") }
      if Set(short).count == paths.count { return short }
    }
    return paths
  }

  /// Attention before the perceptron, in the order in which a layer computes.
  private static func rank(_ kind: String) -> Int {
    let known = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return known.firstIndex { kind.hasSuffix($0) } ?? known.count
  }
}

import GoraCore

/// Pieces of the tables for people.
enum TableText {
  static func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }

  static func left(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }

  /// A line without blanks at its end.
  static func line(_ text: String) -> String { text.replacing(/\ +$/, with: "") + "\n" }

  /// The end of a name tells modules apart.
  static func shortened(_ name: String, _ limit: Int, unicode: Bool) -> String {
    let name = name.escapingControls
    if name.count <= limit { return name }
    let mark = unicode ? "…" : "..."
    return mark + name.suffix(limit - mark.count)
  }

  /// `1024×4096`
  static func shape(_ shape: [Int], unicode: Bool) -> String {
    shape.map(String.init).joined(separator: unicode ? "×" : "x")
  }

  /// `4–32`, or `8` where all are the same.
  static func range(_ ranks: [Int], unicode: Bool) -> String {
    let low = ranks.min() ?? 0
    let high = ranks.max() ?? 0
    return low == high ? "\(low)" : unicode ? "\(low)–\(high)" : "\(low)-\(high)"
  }

  /// `+2.67 %` of a count against another.
  static func percent(_ count: Int, against other: Int) -> String {
    let percent = other > 0 ? 100 * (Double(count) / Double(other) - 1) : 0
    return (percent >= 0 ? "+" : "") + NumberText.fixed(percent, 2) + " %"
  }

  /// The longest common beginning that ends with a dot.
  static func commonPrefix(_ names: [String]) -> String {
    guard names.count > 1, var prefix = names.first else { return "" }
    for name in names {
      while !name.hasPrefix(prefix) { prefix.removeLast() }
    }
    return prefix.lastIndex(of: ".").map { String(prefix[...$0]) } ?? ""
  }
}

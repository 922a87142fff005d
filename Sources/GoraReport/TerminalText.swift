/// How a terminal is written to.
package struct TextStyle: Sendable {
  /// Columns; no line is longer.
  package var width: Int
  /// Whether block characters may be used.
  package var unicode: Bool
  /// Whether escape sequences may be used.
  package var color: Bool

  package init(width: Int = 80, unicode: Bool, color: Bool) {
    self.width = width
    self.unicode = unicode
    self.color = color
  }

  /// Text in the colour of a series.
  func series(_ text: String, _ index: Int) -> String {
    // Of the 256 colours of terminals, those that stand out on black and on white.
    let codes = [32, 166, 35, 169, 136, 74, 130, 244]
    return color && !text.isEmpty ? "\u{1B}[38;5;\(codes[index % codes.count])m\(text)\u{1B}[0m" : text
  }

  /// Text on the ground of a heat map's level.
  func heat(_ text: String, _ level: Int) -> String {
    guard color else { return text }
    let codes = [17, 18, 18, 24, 25, 25, 31, 32, 74, 110, 153, 195]
    return "\u{1B}[\(level > 7 ? "30" : "97");48;5;\(codes[min(level, codes.count - 1)])m\(text)\u{1B}[0m"
  }

  func bold(_ text: String) -> String { color ? "\u{1B}[1m\(text)\u{1B}[0m" : text }

  /// The text with control characters escaped, in ASCII where the terminal knows no more, at most `limit` columns.
  func clean(_ text: String, _ limit: Int) -> String {
    var out = ""
    for scalar in text.escapingControls.unicodeScalars {
      if scalar.isASCII || unicode {
        out.unicodeScalars.append(scalar)
      } else {
        out += Self.ascii[scalar] ?? "?"
      }
    }
    if out.count <= limit { return out }
    let mark = unicode ? "…" : "~"
    let tail = max(0, (limit - 1) * 2 / 3)
    return out.prefix(max(0, limit - 1 - tail)) + mark + out.suffix(tail)
  }

  private static let ascii: [Unicode.Scalar: String] = [
    "±": "+-", "–": "-", "…": "~", "×": "x", "⊙": "o", "·": ".", "∇": "d", "−": "-", "Δ": "d", "γ": "gamma", "‖": "|",
  ]

  func padded(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }
  func right(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }

  /// Words on lines of the terminal's width.
  func wrapped(_ text: String) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in clean(text, Int.max).split(separator: " ") {
      let word = clean(String(word), width)
      if !line.isEmpty, line.count + 1 + word.count > width {
        lines.append(line)
        line = ""
      }
      line += line.isEmpty ? word : " " + word
    }
    return line.isEmpty ? lines : lines + [line]
  }
}

extension String {
  /// The line without spaces at its end.
  var trimmingEnd: String {
    var end = endIndex
    while end > startIndex, self[index(before: end)] == " " { end = index(before: end) }
    return String(self[..<end])
  }
}

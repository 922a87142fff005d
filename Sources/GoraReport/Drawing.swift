import GoraCore

/// A piece of SVG with its size in pixels; text in it is escaped as it is added.
package struct Drawing: Sendable {
  package var width: Double
  package var height: Double
  private(set) var body = ""

  init(width: Double, height: Double) {
    self.width = width
    self.height = height
  }

  enum Anchor: String { case start, middle, end }

  mutating func text(
    _ text: String, _ x: Double, _ y: Double, _ style: String = "t", anchor: Anchor = .start, size: Double? = nil,
    rotated: Bool = false
  ) {
    var attributes = "x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" class=\"\(style)\""
    if anchor != .start { attributes += " text-anchor=\"\(anchor.rawValue)\"" }
    if let size { attributes += " style=\"font-size:\(Self.number(size))px\"" }
    if rotated { attributes += " transform=\"rotate(-90 \(Self.number(x)) \(Self.number(y)))\"" }
    body += "<text \(attributes)>\(Self.escaped(text))</text>\n"
  }

  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
    body += "<path class=\"\(style)\" d=\"M\(Self.number(x1)) \(Self.number(y1))L\(Self.number(x2)) \(Self.number(y2))\"/>\n"
  }

  /// - Parameter tip: what a pointer over it shows.
  mutating func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String, corner: Double = 0, tip: String? = nil
  ) {
    var attributes = "class=\"\(style)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\""
    attributes += " width=\"\(Self.number(max(0, width)))\" height=\"\(Self.number(max(0, height)))\""
    if corner > 0 { attributes += " rx=\"\(Self.number(corner))\"" }
    body += "<rect \(attributes)" + Self.closing(tip, "rect")
  }

  mutating func circle(_ x: Double, _ y: Double, _ radius: Double, _ style: String, tip: String? = nil) {
    let attributes = "class=\"\(style)\" cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"\(Self.number(radius))\""
    body += "<circle \(attributes)" + Self.closing(tip, "circle")
  }

  /// An open curve, or a closed shape.
  mutating func path(_ points: [Point], _ style: String, closed: Bool = false) {
    guard let first = points.first else { return }
    var text = "M\(Self.number(first.x)) \(Self.number(first.y))"
    if points.count > 1 {
      text += "L" + points.dropFirst().map { "\(Self.number($0.x)) \(Self.number($0.y))" }.joined(separator: " ")
    }
    // One point alone shows as a dot of its line's caps.
    if points.count == 1 { text += "h0" }
    body += "<path class=\"\(style)\" d=\"\(text)\(closed ? "Z" : "")\"/>\n"
  }

  /// What `draw` adds is cut to a rectangle.
  mutating func clipped(
    _ id: String, _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ draw: (inout Drawing) -> Void
  ) {
    body += "<clipPath id=\"\(id)\"><rect x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width))\""
    body += " height=\"\(Self.number(height))\"/></clipPath>\n<g clip-path=\"url(#\(id))\">\n"
    draw(&self)
    body += "</g>\n"
  }

  mutating func place(_ other: Drawing, _ x: Double, _ y: Double) {
    body += "<g transform=\"translate(\(Self.number(x)) \(Self.number(y)))\">\n\(other.body)</g>\n"
  }

  /// An `<svg>` element that a reader of the page finds a title and a description in.
  /// - Parameter standalone: with its own name space, style sheet and ground.
  func element(id: String, title: String, description: String, standalone: Bool) -> String {
    var out = "<svg"
    if standalone { out += " xmlns=\"http://www.w3.org/2000/svg\"" }
    out += " viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\" width=\"\(Self.number(width))\""
    out += " height=\"\(Self.number(height))\" role=\"img\" aria-labelledby=\"\(id)-title \(id)-description\">\n"
    out += "<title id=\"\(id)-title\">\(Self.escaped(title))</title>\n"
    out += "<desc id=\"\(id)-description\">\(Self.escaped(description))</desc>\n"
    if standalone {
      out += "<style>\n\(Palette.drawingStyle)</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n"
    }
    return out + body + "</svg>\n"
  }

  private static func closing(_ tip: String?, _ element: String) -> String {
    tip.map { "><title>\(escaped($0))</title></\(element)>\n" } ?? "/>\n"
  }

  // MARK: Text in SVG and HTML

  /// A coordinate, to a tenth of a pixel.
  static func number(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e7 else { return "0" }
    let tenths = Int((value * 10).rounded())
    if tenths % 10 == 0 { return String(tenths / 10) }
    return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }

  /// Text for XML and HTML, in elements and in quoted attributes; characters that XML does not have become U+FFFD.
  package static func escaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      case "\t", "\n", "\r": out += " "
      default:
        let isAllowed = scalar.value >= 0x20 && !(0x7F...0x9F).contains(scalar.value) && scalar.value & 0xFFFE != 0xFFFE
        out.unicodeScalars.append(isAllowed ? scalar : "\u{FFFD}")
      }
    }
    return out
  }

  /// About how wide a text is.
  static func width(of text: String, size: Double = 11) -> Double { Double(text.count) * size * 0.57 }
}

/// The text with its middle left out where it is longer than `limit`.
func shortened(_ text: String, to limit: Int) -> String {
  if text.count <= limit { return text }
  let tail = (limit - 1) * 2 / 3
  return text.prefix(limit - 1 - tail) + "…" + text.suffix(tail)
}

import GoraCore

/// Horizontal bars made of parts, with a tick where a row has something to be compared with.
struct BarChart: Chart {
  struct Row: Sendable {
    var label: String
    /// As many as there are parts; 0 for a part that the row has not.
    var values: [Double]
    /// The tick.
    var reference: Double?
    /// Behind the bar.
    var note: String
  }

  let rows: [Row]
  /// Names of the parts, in order.
  let parts: [String]
  let axisTitle: String
  /// What the tick means.
  let referenceTitle: String?
  private let scale: Scale

  init(rows: [Row], parts: [String], axisTitle: String, referenceTitle: String? = nil) {
    self.rows = rows.map { row in
      var row = row
      row.values = row.values.map { $0.isFinite && $0 > 0 ? $0 : 0 }
      return row
    }
    self.parts = parts
    self.axisTitle = axisTitle
    self.referenceTitle = referenceTitle
    scale = Scale(
      covering: [0] + self.rows.map { $0.values.reduce(0, +) } + self.rows.compactMap(\.reference), includesZero: true)
  }

  // MARK: SVG

  func drawing(id: String) -> Drawing {
    let names = rows.map { shortened($0.label, to: 34) }
    let left = (names.map { Drawing.width(of: $0) }.max() ?? 0) + 10
    let right = (rows.map { Drawing.width(of: $0.note) }.max() ?? 0) + 14
    let width = 520.0
    let pitch = 24.0
    var legend: [(x: Double, y: Double, part: Int)] = []
    var (x, y) = (left, 0.0)
    if parts.count > 1 {
      for part in parts.indices {
        let needed = Drawing.width(of: parts[part]) + 26
        if x + needed > left + width + right, x > left { (x, y) = (left, y + 16) }
        legend.append((x, y, part))
        x += needed
      }
    }
    let top = parts.count > 1 ? y + 24 : 2
    let bottom = top + Double(rows.count) * pitch
    var drawing = Drawing(width: left + width + right, height: bottom + 40 + (referenceTitle == nil ? 0 : 16))
    for item in legend {
      drawing.rectangle(item.x, item.y + 1, 10, 10, "f\(item.part % Palette.categories)", corner: 2)
      drawing.text(parts[item.part], item.x + 15, item.y + 10, "m")
    }
    for tick in scale.ticks(6) {
      let x = left + scale.fraction(tick.value) * width
      drawing.line(x, top, x, bottom, "rule")
      drawing.text(tick.label, x, bottom + 15, "m", anchor: .middle, size: 10)
    }
    for (r, row) in rows.enumerated() {
      let y = top + Double(r) * pitch + 4
      drawing.text(names[r], left - 8, y + 12, "t", anchor: .end)
      var start = 0.0
      for (part, value) in row.values.enumerated() where value > 0 {
        let x = left + scale.fraction(start) * width
        let end = left + scale.fraction(start + value) * width
        let name = parts.indices.contains(part) ? parts[part] : ""
        drawing.rectangle(
          x, y, max(0.5, end - x - (end - x > 3 ? 0.75 : 0)), 16, "f\(part % Palette.categories)",
          tip: "\(row.label), \(name): \(NumberText.significant(value, 4))")
        start += value
      }
      var end = left + scale.fraction(start) * width
      if let reference = row.reference, reference.isFinite {
        let x = left + scale.fraction(reference) * width
        drawing.line(x, y - 3, x, y + 19, "ref")
        end = max(end, x)
      }
      drawing.text(row.note, end + 8, y + 12, "m")
    }
    drawing.line(left, top, left, bottom, "axis")
    drawing.text(axisTitle, left + width / 2, bottom + 33, "m", anchor: .middle)
    if let referenceTitle {
      drawing.line(left + 1, bottom + 41, left + 1, bottom + 53, "ref")
      drawing.text(referenceTitle, left + 9, bottom + 51, "m")
    }
    return drawing
  }

  // MARK: Terminal

  func text(_ style: TextStyle) -> [String] {
    let names = rows.map { style.clean($0.label, 24) }
    let notes = rows.map { style.clean($0.note, 24) }
    let left = names.map(\.count).max() ?? 0
    let width = max(8, style.width - left - 2 - (notes.map(\.count).max() ?? 0))
    // One letter a part, where colours cannot tell them.
    var letters: [Character] = []
    for part in parts {
      let free = part.lowercased().first { !letters.contains($0) && $0.isLetter && $0.isASCII }
      letters.append(free ?? Character(String(letters.count % 10)))
    }
    let full = style.unicode ? "█" : "#"
    var out: [String] = []
    for (r, row) in rows.enumerated() {
      var cells = [String](repeating: " ", count: width)
      var start = 0.0
      for (part, value) in row.values.enumerated() where value > 0 {
        let from = Int((scale.fraction(start) * Double(width)).rounded())
        let to = Int((scale.fraction(start + value) * Double(width)).rounded())
        let mark = style.color || parts.count < 2 ? full : String(letters.indices.contains(part) ? letters[part] : "#")
        for i in from..<max(from, min(to, width)) { cells[i] = style.series(mark, part) }
        start += value
      }
      if let reference = row.reference, reference.isFinite {
        let place = min(width - 1, max(0, Int((scale.fraction(reference) * Double(width)).rounded())))
        cells[place] = style.unicode ? "│" : "|"
      }
      out.append(style.padded(names[r], left) + " " + cells.joined() + " " + notes[r])
    }
    out = out.map(\.trimmingEnd)
    if parts.count > 1 {
      var (line, length) = ("", 0)
      for part in parts.indices {
        let item = "\(style.color ? full : String(letters[part])) \(style.clean(parts[part], 20))"
        if length > 0, length + 2 + item.count > style.width {
          out.append(line)
          (line, length) = ("", 0)
        }
        line += (length > 0 ? "  " : "") + style.series(item, part)
        length += (length > 0 ? 2 : 0) + item.count
      }
      out.append(line)
    }
    return out + style.wrapped(axisTitle + (referenceTitle.map { "; \(style.unicode ? "│" : "|") \($0)" } ?? ""))
  }
}

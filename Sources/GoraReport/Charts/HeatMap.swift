import GoraCore

/// A table of values as colours, with the values in the cells where they fit.
struct HeatMap: Chart {
  let rows: [String]
  let columns: [String]
  /// What the columns are.
  let columnTitle: String
  /// By row, then column; nil where there is nothing, NaN where something is wrong.
  let values: [[Double?]]
  let scale: Scale
  /// What the colour means, with its unit.
  let quantity: String
  /// A value in its cell.
  let label: @Sendable (Double) -> String
  /// The mean of a row behind it.
  let meanLabel: @Sendable (Double) -> String

  /// - Parameter range: more values that the colours have to cover, so that several maps compare.
  init(
    rows: [String], columns: [String], columnTitle: String, values: [[Double?]], quantity: String, range: [Double],
    logarithmicFrom: Double, label: @escaping @Sendable (Double) -> String,
    meanLabel: @escaping @Sendable (Double) -> String
  ) {
    self.rows = rows
    self.columns = columns
    self.columnTitle = columnTitle
    self.values = values
    self.quantity = quantity
    self.label = label
    self.meanLabel = meanLabel
    let all = (range + values.joined().compactMap { $0 }).filter(\.isFinite)
    // One value alone is strong, unless it is 0.
    let isFlat = all.min() == all.max()
    scale = Scale(covering: isFlat ? [0, all.first == 0 ? 1 : all.first ?? 1] : all, logarithmicFrom: logarithmicFrom)
  }

  private func level(_ value: Double) -> Int { Palette.level(scale.fraction(value)) }

  /// The means of neighbouring columns where there are more than `limit`.
  private func merged(to limit: Int) -> (columns: [String], values: [[Double?]], span: Int) {
    let span = (columns.count + limit - 1) / max(1, limit)
    if span <= 1 { return (columns, values, 1) }
    let starts = Array(stride(from: 0, to: columns.count, by: span))
    let merged = values.map { row in
      starts.map { start -> Double? in
        let cells = row[start..<min(row.count, start + span)].compactMap { $0 }
        return cells.isEmpty ? nil : cells.reduce(0, +) / Double(cells.count)
      }
    }
    return (starts.map { columns[$0] }, merged, span)
  }

  private func mean(_ row: [Double?]) -> Double? { Spread(row.compactMap { $0 })?.mean }

  private func text(of value: Double?) -> String {
    guard let value else { return "" }
    return value.isFinite ? label(value) : "?"
  }

  // MARK: SVG

  static let width = 1040.0

  func drawing(id: String) -> Drawing {
    let names = rows.map { shortened($0, to: 28) }
    let left = (names.map { Drawing.width(of: $0) }.max() ?? 0) + 10
    let summaryWidth = columns.count > 1 ? 54.0 : 0
    let (columns, values, span) = merged(to: 240)
    let room = Self.width - left - summaryWidth
    let texts = values.map { $0.map(text) }
    let widest = texts.joined().map { Drawing.width(of: $0, size: 10) }.max() ?? 0
    let cell = min(max(room / Double(max(1, columns.count)), 3), max(26, min(44, widest + 10)))
    let showsNumbers = widest + 3 <= cell
    let height = rows.count > 40 ? 14.0 : 22.0
    let gap = cell > 8 ? 1.0 : 0.0
    let gridWidth = cell * Double(columns.count)
    let gridHeight = height * Double(rows.count)
    let legend = Double(Palette.levels) * 10
    let lowText = text(of: scale.lower)
    let quantity = quantity + (scale.kind == .logarithmic ? " (logarithmic colours)" : "")
    let legendX = left + Drawing.width(of: lowText, size: 10) + 5
    let highText = text(of: scale.upper)
    var drawing = Drawing(
      width: max(
        left + gridWidth + summaryWidth,
        max(legendX + legend + Drawing.width(of: highText), left + Drawing.width(of: quantity)) + 8),
      height: gridHeight + 64)
    for (r, name) in names.enumerated() {
      let y = Double(r) * height
      drawing.text(name, left - 8, y + height / 2 + 4, "t", anchor: .end)
      for (c, value) in values[r].enumerated() {
        let x = left + Double(c) * cell
        let tip = "\(columnTitle) \(columns[c]), \(rows[r]): \(value.map { text(of: $0) } ?? "none")"
        guard let value, value.isFinite else {
          drawing.rectangle(x, y, cell - gap, height - gap, "empty", tip: tip)
          if value != nil, cell >= 8 {
            drawing.text("?", x + (cell - gap) / 2, y + height / 2 + 3.5, "m", anchor: .middle, size: 10)
          }
          continue
        }
        drawing.rectangle(x, y, cell - gap, height - gap, "h\(level(value))", tip: tip)
        if showsNumbers {
          drawing.text(texts[r][c], x + (cell - gap) / 2, y + height / 2 + 3.5, "n\(level(value))", anchor: .middle, size: 10)
        }
      }
      if summaryWidth > 0, let mean = mean(self.values[r]) {
        drawing.text(meanLabel(mean), left + gridWidth + summaryWidth - 4, y + height / 2 + 4, "m", anchor: .end)
      }
    }
    if summaryWidth > 0 {
      drawing.text("mean", left + gridWidth + summaryWidth - 4, gridHeight + 14, "m", anchor: .end)
    }
    let widestColumn = columns.map { Drawing.width(of: $0, size: 10) }.max() ?? 0
    let every = max(1, Int(((widestColumn + 6) / cell).rounded(.up)))
    for c in stride(from: 0, to: columns.count, by: every) {
      drawing.text(columns[c], left + (Double(c) + 0.5) * cell - gap / 2, gridHeight + 14, "m", anchor: .middle, size: 10)
    }
    drawing.text(span > 1 ? "\(columnTitle), means of \(span)" : columnTitle, left - 8, gridHeight + 14, "m", anchor: .end)
    for level in 0..<Palette.levels {
      drawing.rectangle(legendX + Double(level) * 10, gridHeight + 34, 10, 9, "h\(level)")
    }
    drawing.text(lowText, legendX - 5, gridHeight + 42.5, "m", anchor: .end, size: 10)
    drawing.text(highText, legendX + legend + 5, gridHeight + 42.5, "m", size: 10)
    drawing.text(quantity, left, gridHeight + 58, "m")
    return drawing
  }

  // MARK: Terminal

  func text(_ style: TextStyle) -> [String] {
    let names = rows.map { style.clean($0, 20) }
    let left = names.reduce(style.clean(columnTitle, 20).count) { max($0, $1.count) }
    let summaries = values.map { mean($0).map { style.clean(meanLabel($0), 8) } ?? "" }
    let summary = columns.count > 1 ? summaries.reduce(4) { max($0, $1.count) } + 2 : 0
    let room = style.width - left - 1 - summary
    let widest = values.joined().map { style.clean(text(of: $0), 12).count }.max() ?? 0
    let cell = max(widest, columns.reduce(0) { max($0, $1.count) }) + 1
    let numbers = cell * columns.count <= room
    // Without numbers a cell is two columns wide, or one; beyond that neighbours are merged.
    let width = numbers ? cell : columns.count * 2 <= room ? 2 : 1
    let (columns, values, span) = numbers ? (self.columns, self.values, 1) : merged(to: room / width)
    var lines: [String] = []
    var header = style.padded(style.clean(columnTitle, 20), left) + " "
    let every = numbers ? 1 : max(1, (columns.map(\.count).max() ?? 1) / width + 1)
    for (c, name) in columns.enumerated() where c % every == 0 {
      let room = min(every, columns.count - c) * width
      let text = style.clean(name, 8)
      if text.count <= room {
        header += numbers ? style.right(text, room) : style.padded(text, room)
      } else {
        header += style.padded("", room)
      }
    }
    if summary > 0 { header += style.right("mean", summary) }
    lines.append(header.trimmingEnd)
    for r in rows.indices {
      var line = style.padded(names[r], left) + " "
      for value in values[r] {
        guard let value, value.isFinite else {
          line += style.right(value == nil ? (style.unicode ? "·" : ".") : "?", width)
          continue
        }
        let shown = numbers ? style.right(style.clean(text(of: value), 12), width) : shade(value, width, style)
        line += style.heat(shown, level(value))
      }
      if summary > 0 { line += style.right(summaries[r], summary) }
      lines.append(line)
    }
    var legend = "\(quantity): \(text(of: scale.lower)) to \(text(of: scale.upper))"
    if !numbers {
      let ramp = style.unicode ? "▁▂▃▄▅▆▇█" : ".:-=+*#%@"
      if !style.color {
        legend = "\(quantity): \(ramp.prefix(1)) \(text(of: scale.lower)) to \(ramp.suffix(1)) \(text(of: scale.upper))"
      }
      if span > 1 { legend += ", each column the mean of \(span)" }
      if scale.kind == .logarithmic { legend += ", logarithmic" }
    }
    return lines + style.wrapped(legend)
  }

  private func shade(_ value: Double, _ width: Int, _ style: TextStyle) -> String {
    if style.color { return String(repeating: " ", count: width) }
    let ramp = Array(style.unicode ? "▁▂▃▄▅▆▇█" : ".:-=+*#%@")
    let fraction = max(0, min(1, scale.fraction(value)))
    return String(repeating: ramp[Int((fraction * Double(ramp.count - 1)).rounded())], count: width)
  }
}

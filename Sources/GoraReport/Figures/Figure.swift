/// What gora-report can show.
package enum FigureName: String, CaseIterable, Sendable {
  case results, rates, confusion, loss, search, ranks, importance
  case initialisation = "init"
  case budget, cost
}

/// One subject: its charts, and a table where numbers say more.
package struct Figure: Sendable {
  package let name: FigureName
  package let title: String
  /// How to read it.
  package let note: String
  package let panels: [Panel]
  package let table: Table?

  init(_ name: FigureName, title: String, note: String, panels: [Panel], table: Table? = nil) {
    self.name = name
    self.title = title
    self.note = note
    self.panels = panels
    self.table = table
  }

  /// All figures that the data have something for, in the order of `FigureName`.
  package static func all(_ data: ReportData) -> [Figure] { FigureName.allCases.compactMap { make($0, data) } }

  /// nil where the data have nothing for it.
  package static func make(_ name: FigureName, _ data: ReportData) -> Figure? {
    switch name {
    case .results: resultsFigure(data)
    case .rates: ratesFigure(data)
    case .confusion: confusionFigure(data)
    case .loss: lossFigure(data)
    case .search: searchFigure(data)
    case .ranks: ranksFigure(data)
    case .importance: importanceFigure(data)
    case .initialisation: initialisationFigure(data)
    case .budget: budgetFigure(data)
    case .cost: costFigure(data)
    }
  }

  /// The panels as one picture, in rows as wide as the widest or 1080 pixels.
  package func svg() -> String {
    let drawings = panels.enumerated().map { $1.drawing(id: "\(name.rawValue)-\($0)") }
    let limit = drawings.reduce(1080) { max($0, $1.width) }
    let (margin, gap) = (16.0, 28.0)
    var (x, y, row, right) = (0.0, 0.0, 0.0, 0.0)
    var places: [(Double, Double)] = []
    for drawing in drawings {
      if x > 0, x + drawing.width > limit {
        y += row + gap
        (x, row) = (0, 0)
      }
      places.append((x, y))
      right = max(right, x + drawing.width)
      row = max(row, drawing.height)
      x += drawing.width + gap
    }
    var sheet = Drawing(width: right + 2 * margin, height: y + row + 2 * margin)
    for (drawing, place) in zip(drawings, places) { sheet.place(drawing, place.0 + margin, place.1 + margin) }
    return sheet.element(
      id: name.rawValue, title: title, description: panels.map(\.description).joined(separator: " "), standalone: true)
  }

  /// The panels in HTML, each a picture of its own, so that they go below each other on a narrow screen.
  func html() -> String {
    var out = "<section id=\"\(name.rawValue)\">\n<h2>\(Drawing.escaped(title))</h2>\n<p>\(Drawing.escaped(note))</p>\n"
    if let table { out += table.html() }
    out += "<div class=\"panels\">\n"
    for (i, panel) in panels.enumerated() {
      let id = "\(name.rawValue)-\(i)"
      out += "<div class=\"scroll\">"
      out += panel.drawing(id: id).element(id: id, title: panel.title, description: panel.description, standalone: false)
      out += "</div>\n"
    }
    return out + "</div>\n</section>\n"
  }

  /// The figure on a terminal.
  package func text(_ style: TextStyle) -> String {
    var out = style.bold(style.clean(title, style.width)) + "\n\n"
    if let table { return out + table.text(style).joined(separator: "\n") + "\n" }
    for (i, panel) in panels.enumerated() {
      if i > 0 { out += "\n" }
      if panels.count > 1 || panel.title != title { out += style.wrapped(panel.title).joined(separator: "\n") + "\n" }
      out += panel.chart.text(style).joined(separator: "\n") + "\n"
    }
    return out
  }
}

/// Runs that show the same, under one title: `lora` for all seeds of a group, else their names.
func sharedTitle(of runs: [RunLabel]) -> String {
  let names = runs.map(\.name)
  if names.count < 2 { return names.first ?? "" }
  if Set(runs.map(\.group)).count == 1, let group = runs.first?.group { return "\(group), \(names.count) runs alike" }
  return names.joined(separator: ", ")
}

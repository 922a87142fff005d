/// Something that can be drawn, and written on a terminal.
package protocol Chart: Sendable {
  /// - Parameter id: for what needs a name inside the drawing; unique on a page.
  func drawing(id: String) -> Drawing

  /// Lines of at most `style.width` columns (escape sequences apart).
  func text(_ style: TextStyle) -> [String]
}

/// A chart with its title and a sentence that says in words what it shows.
package struct Panel: Sendable {
  package var title: String
  package var description: String
  package var chart: any Chart

  init(_ title: String, description: String, chart: any Chart) {
    self.title = title
    self.description = description
    self.chart = chart
  }

  static let titleHeight = 26.0

  /// The chart under its title.
  func drawing(id: String) -> Drawing {
    let inner = chart.drawing(id: id)
    let limit = max(20, Int(inner.width / 6.6))
    let title = shortened(title, to: limit)
    var drawing = Drawing(
      width: max(inner.width, Drawing.width(of: title, size: 12) + 8), height: inner.height + Self.titleHeight)
    drawing.text(title, 0, 14, "b", size: 12.5)
    drawing.place(inner, 0, Self.titleHeight)
    return drawing
  }
}

import GoraCore

/// Curves over a common axis, each with its name at its end.
struct LineChart: Chart {
  struct Line: Sendable {
    /// At the end of the curve; nil for a curve without a name of its own.
    var label: String?
    /// Of the palette; dashed beyond its colours.
    var color: Int
    var points: [Point]
    /// The same curve before smoothing.
    var raw: [Point] = []
    /// Around the curve: x and the range of y.
    var band: [(x: Double, low: Double, high: Double)] = []
    /// Single measurements.
    var marks: [Point] = []
  }

  let lines: [Line]
  let xTitle: String
  let yTitle: String
  /// Of the plot in an SVG, in pixels.
  let width: Double
  private let xScale: Scale
  private let yScale: Scale

  /// - Parameters:
  ///   - ratio: the vertical axis is logarithmic from this ratio of its values on.
  ///   - xRatio: the horizontal axis from this one.
  init(
    lines: [Line], xTitle: String, yTitle: String, logarithmicFrom ratio: Double, logarithmicXFrom xRatio: Double = .infinity,
    width: Double = 560
  ) {
    self.width = width
    // Far more points than pixels would only make the page slow.
    self.lines = lines.map { line in
      var line = line
      line.points = decimated(line.points.filter(\.isFinite), to: 800)
      line.raw = decimated(line.raw.filter(\.isFinite), to: 1200)
      line.band = line.band.filter { $0.x.isFinite && $0.low.isFinite && $0.high.isFinite }
      if line.band.count > 800 {
        let count = line.band.count
        line.band = (0..<400).map { line.band[$0 * (count - 1) / 399] }
      }
      line.marks = decimated(line.marks.filter(\.isFinite), to: 400)
      return line
    }
    self.xTitle = xTitle
    self.yTitle = yTitle
    let all = self.lines.flatMap { $0.points + $0.marks }
    xScale = Scale(covering: all.map(\.x), logarithmicFrom: xRatio)
    let heights = all.map(\.y) + self.lines.flatMap { $0.band.flatMap { [$0.low, $0.high] } }
    yScale = Scale(covering: heights, logarithmicFrom: ratio).widened(by: 0.04)
  }

  private static func dash(_ color: Int) -> String {
    let turn = color / Palette.categories
    return turn == 0 ? "" : " d\(1 + (turn - 1) % 2)"
  }

  // MARK: SVG

  func drawing(id: String) -> Drawing {
    let named = lines.filter { $0.label != nil && !($0.points.isEmpty && $0.marks.isEmpty) }
    let labels = named.map { shortened($0.label ?? "", to: 30) }
    let ticks = yScale.ticks(6)
    let left = 26 + (ticks.map { Drawing.width(of: $0.label, size: 10) }.max() ?? 10)
    let right = (labels.map { Drawing.width(of: $0) }.max() ?? 0) + 22
    let height = max(240, Double(labels.count) * 14)
    var drawing = Drawing(width: left + width + right, height: height + 44)
    func x(_ value: Double) -> Double { left + xScale.fraction(value) * width }
    func y(_ value: Double) -> Double { height - yScale.fraction(value) * height }
    func place(_ point: Point) -> Point {
      // Far outside values stay numbers.
      Point(x(point.x), min(max(y(point.y), -1e4), 1e4))
    }

    for tick in ticks {
      drawing.line(left, y(tick.value), left + width, y(tick.value), "rule")
      drawing.text(tick.label, left - 6, y(tick.value) + 3.5, "m", anchor: .end, size: 10)
    }
    drawing.line(left, height, left + width, height, "axis")
    for tick in xScale.ticks(7) {
      drawing.line(x(tick.value), height, x(tick.value), height + 4, "axis")
      drawing.text(tick.label, x(tick.value), height + 16, "m", anchor: .middle, size: 10)
    }
    drawing.text(xTitle, left + width / 2, height + 34, "m", anchor: .middle)
    drawing.text(
      yTitle + (yScale.kind == .logarithmic ? " (logarithmic)" : ""), 10, height / 2, "m", anchor: .middle, rotated: true)

    drawing.clipped("\(id)-clip", left, -2, width + 2, height + 4) { drawing in
      for line in lines where !line.band.isEmpty {
        let upper = line.band.map { place(Point($0.x, $0.high)) }
        let lower = line.band.reversed().map { place(Point($0.x, $0.low)) }
        drawing.path(upper + lower, "band f\(line.color % Palette.categories)", closed: true)
      }
      for line in lines where !line.raw.isEmpty {
        drawing.path(line.raw.map(place), "raw s\(line.color % Palette.categories)")
      }
      for line in lines {
        drawing.path(line.points.map(place), "line s\(line.color % Palette.categories)\(Self.dash(line.color))")
      }
    }
    for line in lines {
      for mark in line.marks {
        let spot = place(mark)
        drawing.circle(
          spot.x, spot.y, 3.2, "dot f\(line.color % Palette.categories)",
          tip: "\(line.label ?? "") \(NumberText.significant(mark.x, 6)): \(NumberText.significant(mark.y, 4))")
      }
    }
    let ends = named.map { line in (line.points.last ?? line.marks.last).map { place($0) } ?? Point(left, height) }
    let places = separated(ends.map { min(max($0.y, 4), height) }, gap: 14, height: height)
    for (i, line) in named.enumerated() {
      drawing.line(ends[i].x + 3, ends[i].y, left + width + 12, places[i], "lead")
      drawing.text(labels[i], left + width + 16, places[i] + 4, "f\(line.color % Palette.categories)")
    }
    return drawing
  }

  // MARK: Terminal

  func text(_ style: TextStyle) -> [String] {
    let named = lines.indices.filter { lines[$0].label != nil }
    if lines.allSatisfy({ $0.points.isEmpty && $0.marks.isEmpty }) { return ["(no finite values)"] }
    let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    // Curves without a name belong to the last named one of their colour.
    func letter(_ i: Int) -> Character {
      letters[(named.firstIndex { lines[$0].color == lines[i].color } ?? 0) % letters.count]
    }
    let ticks = yScale.ticks(4)
    let left = ticks.map { style.clean($0.label, 10).count }.max() ?? 1
    let labels = named.map { style.clean("\(letter($0)) \(lines[$0].label ?? "")", 24) }
    let right = labels.map(\.count).max() ?? 0
    let width = max(10, style.width - left - right - 4)
    let height = max(14, labels.count)
    var canvas = TextCanvas(width: width, height: height, braille: style.unicode && (style.color || named.count <= 1))
    for (i, line) in lines.enumerated() {
      let mark = Character(extendedGraphemeClusterLiteral: letter(i))
      var last: (Double, Double)?
      for point in line.points {
        let spot = (xScale.fraction(point.x), yScale.fraction(point.y))
        canvas.line(from: last ?? spot, to: spot, color: line.color, mark: mark)
        last = spot
      }
      for point in line.marks {
        canvas.mark(xScale.fraction(point.x), yScale.fraction(point.y), color: line.color, mark: style.unicode ? "●" : "o")
      }
    }
    let wanted = named.map { i -> Double in
      let end = lines[i].points.last ?? lines[i].marks.last
      let fraction = end.map { yScale.fraction($0.y) } ?? 0
      return (1 - min(1, max(0, fraction))) * Double(height - 1)
    }
    let places = separated(wanted.map { $0.rounded() }, gap: 1, height: Double(height - 1)).map { Int($0) }
    var out = style.wrapped("\(yTitle)\(yScale.kind == .logarithmic ? ", logarithmic" : "")")
    for row in 0..<height {
      let tick = ticks.last { Int(((1 - yScale.fraction($0.value)) * Double(height - 1)).rounded()) == row }
      var line = style.right(tick.map { style.clean($0.label, 10) } ?? "", left)
      line += (style.unicode ? (tick == nil ? "│" : "┤") : "|") + canvas.row(row, style)
      if let n = places.firstIndex(of: row) { line += " " + style.series(labels[n], lines[named[n]].color) }
      out.append(line)
    }
    out.append(
      style.right("", left) + (style.unicode ? "└" : "+") + String(repeating: style.unicode ? "─" : "-", count: width))
    var axis = [Character](repeating: " ", count: width + left + 2)
    for tick in xScale.ticks(5) {
      let label = Array(style.clean(tick.label, 12))
      let centre = left + 1 + Int((xScale.fraction(tick.value) * Double(width - 1)).rounded())
      let start = max(left, min(axis.count - label.count, centre - label.count / 2))
      guard axis[max(0, start - 1)..<start + label.count].allSatisfy({ $0 == " " }) else { continue }
      axis.replaceSubrange(start..<start + label.count, with: label)
    }
    out.append(String(axis).trimmingEnd)
    out.append(style.right("", left + 1) + style.clean(xTitle, width))
    return out
  }
}

/// Curves in characters: braille dots, eight a character, or letters.
private struct TextCanvas {
  let width: Int
  let height: Int
  let braille: Bool
  private var dots: [UInt8]
  private var marks: [Character?]
  private var colors: [Int]

  init(width: Int, height: Int, braille: Bool) {
    self.width = width
    self.height = height
    self.braille = braille
    dots = [UInt8](repeating: 0, count: width * height)
    marks = [Character?](repeating: nil, count: width * height)
    colors = [Int](repeating: 0, count: width * height)
  }

  /// Both ends as shares of the canvas, up and to the right.
  mutating func line(from a: (Double, Double), to b: (Double, Double), color: Int, mark: Character) {
    let (columns, rows) = braille ? (width * 2, height * 4) : (width, height)
    func place(_ p: (Double, Double)) -> (Double, Double) {
      (p.0 * Double(columns - 1), (1 - min(max(p.1, -1), 2)) * Double(rows - 1))
    }
    let (p, q) = (place(a), place(b))
    let steps = max(1, Int(max(abs(p.0 - q.0), abs(p.1 - q.1)).rounded(.up)))
    for i in 0...steps {
      let t = Double(i) / Double(steps)
      let x = Int((p.0 + (q.0 - p.0) * t).rounded())
      let y = Int((p.1 + (q.1 - p.1) * t).rounded())
      guard x >= 0, x < columns, y >= 0, y < rows else { continue }
      if braille {
        let cell = (y / 4) * width + x / 2
        let bits: [[UInt8]] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]
        dots[cell] |= bits[y % 4][x % 2]
        colors[cell] = color
      } else {
        marks[y * width + x] = mark
        colors[y * width + x] = color
      }
    }
  }

  mutating func mark(_ x: Double, _ y: Double, color: Int, mark: Character) {
    let column = Int((x * Double(width - 1)).rounded())
    let row = Int(((1 - y) * Double(height - 1)).rounded())
    guard column >= 0, column < width, row >= 0, row < height else { return }
    marks[row * width + column] = mark
    colors[row * width + column] = color
  }

  func row(_ row: Int, _ style: TextStyle) -> String {
    var out = ""
    for cell in row * width..<(row + 1) * width {
      if let mark = marks[cell] {
        out += style.series(String(mark), colors[cell])
      } else if dots[cell] != 0, let scalar = Unicode.Scalar(0x2800 + UInt32(dots[cell])) {
        out += style.series(String(Character(scalar)), colors[cell])
      } else {
        out += " "
      }
    }
    return out
  }
}

/// A table of texts.
package struct Table: Sendable {
  package struct Column: Sendable {
    package var title: String
    package var isNumber: Bool

    package init(_ title: String, isNumber: Bool = false) {
      self.title = title
      self.isNumber = isNumber
    }
  }

  package var columns: [Column]
  package var rows: [[String]] = []

  package init(columns: [Column]) { self.columns = columns }

  /// Columns in which no row has anything are left out.
  private var used: [Int] {
    columns.indices.filter { i in i == 0 || rows.contains { $0.indices.contains(i) && !$0[i].isEmpty } }
  }

  package func html() -> String {
    var out = "<div class=\"scroll\"><table>\n<thead><tr>"
    for i in used {
      out += "<th scope=\"col\"\(columns[i].isNumber ? " class=\"number\"" : "")>\(Drawing.escaped(columns[i].title))</th>"
    }
    out += "</tr></thead>\n<tbody>\n"
    for row in rows {
      out += "<tr>"
      for i in used {
        let cell = Drawing.escaped(row.indices.contains(i) ? row[i] : "")
        if i == 0 {
          out += "<th scope=\"row\">\(cell)</th>"
        } else {
          out += "<td\(columns[i].isNumber ? " class=\"number\"" : "")>\(cell)</td>"
        }
      }
      out += "</tr>\n"
    }
    return out + "</tbody></table></div>\n"
  }

  /// As many columns as fit; a table that is too wide goes on below, with its first column again.
  package func text(_ style: TextStyle) -> [String] {
    let columns = used
    guard let first = columns.first else { return [] }
    func cell(_ row: [String], _ i: Int) -> String { style.clean(row.indices.contains(i) ? row[i] : "", 34) }
    func width(_ i: Int) -> Int {
      ([style.clean(self.columns[i].title, 34)] + rows.map { cell($0, i) }).map(\.count).max() ?? 0
    }
    var out: [String] = []
    var rest = columns.dropFirst()
    repeat {
      var shown = [first]
      var used = width(first)
      while let next = rest.first, used + 2 + width(next) <= style.width || shown.count == 1 {
        shown.append(next)
        used += 2 + width(next)
        rest = rest.dropFirst()
      }
      func line(_ text: (Int) -> String) -> String {
        shown.map { self.columns[$0].isNumber ? style.right(text($0), width($0)) : style.padded(text($0), width($0)) }
          .joined(separator: "  ").trimmingEnd
      }
      if !out.isEmpty { out.append("") }
      out.append(line { style.clean(self.columns[$0].title, 34) })
      for row in rows { out.append(line { cell(row, $0) }) }
    } while !rest.isEmpty
    return out
  }
}

/// A report as one HTML file: inline SVG, no script, nothing from elsewhere, in the reader's light or dark scheme.
package struct Page: Sendable {
  /// An input and what it was taken for, or why it was left out.
  package struct Source: Sendable {
    package var path: String
    package var kind: String

    package init(path: String, kind: String) {
      self.path = path
      self.kind = kind
    }
  }

  package var title: String
  package var figures: [Figure]
  package var sources: [Source]

  package init(title: String, figures: [Figure], sources: [Source]) {
    self.title = title
    self.figures = figures
    self.sources = sources
  }

  package func html() -> String {
    var out = """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8"/>
      <meta name="viewport" content="width=device-width, initial-scale=1"/>
      <meta name="color-scheme" content="light dark"/>
      <title>\(Drawing.escaped(title))</title>
      <style>
      \(Palette.pageStyle)\(Self.style)</style>
      </head>
      <body>
      <header><h1>\(Drawing.escaped(title))</h1>
      <nav>
      """
    out += figures.map { "<a href=\"#\($0.name.rawValue)\">\(Drawing.escaped($0.title))</a>" }.joined(separator: " ")
    out += "</nav></header>\n<main>\n" + figures.map { $0.html() }.joined()
    var table = Table(columns: [.init("file"), .init("what it is")])
    table.rows = sources.map { [$0.path, $0.kind] }
    out +=
      "<section id=\"inputs\">\n<details><summary>Inputs (\(sources.count))</summary>\n\(table.html())</details>\n</section>\n"
    return out + "</main>\n</body>\n</html>\n"
  }

  /// The figures for a terminal.
  package func text(_ style: TextStyle) -> String {
    style.clean(title, style.width) + "\n\n" + figures.map { $0.text(style) }.joined(separator: "\n")
  }

  private static let style = """
    body{margin:0 auto;max-width:1120px;padding:2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
    font:15px/1.5 ui-sans-serif,system-ui,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
    h1{font-size:1.5rem;font-weight:600;margin:0 0 .5rem;overflow-wrap:anywhere}
    h2{font-size:1.15rem;font-weight:600;margin:0 0 .15rem}
    nav{color:var(--muted);font-size:.9rem;display:flex;flex-wrap:wrap;gap:0 1.1rem}
    a{color:var(--c0);text-decoration:none}
    a:hover{text-decoration:underline}
    section{margin-top:2.6rem;padding-top:1.4rem;border-top:1px solid var(--rule)}
    p{margin:0 0 1.1rem;color:var(--muted);font-size:.9rem;max-width:46rem}
    .panels{display:flex;flex-wrap:wrap;gap:1.8rem 2.4rem;align-items:flex-start}
    .scroll{overflow-x:auto;max-width:100%}
    svg{display:block}
    table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:0 0 1.4rem}
    th,td{padding:.28rem 1.1rem .28rem 0;text-align:left;font-weight:400;border-bottom:1px solid var(--rule);white-space:nowrap}
    thead th{color:var(--muted);border-bottom-color:var(--axis)}
    .number{text-align:right}
    details summary{cursor:pointer;color:var(--muted)}
    @media print{section{break-inside:avoid}}

    """
}

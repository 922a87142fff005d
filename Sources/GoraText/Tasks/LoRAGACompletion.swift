/// What LoRA-GA's evaluation makes of an answer before it is run (`post_process` of its eval_humaneval.py): fences, texts in three quotes and
/// empty lines go, and each depth of indentation deeper than the first line with `def` becomes one level of four blanks.
func loraGACompletion(_ answer: String) -> String {
  var scalars = without(Array("```".unicodeScalars), Array(answer.unicodeScalars))
  scalars = scalars.flatMap { $0 == "\t" ? Array(repeating: " ", count: 4) : [$0] }
  let lines = pythonLines(withoutTripleQuotes(scalars)).filter { !$0.allSatisfy(\.isPythonSpace) }.map { line in
    Array(line[..<(line.lastIndex { !$0.isPythonSpace }.map { $0 + 1 } ?? 0)])
  }
  let depths = lines.map { $0.prefix { $0 == " " }.count }
  let first = lines.firstIndex { $0.ranges(of: Array("def".unicodeScalars)).isEmpty == false }
  let base = first.map { depths[$0] } ?? 0
  let deeper = Set(depths.filter { $0 > base }).sorted()
  return zip(lines, depths).map { line, depth in
    let level = (deeper.firstIndex(of: depth) ?? -1) + 1
    var text = String.UnicodeScalarView(repeating: " ", count: 4 * level)
    text.append(contentsOf: line.drop(while: \.isPythonSpace))
    return String(text)
  }.joined(separator: "\n")
}

private func without(_ part: [Unicode.Scalar], _ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
  Array(text.split(separator: part, omittingEmptySubsequences: false).joined())
}

/// Without what stands between three quotes of one kind, the first that opens counting.
private func withoutTripleQuotes(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
  var kept: [Unicode.Scalar] = []
  var at = 0
  while at < text.count {
    if text[at] == "\"" || text[at] == "'" {
      let mark = Array(repeating: text[at], count: 3)
      if text[at...].starts(with: mark), let close = text[(at + 3)...].firstRange(of: mark) {
        at = close.upperBound
        continue
      }
    }
    kept.append(text[at])
    at += 1
  }
  return kept
}

/// As Python's `str.splitlines`.
private func pythonLines(_ text: [Unicode.Scalar]) -> [[Unicode.Scalar]] {
  let ends: Set<Unicode.Scalar> = [
    "\n", "\r", "\u{B}", "\u{C}", "\u{1C}", "\u{1D}", "\u{1E}", "\u{85}", "\u{2028}", "\u{2029}",
  ]
  // "\r\n" leaves an empty line here, which is passed over with the others.
  return text.split(omittingEmptySubsequences: false) { ends.contains($0) }.map { Array($0) }
}

extension String {
  /// The text as a message may show it: control characters of names and values become `\n`, `\u{1b}`.
  ///
  /// Controls (C0, DEL, C1), line and paragraph separators, and what turns or hides text (bidirectional marks, tags, soft hyphens)
  /// could forge a line, move the cursor or show one name as another. Joiners stay, for words are spelled with them.
  package var escapingControls: String {
    guard unicodeScalars.contains(where: Self.isControl) else { return self }
    var text = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where Self.isControl(scalar): text += "\\u{\(String(scalar.value, radix: 16))}"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x7F { return scalar.value < 0x20 }
    switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: return true
    case .format: return scalar != "\u{200C}" && scalar != "\u{200D}"
    default: return false
    }
  }
}

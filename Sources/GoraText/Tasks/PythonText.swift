/// Texts as Python's `str` methods see them: by scalars.
extension Unicode.Scalar {
  /// `str.isspace`: the separators U+001C to U+001F too.
  var isPythonSpace: Bool { properties.isWhitespace || (0x1C...0x1F).contains(value) }
}

extension String {
  /// As Python's `strip`.
  package var pythonStripped: String {
    var scalars = Substring(self).unicodeScalars
    while let first = scalars.first, first.isPythonSpace { scalars.removeFirst() }
    while let last = scalars.last, last.isPythonSpace { scalars.removeLast() }
    return String(scalars)
  }
}

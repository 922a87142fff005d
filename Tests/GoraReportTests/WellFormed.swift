/// The elements of an XML text by name; nil where it is not well-formed: tags that do not match, attributes without quotes or given
/// twice, a bare `&` or `<`, unknown entities, characters that XML does not have.
func elements(_ text: String) -> [String: Int]? {
  let scalars = Array(text.unicodeScalars)
  guard scalars.allSatisfy({ ($0.value >= 0x20 || $0 == "\n" || $0 == "\t") && $0.value & 0xFFFE != 0xFFFE }) else { return nil }
  var counts: [String: Int] = [:]
  var open: [String] = []
  var roots = 0
  var at = 0

  func isName(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII && (Character(scalar).isLetter || Character(scalar).isNumber || scalar == "-" || scalar == ":")
  }
  func name() -> String? {
    let start = at
    while at < scalars.count, isName(scalars[at]) { at += 1 }
    return at > start ? String(String.UnicodeScalarView(scalars[start..<at])) : nil
  }
  func space() { while at < scalars.count, scalars[at] == " " || scalars[at] == "\n" { at += 1 } }
  /// Over one character or one entity.
  func character() -> Bool {
    guard scalars[at] == "&" else {
      at += 1
      return true
    }
    guard let end = scalars[at...].prefix(8).firstIndex(of: ";") else { return false }
    let entity = String(String.UnicodeScalarView(scalars[at + 1..<end]))
    at = end + 1
    return ["amp", "lt", "gt", "quot", "#39"].contains(entity)
  }

  while at < scalars.count {
    if scalars[at] != "<" {
      if open.isEmpty, scalars[at] != "\n", scalars[at] != " " { return nil }
      if !character() { return nil }
      continue
    }
    at += 1
    if at < scalars.count, scalars[at] == "/" {
      at += 1
      guard let closed = name(), open.popLast() == closed, at < scalars.count, scalars[at] == ">" else { return nil }
      at += 1
      continue
    }
    guard let element = name() else { return nil }
    if open.isEmpty { roots += 1 }
    counts[element, default: 0] += 1
    var attributes: Set<String> = []
    while true {
      space()
      guard at < scalars.count else { return nil }
      if scalars[at] == ">" {
        open.append(element)
        at += 1
        break
      }
      if scalars[at] == "/" {
        guard at + 1 < scalars.count, scalars[at + 1] == ">" else { return nil }
        at += 2
        break
      }
      guard let attribute = name(), attributes.insert(attribute).inserted, at + 1 < scalars.count, scalars[at] == "=",
        scalars[at + 1] == "\""
      else { return nil }
      at += 2
      while at < scalars.count, scalars[at] != "\"" { if scalars[at] == "<" || !character() { return nil } }
      at += 1
    }
  }
  return open.isEmpty && roots == 1 ? counts : nil
}

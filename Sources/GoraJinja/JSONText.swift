extension Rendering {
  /// `tojson` as Transformers defines it: `json.dumps`, without HTML's escapes and with letters as they are.
  mutating func json(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> String {
    var layout = JSONLayout()
    layout.isASCII = parts[0]?.isTrue == true
    layout.isSorted = parts[3]?.isTrue == true
    switch parts[1] {
    case nil, JinjaValue.none?: break
    case .string(let unit)?: layout.unit = unit
    case let width?:
      let count = max(0, try integer(width, of: "tojson") ?? 0)
      try account(count)
      layout.unit = String(repeating: " ", count: count)
      layout.itemSeparator = ","
    }
    if layout.unit != nil { layout.itemSeparator = "," }
    if let separators = parts[2], separators.typeName != "NoneType" {
      let pair = try items(of: separators)
      guard pair.count == 2, let item = pair[0].text, let key = pair[1].text else {
        throw JinjaError("the separators of tojson are two strings")
      }
      layout.itemSeparator = item
      layout.keySeparator = key
    }
    var text = ""
    try write(value, layout, level: 0, into: &text)
    return text
  }

  private struct JSONLayout {
    var isASCII = false
    var isSorted = false
    /// What a level is indented by; nil for one line.
    var unit: String?
    var itemSeparator = ", "
    var keySeparator = ": "

    func newline(_ level: Int) -> String { unit.map { "\n" + String(repeating: $0, count: level) } ?? "" }
  }

  private mutating func write(
    _ value: JinjaValue, _ layout: JSONLayout, level: Int, into text: inout String
  ) throws(JinjaError) {
    try charge(1)
    if text.utf8.count > limits.output { throw JinjaError("makes a text of more than \(limits.output >> 20) MiB") }
    switch value {
    case .none: text += "null"
    case .bool(let flag): text += flag ? "true" : "false"
    case .int(let number): text += String(number)
    case .float(let number):
      text += number.isNaN ? "NaN" : number.isInfinite ? (number < 0 ? "-Infinity" : "Infinity") : PythonNumber.text(number)
    case .string(let string): Self.quote(string, layout.isASCII, into: &text)
    case .list(let list), .tuple(let list):
      if list.items.isEmpty {
        text += "[]"
        return
      }
      try enter()
      defer { leave() }
      text += "["
      for (i, item) in list.items.enumerated() {
        if i > 0 { text += layout.itemSeparator }
        text += layout.newline(level + 1)
        try write(item, layout, level: level + 1, into: &text)
      }
      text += layout.newline(level) + "]"
    case .dict(let dict):
      if dict.entries.isEmpty {
        text += "{}"
        return
      }
      try enter()
      defer { leave() }
      text += "{"
      for (i, entry) in try members(dict, isSorted: layout.isSorted).enumerated() {
        if i > 0 { text += layout.itemSeparator }
        text += layout.newline(level + 1)
        Self.quote(entry.key, layout.isASCII, into: &text)
        text += layout.keySeparator
        try write(entry.value, layout, level: level + 1, into: &text)
      }
      text += layout.newline(level) + "}"
    case .object(let object):
      guard let markup = object as? JinjaMarkup else { throw JinjaError("a \(value.typeName) has no JSON") }
      Self.quote(markup.text, layout.isASCII, into: &text)
    case .undefined(let name): throw undefined(name)
    }
  }

  private func members(_ dict: JinjaDict, isSorted: Bool) throws(JinjaError) -> [(key: String, value: JinjaValue)] {
    var members: [(key: String, value: JinjaValue)] = []
    for entry in dict.entries {
      let key: String
      switch entry.key {
      case .string(let name): key = name
      case .int(let number): key = String(number)
      case .float(let number): key = PythonNumber.text(number)
      case .bool(let flag): key = flag ? "true" : "false"
      case .none: key = "null"
      default: throw JinjaError("a \(entry.key.typeName) cannot be a key of JSON")
      }
      if isSorted, case .string = entry.key {
      } else if isSorted, dict.entries.count > 1 {
        throw JinjaError("sorting keys that are no strings is not supported")
      }
      members.append((key, entry.value))
    }
    return isSorted ? members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : members
  }

  private static func quote(_ string: String, _ isASCII: Bool, into text: inout String) {
    text += "\""
    let needsNothing = string.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C && (!isASCII || $0 < 0x7F) }
    if needsNothing {
      text += string
    } else {
      for scalar in string.unicodeScalars {
        switch scalar {
        case "\"": text += "\\\""
        case "\\": text += "\\\\"
        case "\n": text += "\\n"
        case "\r": text += "\\r"
        case "\t": text += "\\t"
        case "\u{8}": text += "\\b"
        case "\u{C}": text += "\\f"
        case _ where scalar.value < 0x20 || (isASCII && scalar.value > 0x7E):
          for unit in String(Character(scalar)).utf16 { text += "\\u" + String.hexadecimal(UInt32(unit), 4) }
        default: text.unicodeScalars.append(scalar)
        }
      }
    }
    text += "\""
  }
}

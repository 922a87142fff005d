// Python's three ways to put values into a pattern, as far as templates use them: others are refused by name.

extension Rendering {
  // MARK: "%s" % values

  /// The `format` filter: named values or others, not both.
  mutating func formatFiltered(_ pattern: String, _ values: CallValues) throws(JinjaError) -> String {
    if !values.named.isEmpty, !values.positional.isEmpty {
      throw JinjaError("the filter \"format\" takes named arguments or others, not both")
    }
    if values.named.isEmpty { return try formatted(pattern, with: .tuple(try madeList(values.positional))) }
    return try formatted(pattern, with: try made(values.named.map { JinjaDict.Entry($0.name, $0.value) }))
  }

  mutating func formatted(_ pattern: String, with operand: JinjaValue) throws(JinjaError) -> String {
    var rest: [JinjaValue] = [operand]
    var isTuple = false
    if case .tuple(let list) = operand {
      rest = list.items
      isTuple = true
    }
    var dict: JinjaDict?
    if case .dict(let known) = operand { dict = known }
    var isDictUsed = false
    var used = 0
    let scalars = Array(pattern.unicodeScalars)
    var text = ""
    var at = 0
    while at < scalars.count {
      if scalars[at] != "%" {
        text.unicodeScalars.append(scalars[at])
        at += 1
        continue
      }
      at += 1
      var spec = FormatSpec()
      var value: JinjaValue?
      if at < scalars.count, scalars[at] == "(" {
        guard let end = scalars[at...].firstIndex(of: ")"), let dict else {
          throw JinjaError("a named place asks for a dictionary")
        }
        let name = String(scalars[(at + 1)..<end])
        guard let found = dict[name] else { throw JinjaError("the dictionary has no key \(name.pythonRepr)") }
        value = found
        isDictUsed = true
        at = end + 1
      }
      while at < scalars.count, "-+ #0".unicodeScalars.contains(scalars[at]) {
        switch scalars[at] {
        case "-": spec.align = "<"
        case "0": spec.isZeroFilled = true
        case "#": throw JinjaError("the flag # of a % place is not supported")
        default: if spec.sign != "+" { spec.sign = scalars[at] }
        }
        at += 1
      }
      spec.width = try Self.digits(scalars, &at)
      if at < scalars.count, scalars[at] == "." {
        at += 1
        spec.precision = try Self.digits(scalars, &at) ?? 0
      }
      guard at < scalars.count else { throw JinjaError("the pattern ends within a place") }
      let kind = scalars[at]
      at += 1
      if kind == "%" {
        text += "%"
        continue
      }
      if value == nil {
        guard used < rest.count else { throw JinjaError("not enough values for the pattern") }
        value = rest[used]
        used += 1
      }
      text += try place(value ?? .none, kind, spec)
      try account(text.utf8.count)
    }
    let isComplete = used == rest.count || (!isTuple && used == 0 && (isDictUsed || dict != nil || Self.isList(operand)))
    if !isComplete { throw JinjaError("not all values are used by the pattern") }
    return text
  }

  private static func isList(_ value: JinjaValue) -> Bool {
    if case .list = value { return true }
    return false
  }

  private static func digits(_ scalars: [Unicode.Scalar], _ at: inout Int) throws(JinjaError) -> Int? {
    var number: Int?
    while at < scalars.count, let digit = Int(String(Character(scalars[at]))) {
      number = (number ?? 0) * 10 + digit
      if number ?? 0 > 1 << 20 { throw JinjaError("the width of a place is too large") }
      at += 1
    }
    return number
  }

  private mutating func place(_ value: JinjaValue, _ kind: Unicode.Scalar, _ spec: FormatSpec) throws(JinjaError) -> String {
    var spec = spec
    switch kind {
    case "s", "r":
      var text = kind == "s" ? try string(value) : try representation(value)
      if let precision = spec.precision { text = String(text.unicodeScalars.prefix(precision)) }
      spec.isZeroFilled = false
      return spec.filled(text, sign: "", standard: ">")
    case "d", "i", "u", "x", "X", "o":
      var operand = try number(value, sign: "%\(kind)")
      if case .float(let float) = operand {
        guard kind == "d" || kind == "i" || kind == "u", let whole = Int(exactly: float.rounded(.towardZero)) else {
          throw JinjaError("%\(kind) asks for an integer")
        }
        operand = .int(whole)
      }
      guard case .int(let whole) = operand else { return "" }
      if spec.precision != nil { throw JinjaError("the precision of %\(kind) is not supported") }
      spec.kind = kind == "i" || kind == "u" ? "d" : kind
      return try formatted(whole, spec)
    case "f", "F", "e", "E", "g", "G":
      let operand = try number(value, sign: "%\(kind)")
      spec.kind = kind
      switch operand {
      case .float(let float): return try formatted(float, spec)
      case .int(let whole): return try formatted(Double(whole), spec)
      default: return ""
      }
    case "c":
      if let code = value.integer, let scalar = UInt32(exactly: code).flatMap(Unicode.Scalar.init) {
        return spec.filled(String(Character(scalar)), sign: "", standard: ">")
      }
      guard let text = value.text, text.unicodeScalars.count == 1 else { throw JinjaError("%c asks for one character") }
      return spec.filled(text, sign: "", standard: ">")
    default: throw JinjaError("the place %\(kind) of a pattern is not supported")
    }
  }

  // MARK: "{}".format(values)

  mutating func formatted(_ pattern: String, _ values: CallValues) throws(JinjaError) -> String {
    var automatic = 0
    return try formatted(pattern, values, &automatic, isNested: false)
  }

  private mutating func formatted(
    _ pattern: String, _ values: CallValues, _ automatic: inout Int, isNested: Bool
  ) throws(JinjaError) -> String {
    let scalars = Array(pattern.unicodeScalars)
    var text = ""
    var at = 0
    while at < scalars.count {
      let scalar = scalars[at]
      at += 1
      if scalar != "{", scalar != "}" {
        text.unicodeScalars.append(scalar)
        continue
      }
      if at < scalars.count, scalars[at] == scalar, !isNested {
        text.unicodeScalars.append(scalar)
        at += 1
        continue
      }
      if scalar == "}" { throw JinjaError("the pattern has a single \"}\"") }
      var field = ""
      var open = 1
      while at < scalars.count {
        if scalars[at] == "{" { open += 1 }
        if scalars[at] == "}" { open -= 1 }
        if open == 0 { break }
        field.unicodeScalars.append(scalars[at])
        at += 1
      }
      if open > 0 { throw JinjaError("the pattern has a single \"{\"") }
      at += 1
      text += try self.field(field, values, &automatic, isNested: isNested)
      try account(text.utf8.count)
    }
    return text
  }

  private mutating func field(
    _ field: String, _ values: CallValues, _ automatic: inout Int, isNested: Bool
  ) throws(JinjaError) -> String {
    var name = field
    var pattern = ""
    if let colon = field.offset(of: ":") {
      name = field.bytes(0, colon)
      pattern = field.bytes(colon + 1, field.utf8.count)
      if pattern.contains(part: "{") {
        if isNested { throw JinjaError("places of a pattern are nested too deep") }
        pattern = try formatted(pattern, values, &automatic, isNested: true)
      }
    }
    var conversion: String?
    if let mark = name.offset(of: "!") {
      conversion = name.bytes(mark + 1, name.utf8.count)
      name = name.bytes(0, mark)
    }
    var value = try fieldValue(name, values, &automatic)
    switch conversion {
    case nil: break
    case "s": value = .string(try string(value))
    case "r": value = .string(try representation(value))
    case let other?: throw JinjaError("the conversion !\(other) is not supported")
    }
    let spec = try FormatSpec(pattern)
    if pattern.isEmpty { return try string(value) }
    switch value {
    case .int(let number): return try formatted(number, spec)
    case .float(let number): return try formatted(number, spec)
    case .string(let text):
      if spec.kind != nil && spec.kind != "s" || spec.sign != nil || spec.grouping != nil || spec.align == "=" {
        throw JinjaError("the pattern \(pattern.pythonRepr) is none of a string")
      }
      let kept = spec.precision.map { String(text.unicodeScalars.prefix($0)) } ?? text
      return spec.filled(kept, sign: "", standard: "<")
    default: throw JinjaError("the pattern \(pattern.pythonRepr) of a \(value.typeName) is not supported")
    }
  }

  private mutating func fieldValue(
    _ name: String, _ values: CallValues, _ automatic: inout Int
  ) throws(JinjaError) -> JinjaValue {
    let scalars = Array(name.unicodeScalars)
    let end = scalars.firstIndex { $0 == "." || $0 == "[" } ?? scalars.count
    let first = String(scalars[..<end])
    var value: JinjaValue
    if first.isEmpty || Self.isAll(first, .isdecimal) {
      let place = first.isEmpty ? automatic : Int(first) ?? Int.max
      if first.isEmpty { automatic += 1 }
      guard place < values.positional.count else { throw JinjaError("the pattern asks for value \(place)") }
      value = values.positional[place]
    } else {
      guard let found = values.named.first(where: { $0.name == first }) else {
        throw JinjaError("the pattern asks for a value \"\(first)\"")
      }
      value = found.value
    }
    var at = end
    while at < scalars.count {
      let isItem = scalars[at] == "["
      let stop =
        isItem
        ? scalars[at...].firstIndex(of: "]") ?? scalars.count
        : scalars[(at + 1)...].firstIndex { $0 == "." || $0 == "[" } ?? scalars.count
      if isItem, stop == scalars.count { throw JinjaError("a place of the pattern lacks \"]\"") }
      let part = String(scalars[(at + 1)..<stop])
      value =
        isItem
        ? try item(Int(part).map { .int($0) } ?? .string(part), of: value) : try attribute(AttributeName(part), of: value)
      if case .undefined(let missing) = value { throw undefined(missing) }
      at = isItem ? stop + 1 : stop
    }
    return value
  }

  // MARK: Numbers

  private func formatted(_ number: Int, _ spec: FormatSpec) throws(JinjaError) -> String {
    let digits: String
    switch spec.kind {
    case nil, "d", "n": digits = FormatSpec.grouped(String(number.magnitude), by: spec.grouping)
    case "x": digits = String(number.magnitude, radix: 16)
    case "X": digits = String(number.magnitude, radix: 16, uppercase: true)
    case "o": digits = String(number.magnitude, radix: 8)
    case "b": digits = String(number.magnitude, radix: 2)
    case "c":
      guard let scalar = UInt32(exactly: number).flatMap(Unicode.Scalar.init) else { throw JinjaError("no such character") }
      return spec.filled(String(Character(scalar)), sign: "", standard: "<")
    case "e", "E", "f", "F", "g", "G", "%": return try formatted(Double(number), spec)
    default: throw JinjaError("the pattern of an integer is not supported")
    }
    if spec.precision != nil { throw JinjaError("an integer's pattern has no precision") }
    return spec.filled(digits, sign: number < 0 ? "-" : spec.positiveSign, standard: ">")
  }

  private func formatted(_ number: Double, _ spec: FormatSpec) throws(JinjaError) -> String {
    let magnitude = number.magnitude
    var digits: String
    let precision = spec.precision ?? 6
    if precision > 500 { throw JinjaError("the precision of a place is too large") }
    switch spec.kind {
    case nil:
      guard spec.precision == nil else { throw JinjaError("a precision without a kind is not supported") }
      digits = PythonNumber.text(magnitude)
    case "%": digits = PythonNumber.formatted("%.\(precision)f", magnitude * 100) + "%"
    case "f"?, "F"?, "e"?, "E"?, "g"?, "G"?:
      digits = PythonNumber.formatted("%.\(precision)\(spec.kind ?? "f")", magnitude)
    default: throw JinjaError("the pattern of a number is not supported")
    }
    if let grouping = spec.grouping {
      let end = digits.firstIndex { !$0.isNumber } ?? digits.endIndex
      digits = FormatSpec.grouped(String(digits[..<end]), by: grouping) + digits[end...]
    }
    return spec.filled(digits, sign: number.sign == .minus && !number.isNaN ? "-" : spec.positiveSign, standard: ">")
  }
}

/// Python's format specification.
private struct FormatSpec {
  var fill = " "
  var align: Unicode.Scalar?
  var sign: Unicode.Scalar?
  var isZeroFilled = false
  var width: Int?
  var grouping: Unicode.Scalar?
  var precision: Int?
  var kind: Unicode.Scalar?

  init() {}

  init(_ text: String) throws(JinjaError) {
    let scalars = Array(text.unicodeScalars)
    var at = 0
    func isAlign(_ place: Int) -> Bool { place < scalars.count && "<>=^".unicodeScalars.contains(scalars[place]) }
    if isAlign(1) {
      fill = String(Character(scalars[0]))
      align = scalars[1]
      at = 2
    } else if isAlign(0) {
      align = scalars[0]
      at = 1
    }
    if at < scalars.count, "+- ".unicodeScalars.contains(scalars[at]) {
      sign = scalars[at]
      at += 1
    }
    if at < scalars.count, scalars[at] == "0" {
      isZeroFilled = true
      at += 1
    }
    func number() throws(JinjaError) -> Int? {
      var result: Int?
      while at < scalars.count, let digit = Int(String(Character(scalars[at]))) {
        result = (result ?? 0) * 10 + digit
        if result ?? 0 > 1 << 20 { throw JinjaError("the width of a place is too large") }
        at += 1
      }
      return result
    }
    width = try number()
    if at < scalars.count, scalars[at] == "," || scalars[at] == "_" {
      grouping = scalars[at]
      at += 1
    }
    if at < scalars.count, scalars[at] == "." {
      at += 1
      precision = try number()
    }
    if at < scalars.count {
      kind = scalars[at]
      at += 1
    }
    if at < scalars.count { throw JinjaError("the pattern \(text.pythonRepr) is not supported") }
  }

  var positiveSign: String { sign == "+" ? "+" : sign == " " ? " " : "" }

  static func grouped(_ digits: String, by separator: Unicode.Scalar?) -> String {
    guard let separator else { return digits }
    var result = ""
    for (i, digit) in digits.enumerated() {
      if i > 0, (digits.count - i) % 3 == 0 { result.unicodeScalars.append(separator) }
      result.append(digit)
    }
    return result
  }

  func filled(_ text: String, sign: String, standard: Unicode.Scalar) -> String {
    let missing = (width ?? 0) - text.codePointCount - sign.codePointCount
    if missing <= 0 { return sign + text }
    let filler = isZeroFilled && align == nil ? "0" : fill
    let side = align ?? (isZeroFilled && standard == ">" ? "=" : standard)
    func blank(_ count: Int) -> String { String(repeating: filler, count: count) }
    switch side {
    case "<": return sign + text + blank(missing)
    case "=": return sign + blank(missing) + text
    case "^": return blank(missing / 2) + sign + text + blank(missing - missing / 2)
    default: return blank(missing) + sign + text
    }
  }
}

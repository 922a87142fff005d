extension Rendering {
  // MARK: str and repr

  /// `str(value)`.
  mutating func string(_ value: JinjaValue) throws(JinjaError) -> String {
    switch value {
    case .string(let text): return text
    case .undefined: return ""
    case .object(let object):
      if let markup = object as? JinjaMarkup { return markup.text }
    default: break
    }
    return try representation(value)
  }

  /// `repr(value)`.
  mutating func representation(_ value: JinjaValue) throws(JinjaError) -> String {
    var text = ""
    try represent(value, into: &text)
    try account(text.utf8.count)
    return text
  }

  private mutating func represent(_ value: JinjaValue, into text: inout String) throws(JinjaError) {
    try charge(1)
    switch value {
    case .undefined: text += "Undefined"
    case .none: text += "None"
    case .bool(let flag): text += flag ? "True" : "False"
    case .int(let number): text += String(number)
    case .float(let number): text += PythonNumber.text(number)
    case .string(let string): text += string.pythonRepr
    case .list(let list): try represent(list.items, "[", "]", into: &text)
    case .tuple(let list): try represent(list.items, "(", list.items.count == 1 ? ",)" : ")", into: &text)
    case .dict(let dict):
      try enter()
      defer { leave() }
      text += "{"
      for (i, entry) in dict.entries.enumerated() {
        if i > 0 { text += ", " }
        try represent(entry.key, into: &text)
        text += ": "
        try represent(entry.value, into: &text)
      }
      text += "}"
    case .object(let object):
      if let range = object as? JinjaRange {
        text += "range(\(range.start), \(range.stop)\(range.step == 1 ? "" : ", \(range.step)"))"
      } else if let view = object as? JinjaView {
        text += "\(view.typeName)("
        try represent(view.items, "[", "]", into: &text)
        text += ")"
      } else if let markup = object as? JinjaMarkup {
        text += "Markup(\(markup.text.pythonRepr))"
      } else {
        // Python's texts of these have addresses or classes in them, which no template means to show.
        throw JinjaError("the text of a \(value.typeName) is not supported")
      }
    }
  }

  private mutating func represent(
    _ items: [JinjaValue], _ open: String, _ close: String, into text: inout String
  ) throws(JinjaError) {
    try enter()
    defer { leave() }
    text += open
    for (i, item) in items.enumerated() {
      if i > 0 { text += ", " }
      try represent(item, into: &text)
    }
    text += close
    if text.utf8.count > limits.output { throw JinjaError("makes a text of more than \(limits.output >> 20) MiB") }
  }

  // MARK: Comparisons

  mutating func holds(
    _ comparison: Comparison, _ left: JinjaValue, _ right: JinjaValue
  ) throws(JinjaError) -> Bool {
    switch comparison {
    case .equal: try areEqual(left, right)
    case .notEqual: !(try areEqual(left, right))
    case .less: try isLess(left, right)
    case .greater: try isLess(right, left)
    case .lessOrEqual: try isLess(left, right, orEqual: true)
    case .greaterOrEqual: try isLess(right, left, orEqual: true)
    case .within: try contains(right, left)
    case .notWithin: !(try contains(right, left))
    }
  }

  mutating func areEqual(_ left: JinjaValue, _ right: JinjaValue) throws(JinjaError) -> Bool {
    switch (left, right) {
    case (.string(let a), .string(let b)): return a.isSame(as: b)
    case (.none, .none), (.undefined, .undefined): return true
    case (.float(let a), .float(let b)): return a == b
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      if a === b { return true }
      guard a.items.count == b.items.count else { return false }
      try enter()
      defer { leave() }
      for (x, y) in zip(a.items, b.items) {
        try charge(1)
        if !(try areEqual(x, y)) { return false }
      }
      return true
    case (.dict(let a), .dict(let b)):
      if a === b { return true }
      guard a.entries.count == b.entries.count else { return false }
      try enter()
      defer { leave() }
      for entry in a.entries {
        try charge(1 + b.entries.count / 16)
        guard let other = try find(entry.key, in: b), try areEqual(entry.value, other) else { return false }
      }
      return true
    case (.object(let a), .object(let b)):
      if a === b { return true }
      if let a = a as? JinjaMarkup, let b = b as? JinjaMarkup { return a.text.isSame(as: b.text) }
      if a is JinjaRange, b is JinjaRange { throw JinjaError("comparing ranges is not supported") }
      if a is JinjaView, b is JinjaView { throw JinjaError("comparing views of dictionaries is not supported") }
      return false
    default: break
    }
    if let a = left.integer {
      if let b = right.integer { return a == b }
      if case .float(let b) = right { return b == Double(a) && Int(exactly: b) == a }
    }
    if case .float = left, right.integer != nil { return try areEqual(right, left) }
    if let a = left.text, let b = right.text { return a.isSame(as: b) }
    return false
  }

  mutating func find(_ key: JinjaValue, in dict: JinjaDict) throws(JinjaError) -> JinjaValue? {
    if case .string(let name) = key { return dict[name] }
    for entry in dict.entries where try areEqual(entry.key, key) { return entry.value }
    return nil
  }

  /// Python's `<`, and `<=`.
  mutating func isLess(_ left: JinjaValue, _ right: JinjaValue, orEqual: Bool = false) throws(JinjaError) -> Bool {
    if let a = left.integer, let b = right.integer { return orEqual ? a <= b : a < b }
    if let a = try float(left), let b = try float(right) { return orEqual ? a <= b : a < b }
    if let a = left.text, let b = right.text {
      // Code points are in the order of their bytes.
      return orEqual ? !b.utf8.lexicographicallyPrecedes(a.utf8) : a.utf8.lexicographicallyPrecedes(b.utf8)
    }
    switch (left, right) {
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      try enter()
      defer { leave() }
      for (x, y) in zip(a.items, b.items) {
        try charge(1)
        if !(try areEqual(x, y)) { return try isLess(x, y, orEqual: orEqual) }
      }
      return orEqual ? a.items.count <= b.items.count : a.items.count < b.items.count
    case (.undefined(let name), _), (_, .undefined(let name)): throw undefined(name)
    default: throw JinjaError("a \(left.typeName) and a \(right.typeName) have no order")
    }
  }

  mutating func contains(_ container: JinjaValue, _ item: JinjaValue) throws(JinjaError) -> Bool {
    if let text = container.text {
      guard let part = item.text else {
        throw JinjaError("\"in\" a string asks for a string, not for a \(item.typeName)")
      }
      return text.contains(part: part)
    }
    switch container {
    case .dict(let dict):
      guard isHashable(item) else { throw JinjaError("a \(item.typeName) cannot be a key") }
      return try find(item, in: dict) != nil
    case .none, .bool, .int, .float: throw JinjaError("\"in\" asks for a container, not for a \(container.typeName)")
    case .object(let object):
      if let generator = object as? JinjaGenerator {
        while let next = try generator.next(&self) {
          if try areEqual(next, item) { return true }
        }
        return false
      }
    default: break
    }
    for other in try items(of: container) {
      try charge(1)
      if try areEqual(other, item) { return true }
    }
    return false
  }

  // MARK: Arithmetic

  private func float(_ value: JinjaValue) throws(JinjaError) -> Double? {
    if case .float(let number) = value { return number }
    return value.integer.map(Double.init)
  }

  mutating func sum(_ first: JinjaValue, _ rest: ArraySlice<Expression>) throws(JinjaError) -> JinjaValue {
    var total = first
    for part in rest { total = try added(total, try evaluate(part)) }
    return total
  }

  mutating func added(_ left: JinjaValue, _ right: JinjaValue) throws(JinjaError) -> JinjaValue {
    switch (left, right) {
    case (.string(let a), .string(let b)): return try made(a + b)
    case (.list(let a), .list(let b)):
      try account(a.items.count + b.items.count, of: 16)
      return try made(a.items + b.items)
    case (.tuple(let a), .tuple(let b)):
      try account(a.items.count + b.items.count, of: 16)
      return .tuple(try madeList(a.items + b.items))
    case (.undefined(let name), _), (_, .undefined(let name)): throw undefined(name)
    default: break
    }
    if let a = left.integer, let b = right.integer { return .int(try checked(a.addingReportingOverflow(b))) }
    if let a = try float(left), let b = try float(right) { return .float(a + b) }
    if let a = left.text, let b = right.text {
      return .object(JinjaMarkup((left.isMarkup ? a : a.escaped) + (right.isMarkup ? b : b.escaped)))
    }
    throw JinjaError("a \(left.typeName) and a \(right.typeName) cannot be added")
  }

  private func checked(_ result: (partialValue: Int, overflow: Bool)) throws(JinjaError) -> Int {
    if result.overflow { throw JinjaError("the integer does not fit 64 bits") }
    return result.partialValue
  }

  mutating func negated(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
    switch try number(value, sign: "-") {
    case .int(let number): return .int(try checked(0.subtractingReportingOverflow(number)))
    case .float(let number): return .float(-number)
    default: return value
    }
  }

  /// The operand of a sign, booleans made integers.
  func number(_ value: JinjaValue, sign: String) throws(JinjaError) -> JinjaValue {
    if case .undefined(let name) = value { throw undefined(name) }
    if case .float = value { return value }
    guard let number = value.integer else { throw JinjaError("\"\(sign)\" before a \(value.typeName)") }
    return .int(number)
  }

  mutating func arithmetic(
    _ operation: Arithmetic, _ left: JinjaValue, _ right: JinjaValue
  ) throws(JinjaError) -> JinjaValue {
    if operation == .modulo, let pattern = left.text {
      if case .undefined(let name) = right { throw undefined(name) }
      return try made(try formatted(pattern, with: right))
    }
    if case .undefined(let name) = left { throw undefined(name) }
    if case .undefined(let name) = right { throw undefined(name) }
    if let a = left.integer, let b = right.integer { return try integerResult(operation, a, b) }
    if let a = try float(left), let b = try float(right) { return try floatResult(operation, a, b) }
    if operation == .times {
      if let count = right.integer { return try repeated(left, count) }
      if let count = left.integer { return try repeated(right, count) }
    }
    throw JinjaError("\"\(operation.rawValue)\" between a \(left.typeName) and a \(right.typeName)")
  }

  private mutating func repeated(_ value: JinjaValue, _ count: Int) throws(JinjaError) -> JinjaValue {
    let count = max(count, 0)
    if let text = value.text {
      try account(count, of: max(text.utf8.count, 1))
      let result = String(repeating: text, count: count)
      return value.isMarkup ? .object(JinjaMarkup(result)) : .string(result)
    }
    switch value {
    case .list(let list):
      try account(count, of: 16 * max(list.items.count, 1))
      return try made(Array(repeatElement(list.items, count: count).joined()))
    case .tuple(let list):
      try account(count, of: 16 * max(list.items.count, 1))
      return .tuple(try madeList(Array(repeatElement(list.items, count: count).joined())))
    default: throw JinjaError("a \(value.typeName) cannot be repeated")
    }
  }

  private func integerResult(_ operation: Arithmetic, _ a: Int, _ b: Int) throws(JinjaError) -> JinjaValue {
    switch operation {
    case .minus: return .int(try checked(a.subtractingReportingOverflow(b)))
    case .times: return .int(try checked(a.multipliedReportingOverflow(by: b)))
    case .divided:
      if b == 0 { throw JinjaError("division by zero") }
      return .float(Double(a) / Double(b))
    case .floorDivided, .modulo:
      if b == 0 { throw JinjaError("division by zero") }
      let (quotient, overflow) = a.dividedReportingOverflow(by: b)
      if overflow { return operation == .modulo ? .int(0) : .int(try checked((0, true))) }
      let rest = a - quotient * b
      let isBelow = rest != 0 && (rest < 0) != (b < 0)
      return operation == .modulo ? .int(isBelow ? rest + b : rest) : .int(isBelow ? quotient - 1 : quotient)
    case .power:
      if b < 0 {
        if a == 0 { throw JinjaError("zero to a negative power") }
        return .float(PythonNumber.power(Double(a), Double(b)))
      }
      if a == 0 || a == 1 || b == 0 { return .int(b == 0 ? 1 : a) }
      if a == -1 { return .int(b % 2 == 0 ? 1 : -1) }
      var result = 1
      for _ in 0..<min(b, 64) { result = try checked(result.multipliedReportingOverflow(by: a)) }
      return .int(result)
    }
  }

  private func floatResult(_ operation: Arithmetic, _ a: Double, _ b: Double) throws(JinjaError) -> JinjaValue {
    switch operation {
    case .minus: return .float(a - b)
    case .times: return .float(a * b)
    case .divided:
      if b == 0 { throw JinjaError("division by zero") }
      return .float(a / b)
    case .floorDivided, .modulo:
      if b == 0 { throw JinjaError("division by zero") }
      var rest = a.truncatingRemainder(dividingBy: b)
      var quotient = (a - rest) / b
      if rest != 0, (rest < 0) != (b < 0) {
        rest += b
        quotient -= 1
      } else if rest == 0 {
        rest = Double(signOf: b, magnitudeOf: 0)
      }
      if operation == .modulo { return .float(rest) }
      if quotient == 0 { return .float(Double(signOf: a / b, magnitudeOf: 0)) }
      let floor = quotient.rounded(.down)
      return .float(quotient - floor > 0.5 ? floor + 1 : floor)
    case .power:
      if a == 0, b < 0 { throw JinjaError("zero to a negative power") }
      if a < 0, b != b.rounded() { throw JinjaError("a root of a negative number") }
      let result = PythonNumber.power(a, b)
      if result.isInfinite, a.isFinite, b.isFinite { throw JinjaError("the number is too large") }
      return .float(result)
    }
  }
}

extension JinjaValue {
  var isMarkup: Bool {
    if case .object(let object) = self { return object is JinjaMarkup }
    return false
  }
}

extension String {
  /// HTML's five characters spelt out.
  var escaped: String {
    var result = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "'": result += "&#39;"
      case "\"": result += "&#34;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

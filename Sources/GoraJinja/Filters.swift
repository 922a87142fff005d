/// What may follow `|`.
enum Filter: String {
  case abs, attr, batch, capitalize, center, count, d, `default`, dictsort, e, escape, filesizeformat, first, float, forceescape
  case format, groupby, indent, int, items, join, last, length, list, lower, map, max, min, pprint, random, reject, rejectattr
  case replace, reverse, round, safe, select, selectattr, slice, sort, string, striptags, sum, title, tojson, trim, truncate
  case unique, upper, urlencode, urlize, wordcount, wordwrap, xmlattr

  /// Names of its arguments, in their order.
  fileprivate var parameters: [String] {
    switch self {
    case .attr: ["name"]
    case .batch: ["linecount", "fill_with"]
    case .center: ["width"]
    case .d, .default: ["default_value", "boolean"]
    case .dictsort: ["case_sensitive", "by", "reverse"]
    case .float: ["default"]
    case .indent: ["width", "first", "blank"]
    case .int: ["default", "base"]
    case .join: ["d", "attribute"]
    case .max, .min, .unique: ["case_sensitive", "attribute"]
    case .replace: ["old", "new", "count"]
    case .round: ["precision", "method"]
    case .slice: ["slices", "fill_with"]
    case .sort: ["reverse", "case_sensitive", "attribute"]
    case .sum: ["attribute", "start"]
    case .tojson: ["ensure_ascii", "indent", "separators", "sort_keys"]
    case .trim: ["chars"]
    case .truncate: ["length", "killwords", "end", "leeway"]
    default: []
    }
  }

  fileprivate var required: Int {
    switch self {
    case .attr, .batch, .slice: 1
    case .replace: 2
    default: 0
    }
  }
}

extension Rendering {
  mutating func applied(_ filters: [FilterCall], to value: JinjaValue) throws(JinjaError) -> JinjaValue {
    var value = value
    for filter in filters { value = try applied(filter, to: value) }
    return value
  }

  mutating func applied(_ call: FilterCall, to value: JinjaValue) throws(JinjaError) -> JinjaValue {
    guard let filter = call.filter else { throw JinjaError("unknown filter \"\(call.name)\"") }
    return try applied(filter, to: value, try values(call.arguments))
  }

  private mutating func applied(
    _ filter: Filter, to value: JinjaValue, _ values: CallValues
  ) throws(JinjaError) -> JinjaValue {
    try charge(1)
    switch filter {
    case .map: return try mapped(value, values)
    case .select, .reject, .selectattr, .rejectattr: return try selected(filter, value, values)
    case .format: return try made(try formatFiltered(try string(value), values))
    default: break
    }
    let name = "the filter \"\(filter.rawValue)\""
    let parts = try values.bound(to: filter.parameters, of: name, required: filter.required)
    switch filter {
    // Texts
    case .trim, .upper, .lower, .capitalize, .title, .replace, .indent, .truncate, .center, .wordcount, .urlencode:
      return try textFiltered(filter, value, parts)
    case .string: return value.isMarkup ? value : .string(try string(value))
    case .safe: return .object(JinjaMarkup(try string(value)))
    case .e, .escape, .forceescape:
      if value.isMarkup, filter != .forceescape { return value }
      let text = try string(value).escaped
      try account(text.utf8.count)
      return .object(JinjaMarkup(text))
    case .tojson: return try made(try json(value, parts))
    // Numbers
    case .int: return try toInt(value, parts)
    case .float: return try toFloat(value, parts[0])
    case .abs:
      let number = try self.number(value, sign: "abs")
      return try isLess(number, .int(0)) ? try negated(number) : number
    case .round: return try rounded(value, parts)
    // Values
    case .d, .default:
      var isMissing = parts[1]?.isTrue == true && !value.isTrue
      if case .undefined = value { isMissing = true }
      return isMissing ? parts[0] ?? .string("") : value
    case .attr:
      guard let attribute = try text(parts[0], of: name) else { return .none }
      if case .dict = value, DictMethod(rawValue: attribute) == nil { return .undefined(attribute) }
      return try self.attribute(AttributeName(attribute), of: value)
    // Containers
    case .length, .count: return .int(try length(of: value))
    case .list: return try made(try items(of: value))
    case .items:
      switch value {
      case .undefined: return try made([JinjaValue]())
      case .dict(let dict): return .object(try generator(over: .object(JinjaView(.items, of: dict))))
      default: throw JinjaError("\(name) asks for a dictionary, not for a \(value.typeName)")
      }
    case .first:
      if case .object(let object) = value, let generator = object as? JinjaGenerator {
        return try generator.next(&self) ?? .undefined("the first item of nothing")
      }
      return try items(of: value).first ?? .undefined("the first item of nothing")
    case .last: return try reversible(value).last ?? .undefined("the last item of nothing")
    case .reverse:
      if case .string(let text) = value { return try made(String(text.unicodeScalars.reversed())) }
      return .object(try generator(over: try made(Array(try items(of: value).reversed()))))
    case .join: return try joined(value, parts)
    case .sum:
      var total = parts[1] ?? .int(0)
      for item in try items(of: value) {
        try charge(1)
        total = try added(total, try lookedUp(parts[0], in: item))
      }
      return total
    case .min, .max: return try extreme(filter, value, parts)
    case .sort: return try sorted(value, parts)
    case .dictsort: return try dictSorted(value, parts)
    case .unique: return try uniqued(value, parts)
    case .batch: return try batched(value, parts)
    case .slice: return try sliced(value, parts)
    default: throw JinjaError("\(name) is not supported")
    }
  }

  // MARK: Attributes and keys

  /// What `attribute="a.b.0"` says of an item.
  private mutating func lookedUp(
    _ attribute: JinjaValue?, in item: JinjaValue, standard: JinjaValue? = nil
  ) throws(JinjaError) -> JinjaValue {
    var value = item
    switch attribute {
    case nil, JinjaValue.none?: return item
    case .string(let path)?:
      for part in path.pieces(between: ".") {
        let isPlace = Self.isAll(part, .isdigit)
        value = try self.item(isPlace ? .int(Int(part) ?? 0) : .string(part), of: value)
        if case .undefined = value, let standard, standard.typeName != "NoneType" { value = standard }
      }
    case let key?:
      value = try self.item(key, of: value)
      if case .undefined = value, let standard, standard.typeName != "NoneType" { value = standard }
    }
    return value
  }

  private mutating func key(
    _ item: JinjaValue, _ attribute: JinjaValue?, isCaseSensitive: Bool
  ) throws(JinjaError) -> JinjaValue {
    let value = try lookedUp(attribute, in: item)
    if !isCaseSensitive, let text = value.text { return .string(text.pythonLower) }
    return value
  }

  func length(of value: JinjaValue) throws(JinjaError) -> Int {
    switch value {
    case .string(let text): return text.codePointCount
    case .list(let list), .tuple(let list): return list.items.count
    case .dict(let dict): return dict.entries.count
    case .undefined: return 0
    case .object(let object):
      if let range = object as? JinjaRange { return range.count }
      if let view = object as? JinjaView { return view.dict.entries.count }
      if let markup = object as? JinjaMarkup { return markup.text.codePointCount }
    default: break
    }
    throw JinjaError("a \(value.typeName) has no length")
  }

  private mutating func reversible(_ value: JinjaValue) throws(JinjaError) -> [JinjaValue] {
    if case .object(let object) = value, object is JinjaGenerator || object is JinjaLoop {
      throw JinjaError("a \(value.typeName) cannot be reversed")
    }
    return try items(of: value)
  }

  // MARK: map, select and their like

  private mutating func mapped(_ value: JinjaValue, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    if !value.isTrue { return .object(try generator(over: .list([]))) }
    let source = try generator(over: value)
    if values.positional.isEmpty, let place = values.named.firstIndex(where: { $0.name == "attribute" }) {
      let attribute = values.named[place].value
      let standard = values.named.first { $0.name == "default" }?.value
      if let unknown = values.named.first(where: { $0.name != "attribute" && $0.name != "default" }) {
        throw JinjaError("the filter \"map\" takes no argument \"\(unknown.name)\"")
      }
      return .object(
        JinjaGenerator(over: value) { rendering throws(JinjaError) in
          guard let item = try source.next(&rendering) else { return nil }
          return try rendering.lookedUp(attribute, in: item, standard: standard)
        })
    }
    guard let first = values.positional.first, let name = first.text else {
      throw JinjaError("the filter \"map\" lacks a filter")
    }
    guard let filter = Filter(rawValue: name) else { throw JinjaError("unknown filter \"\(name)\"") }
    let rest = CallValues(positional: Array(values.positional.dropFirst()), named: values.named)
    return .object(
      JinjaGenerator(over: value) { rendering throws(JinjaError) in
        guard let item = try source.next(&rendering) else { return nil }
        return try rendering.applied(filter, to: item, rest)
      })
  }

  private mutating func selected(
    _ filter: Filter, _ value: JinjaValue, _ values: CallValues
  ) throws(JinjaError) -> JinjaValue {
    if !value.isTrue { return .object(try generator(over: .list([]))) }
    let source = try generator(over: value)
    let asksForAttribute = filter == .selectattr || filter == .rejectattr
    let wanted = filter == .select || filter == .selectattr
    var rest = values
    var attribute: JinjaValue?
    if asksForAttribute {
      guard !rest.positional.isEmpty else { throw JinjaError("the filter \"\(filter.rawValue)\" lacks an attribute") }
      attribute = rest.positional.removeFirst()
    }
    var test: Test?
    if !rest.positional.isEmpty {
      let name = rest.positional.removeFirst()
      guard let known = name.text.flatMap({ Test($0) }) else { throw JinjaError("unknown test \"\(try string(name))\"") }
      test = known
    }
    let arguments = rest
    return .object(
      JinjaGenerator(over: value) { rendering throws(JinjaError) in
        while let item = try source.next(&rendering) {
          let judged = try rendering.lookedUp(attribute, in: item)
          let passes = try test.map { test throws(JinjaError) in try rendering.passes(test, judged, arguments) } ?? judged.isTrue
          if passes == wanted { return item }
        }
        return nil
      })
  }

  // MARK: Order

  private mutating func sorted(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let items = try items(of: value)
    let isCaseSensitive = parts[1]?.isTrue == true
    var attributes: [JinjaValue?] = [parts[2]]
    if case .string(let path)? = parts[2] { attributes = path.pieces(between: ",").map { .string($0) } }
    var keyed: [(key: JinjaValue, item: JinjaValue)] = []
    for item in items {
      var keys: [JinjaValue] = []
      for attribute in attributes { keys.append(try key(item, attribute, isCaseSensitive: isCaseSensitive)) }
      keyed.append((.list(keys), item))
    }
    return try made(try ordered(keyed, isReversed: parts[0]?.isTrue == true).map(\.item))
  }

  private mutating func dictSorted(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    if case .undefined(let name) = value { throw undefined(name) }
    guard case .dict(let dict) = value else { throw JinjaError("the filter \"dictsort\" asks for a dictionary") }
    let by = try text(parts[1], of: "dictsort") ?? "key"
    guard by == "key" || by == "value" else { throw JinjaError("the filter \"dictsort\" sorts by \"key\" or \"value\"") }
    var keyed: [(key: JinjaValue, item: JinjaValue)] = []
    for entry in dict.entries {
      let key = try key(by == "key" ? entry.key : entry.value, nil, isCaseSensitive: parts[0]?.isTrue == true)
      keyed.append((key, .tuple(JinjaList([entry.key, entry.value]))))
    }
    return try made(try ordered(keyed, isReversed: parts[2]?.isTrue == true).map(\.item))
  }

  /// A stable merge sort, by Python's `<`.
  private mutating func ordered(
    _ items: [(key: JinjaValue, item: JinjaValue)], isReversed: Bool
  ) throws(JinjaError) -> [(key: JinjaValue, item: JinjaValue)] {
    if items.count < 2 { return items }
    let middle = items.count / 2
    let left = try ordered(Array(items[..<middle]), isReversed: isReversed)
    let right = try ordered(Array(items[middle...]), isReversed: isReversed)
    var result: [(key: JinjaValue, item: JinjaValue)] = []
    result.reserveCapacity(items.count)
    var l = 0
    var r = 0
    while l < left.count, r < right.count {
      try charge(1)
      let takesRight = isReversed ? try isLess(left[l].key, right[r].key) : try isLess(right[r].key, left[l].key)
      if takesRight {
        result.append(right[r])
        r += 1
      } else {
        result.append(left[l])
        l += 1
      }
    }
    return result + left[l...] + right[r...]
  }

  private mutating func extreme(
    _ filter: Filter, _ value: JinjaValue, _ parts: [JinjaValue?]
  ) throws(JinjaError) -> JinjaValue {
    var best: (key: JinjaValue, item: JinjaValue)?
    for item in try items(of: value) {
      try charge(1)
      let key = try key(item, parts[1], isCaseSensitive: parts[0]?.isTrue == true)
      guard let known = best else {
        best = (key, item)
        continue
      }
      if filter == .min ? try isLess(key, known.key) : try isLess(known.key, key) { best = (key, item) }
    }
    return best?.item ?? .undefined("the \(filter.rawValue) of nothing")
  }

  private mutating func uniqued(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    var keys: [JinjaValue] = []
    var result: [JinjaValue] = []
    for item in try items(of: value) {
      let key = try key(item, parts[1], isCaseSensitive: parts[0]?.isTrue == true)
      guard isHashable(key) else { throw JinjaError("a \(key.typeName) cannot be a key") }
      try charge(1 + keys.count / 4)
      var isKnown = false
      for known in keys where try areEqual(known, key) {
        isKnown = true
        break
      }
      if isKnown { continue }
      keys.append(key)
      result.append(item)
    }
    return .object(try generator(over: try made(result)))
  }

  // MARK: Groups

  private mutating func batched(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let size = try integer(parts[0], of: "batch") ?? 0
    var rows: [[JinjaValue]] = []
    for item in try items(of: value) {
      // As Jinja has it: a size that is never reached gives one row.
      if rows.isEmpty || rows[rows.count - 1].count == size { rows.append([]) }
      rows[rows.count - 1].append(item)
    }
    if size == 0, !rows.isEmpty { rows.insert([], at: 0) }
    if let fill = parts[1], fill.typeName != "NoneType", let last = rows.last, last.count < size {
      try account(size, of: 16)
      rows[rows.count - 1] += Array(repeating: fill, count: size - last.count)
    }
    return .object(try generator(over: try made(rows.map { .list($0) })))
  }

  private mutating func sliced(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let items = try items(of: value)
    let count = try integer(parts[0], of: "slice") ?? 0
    guard count > 0 else { throw JinjaError("the filter \"slice\" asks for a number of slices") }
    try account(count, of: 64)
    let each = items.count / count
    let longer = items.count % count
    var place = 0
    var rows: [JinjaValue] = []
    for row in 0..<count {
      let end = place + each + (row < longer ? 1 : 0)
      var part = Array(items[place..<end])
      if let fill = parts[1], fill.typeName != "NoneType", row >= longer { part.append(fill) }
      rows.append(.list(part))
      place = end
    }
    return .object(try generator(over: try made(rows)))
  }

  // MARK: Texts

  private mutating func joined(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let separator = try parts[0].map { value throws(JinjaError) in try string(value) } ?? ""
    var text = ""
    for (i, item) in try items(of: value).enumerated() {
      try charge(1)
      let piece = try string(try lookedUp(parts[1], in: item))
      try account(piece.utf8.count + separator.utf8.count)
      if i > 0 { text += separator }
      text += piece
    }
    return .string(text)
  }

  private mutating func textFiltered(
    _ filter: Filter, _ value: JinjaValue, _ parts: [JinjaValue?]
  ) throws(JinjaError) -> JinjaValue {
    if value.isMarkup, filter != .wordcount, filter != .replace {
      guard [.trim, .upper, .lower].contains(filter) else {
        throw JinjaError("the filter \"\(filter.rawValue)\" of safe text is not supported")
      }
      guard case .string(let text) = try textFiltered(filter, .string(try string(value)), parts) else { return .none }
      return .object(JinjaMarkup(text))
    }
    if filter == .indent, value.text == nil {
      if case .undefined(let name) = value { throw undefined(name) }
      throw JinjaError("the filter \"indent\" asks for a string, not for a \(value.typeName)")
    }
    let text = try string(value)
    switch filter {
    case .trim:
      if case JinjaValue.none? = parts[0] { return try made(text.stripped()) }
      return try made(text.stripped(of: try self.text(parts[0], of: "trim")))
    case .upper: return try made(text.pythonUpper)
    case .lower: return try made(text.pythonLower)
    case .capitalize: return try made(text.pythonCapitalized)
    case .title: return try made(Self.titled(text))
    case .replace:
      let old = try parts[0].map { value throws(JinjaError) in try string(value) } ?? ""
      let new = try parts[1].map { value throws(JinjaError) in try string(value) } ?? ""
      var limit: Int?
      if let count = parts[2], count.typeName != "NoneType" { limit = try integer(count, of: "replace") }
      return try replaced(text, old, by: new, limit: limit ?? -1)
    case .indent: return try indented(text, parts)
    case .truncate: return try truncated(text, parts)
    case .center: return try call(.center, of: text, CallValues(positional: [parts[0] ?? .int(80)]))
    case .wordcount:
      var words = 0
      var isInside = false
      for scalar in text.unicodeScalars {
        let isWord = scalar == "_" || scalar.isPythonLetter || scalar.properties.numericType != nil
        if isWord, !isInside { words += 1 }
        isInside = isWord
      }
      return .int(words)
    default:
      guard value.text != nil || value.integer != nil else { throw JinjaError("the filter \"urlencode\" asks for a string") }
      var result = ""
      for byte in text.utf8 {
        let isPlain =
          (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || "-._~/".utf8.contains(byte)
        result += isPlain ? String(Character(Unicode.Scalar(byte))) : "%" + String.hexadecimal(UInt32(byte), 2).uppercased()
      }
      return try made(result)
    }
  }

  /// Jinja's own title case: a letter behind a blank or one of `-({[<` is big, all others are small.
  private static func titled(_ text: String) -> String {
    var result = ""
    var word = ""
    func close() {
      guard let first = word.unicodeScalars.first else { return }
      result += String(Character(first)).pythonUpper + String(word.unicodeScalars.dropFirst()).pythonLower
      word = ""
    }
    for scalar in text.unicodeScalars {
      if scalar.isPythonSpace || "-({[<".unicodeScalars.contains(scalar) {
        close()
        result.unicodeScalars.append(scalar)
      } else {
        word.unicodeScalars.append(scalar)
      }
    }
    close()
    return result
  }

  private mutating func indented(_ text: String, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let blank: String
    if let given = parts[0]?.text {
      blank = given
    } else {
      let width = max(0, try integer(parts[0], of: "indent") ?? 4)
      try account(width)
      blank = String(repeating: " ", count: width)
    }
    let lines = (text + "\n").lines()
    try account(lines.count, of: blank.utf8.count)
    let indentsBlankLines = parts[2]?.isTrue == true
    var result = parts[1]?.isTrue == true ? blank : ""
    for (i, line) in lines.enumerated() {
      if i > 0 {
        result += "\n"
        if indentsBlankLines || !line.isEmpty { result += blank }
      }
      result += line
    }
    return try made(result)
  }

  private mutating func truncated(_ text: String, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let length = try integer(parts[0], of: "truncate") ?? 255
    let end = try self.text(parts[2], of: "truncate") ?? "..."
    var leeway = 5
    if let given = parts[3], given.typeName != "NoneType" { leeway = try integer(given, of: "truncate") ?? 5 }
    let kept = length - end.codePointCount
    guard kept >= 0, leeway >= 0 else { throw JinjaError("the filter \"truncate\" asks for at least the length of \"\(end)\"") }
    let scalars = Array(text.unicodeScalars)
    if scalars.count <= length + leeway { return .string(text) }
    let head = String(scalars[..<kept])
    if parts[1]?.isTrue == true { return try made(head + end) }
    return try made(head.piecesFromRight(between: " ", limit: 1)[0] + end)
  }

  // MARK: Numbers

  private func toInt(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let standard = parts[0] ?? .int(0)
    if case .undefined(let name) = value { throw undefined(name) }
    if let number = value.integer { return .int(number) }
    if let text = value.text {
      let base = try integer(parts[1], of: "int") ?? 10
      if let number = PythonNumber.integer(text, base: base) { return .int(number) }
      guard let number = PythonNumber.float(text), number.isFinite else { return standard }
      return .int(try whole(number))
    }
    guard case .float(let number) = value else { return standard }
    if number.isNaN { return standard }
    return .int(try whole(number))
  }

  private func whole(_ number: Double) throws(JinjaError) -> Int {
    guard let result = Int(exactly: number.rounded(.towardZero)) else { throw JinjaError("the integer does not fit 64 bits") }
    return result
  }

  private func toFloat(_ value: JinjaValue, _ standard: JinjaValue?) throws(JinjaError) -> JinjaValue {
    if case .undefined(let name) = value { throw undefined(name) }
    if case .float = value { return value }
    if let number = value.integer { return .float(Double(number)) }
    return value.text.flatMap(PythonNumber.float).map { .float($0) } ?? standard ?? .float(0)
  }

  private func rounded(_ value: JinjaValue, _ parts: [JinjaValue?]) throws(JinjaError) -> JinjaValue {
    let digits = try integer(parts[0], of: "round") ?? 0
    let method = try text(parts[1], of: "round") ?? "common"
    guard ["common", "ceil", "floor"].contains(method) else {
      throw JinjaError("the filter \"round\" knows \"common\", \"ceil\" and \"floor\"")
    }
    let operand = try number(value, sign: "round")
    let number: Double
    switch operand {
    case .int(let whole):
      if method == "common" {
        if digits >= 0 { return operand }
        throw JinjaError("rounding an integer to tens is not supported")
      }
      number = Double(whole)
    case .float(let float): number = float
    default: return operand
    }
    guard number.isFinite else {
      if method != "common" || digits == 0 && parts[0] == nil { throw JinjaError("the number is not finite") }
      return .float(number)
    }
    if method == "common" {
      if digits > 300 { return .float(number) }
      // C rounds the exact binary value, ties to even, as Python does.
      if digits >= 0 { return .float(Double(PythonNumber.formatted("%.\(digits)f", number)) ?? number) }
      let unit = PythonNumber.power(10, Double(-digits))
      return .float((number / unit).rounded(.toNearestOrEven) * unit)
    }
    let unit = PythonNumber.power(10, Double(digits))
    return .float((number * unit).rounded(method == "ceil" ? .up : .down) / unit)
  }
}

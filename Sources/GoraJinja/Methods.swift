// The methods of Python's own types, as far as the sandbox lets them be called.

enum StringMethod: String {
  case capitalize, casefold, center, count, encode, endswith, expandtabs, find, format
  case formatMap = "format_map"
  case index, isalnum, isalpha, isascii, isdecimal, isdigit, isidentifier, islower, isnumeric, isprintable, isspace, istitle
  case isupper, join, ljust, lower, lstrip, maketrans, partition, removeprefix, removesuffix, replace, rfind, rindex, rjust
  case rpartition, rsplit, rstrip, split, splitlines, startswith, strip, swapcase, title, translate, upper, zfill
}

enum DictMethod: String {
  case clear, copy, fromkeys, get, items, keys, pop, popitem, setdefault, update, values

  /// Whether it changes the dictionary, which the sandbox forbids.
  var isChanging: Bool {
    switch self {
    case .clear, .pop, .popitem, .setdefault, .update: true
    case .copy, .fromkeys, .get, .items, .keys, .values: false
    }
  }
}

enum ListMethod: String {
  case append, clear, copy, count, extend, index, insert, pop, remove, reverse, sort

  var isOfTuples: Bool { self == .count || self == .index }
  var isChanging: Bool { !isOfTuples && self != .copy }
}

extension Rendering {
  /// Calls a method that was looked up before.
  mutating func call(_ method: JinjaBoundMethod, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    switch method.receiver {
    case .string(let text):
      if let known = StringMethod(rawValue: method.name) { return try call(known, of: text, values) }
    case .dict(let dict):
      if let known = DictMethod(rawValue: method.name) { return try call(known, of: dict, values) }
    case .list(let list), .tuple(let list):
      if let known = ListMethod(rawValue: method.name) { return try call(known, of: list, method.receiver, values) }
    case .object(let object):
      if let loop = object as? JinjaLoop { return try call(method.name, of: loop, values) }
      if let markup = object as? JinjaMarkup, let known = StringMethod(rawValue: method.name) {
        return try call(known, of: markup, values)
      }
    default: break
    }
    throw JinjaError("a \(method.receiver.typeName) has no method \"\(method.name)\"")
  }

  // MARK: Dictionaries, lists, loops

  mutating func call(_ method: DictMethod, of dict: JinjaDict, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    switch method {
    case .get:
      let parts = try values.bound(to: ["key", "default"], of: "get", required: 1)
      guard let key = parts[0], isHashable(key) else { throw JinjaError("a list or dictionary cannot be a key") }
      return try find(key, in: dict) ?? parts[1] ?? .none
    case .items, .keys, .values:
      try values.expectNone(of: method.rawValue)
      return .object(JinjaView(JinjaView.Part(rawValue: method.rawValue)!, of: dict))
    case .copy:
      try values.expectNone(of: "copy")
      return .dict(dict)
    default: throw JinjaError("the method \"\(method.rawValue)\" of a dictionary is not supported")
    }
  }

  private mutating func call(
    _ method: ListMethod, of list: JinjaList, _ receiver: JinjaValue, _ values: CallValues
  ) throws(JinjaError) -> JinjaValue {
    switch method {
    case .count, .index:
      let parts = try values.bound(to: ["value", "start", "stop"], of: method.rawValue, required: 1)
      guard let wanted = parts[0] else { return .none }
      let start = Self.place(try integer(parts[1], of: method.rawValue) ?? 0, in: list.items.count)
      let stop = Self.place(try integer(parts[2], of: method.rawValue) ?? list.items.count, in: list.items.count)
      var count = 0
      for place in start..<max(start, stop) {
        try charge(1)
        guard try areEqual(list.items[place], wanted) else { continue }
        if method == .index { return .int(place) }
        count += 1
      }
      if method == .index { throw JinjaError("the value is not in the list") }
      return .int(count)
    case .copy:
      try values.expectNone(of: "copy")
      return receiver
    default: throw JinjaError("the method \"\(method.rawValue)\" changes a list, which is forbidden")
    }
  }

  private mutating func call(_ method: String, of loop: JinjaLoop, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    guard values.named.isEmpty else { throw JinjaError("loop.\(method) takes no named arguments") }
    if method == "cycle" {
      guard !values.positional.isEmpty else { throw JinjaError("loop.cycle has nothing to choose from") }
      return values.positional[loop.index % values.positional.count]
    }
    let value = JinjaValue.tuple(JinjaList(values.positional))
    if let last = loop.lastChanged, try areEqual(last, value) { return .bool(false) }
    loop.lastChanged = value
    return .bool(true)
  }

  /// A bound of a slice as a place.
  private static func place(_ bound: Int, in count: Int) -> Int {
    bound < 0 ? max(0, bound < -count ? 0 : bound + count) : min(bound, count)
  }

  // MARK: Arguments

  func integer(_ value: JinjaValue?, of name: String) throws(JinjaError) -> Int? {
    switch value {
    case nil: return nil
    case .undefined(let missing)?: throw undefined(missing)
    case let value?:
      guard let number = value.integer else { throw JinjaError("\(name) asks for an integer, not for a \(value.typeName)") }
      return number
    }
  }

  func text(_ value: JinjaValue?, of name: String) throws(JinjaError) -> String? {
    switch value {
    case nil: return nil
    case .undefined(let missing)?: throw undefined(missing)
    case let value?:
      guard let text = value.text else { throw JinjaError("\(name) asks for a string, not for a \(value.typeName)") }
      return text
    }
  }

  /// A text that may be left out as `none` too.
  private func optionalText(_ value: JinjaValue?, of name: String) throws(JinjaError) -> String? {
    if case JinjaValue.none? = value { return nil }
    return try text(value, of: name)
  }

  // MARK: Strings

  /// Methods of safe text give safe text; what is put in is escaped.
  private mutating func call(
    _ method: StringMethod, of markup: JinjaMarkup, _ values: CallValues
  ) throws(JinjaError) -> JinjaValue {
    switch method {
    case .strip, .lstrip, .rstrip, .upper, .lower, .title, .capitalize, .removeprefix, .removesuffix:
      guard case .string(let text) = try call(method, of: markup.text, values) else { return .none }
      return .object(JinjaMarkup(text))
    case .startswith, .endswith, .find, .rfind, .count, .index, .isdigit, .isalpha, .isalnum, .isspace, .isupper, .islower:
      return try call(method, of: markup.text, values)
    default: throw JinjaError("the method \"\(method.rawValue)\" of safe text is not supported")
    }
  }

  mutating func call(_ method: StringMethod, of text: String, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    let name = method.rawValue
    try charge(1 + text.utf8.count / 1024)
    switch method {
    case .strip, .lstrip, .rstrip:
      let set = try optionalText(try values.bound(to: ["chars"], of: name)[0], of: name)
      return try made(text.stripped(left: method != .rstrip, right: method != .lstrip, of: set))
    case .upper, .lower, .title, .capitalize, .casefold, .swapcase:
      try values.expectNone(of: name)
      return try made(try recased(text, method))
    case .split, .rsplit:
      let parts = try values.bound(to: ["sep", "maxsplit"], of: name)
      let limit = try integer(parts[1], of: name) ?? -1
      guard let separator = try optionalText(parts[0], of: name) else {
        return try made(strings: text.words(limit: limit, fromRight: method == .rsplit))
      }
      if separator.isEmpty { throw JinjaError("\(name) by an empty separator") }
      let pieces =
        method == .split
        ? text.pieces(between: separator, limit: limit) : text.piecesFromRight(between: separator, limit: limit)
      return try made(strings: pieces)
    case .splitlines:
      let keeps = try values.bound(to: ["keepends"], of: name)[0]?.isTrue ?? false
      return try made(strings: text.lines(keepingEnds: keeps))
    case .startswith, .endswith: return .bool(try hasAffix(text, method, values))
    case .replace:
      let parts = try values.bound(to: ["old", "new", "count"], of: name, required: 2)
      return try replaced(
        text, try self.text(parts[0], of: name) ?? "", by: try self.text(parts[1], of: name) ?? "",
        limit: try integer(parts[2], of: name) ?? -1)
    case .join:
      guard let list = try values.bound(to: ["iterable"], of: name, required: 1)[0] else { return .none }
      var pieces: [String] = []
      for item in try items(of: list) {
        guard let piece = item.text else { throw JinjaError("join of a \(item.typeName), which is no string") }
        try account(piece.utf8.count + text.utf8.count)
        pieces.append(piece)
      }
      return .string(pieces.joined(separator: text))
    case .find, .rfind, .index, .rindex, .count: return try located(text, method, values)
    case .partition, .rpartition:
      let separator = try self.text(try values.bound(to: ["sep"], of: name, required: 1)[0], of: name) ?? ""
      if separator.isEmpty { throw JinjaError("\(name) by an empty separator") }
      let pieces =
        method == .partition
        ? text.pieces(between: separator, limit: 1) : text.piecesFromRight(between: separator, limit: 1)
      let parts =
        pieces.count == 2 ? [pieces[0], separator, pieces[1]] : method == .partition ? [text, "", ""] : ["", "", text]
      return .tuple(JinjaList(parts.map { .string($0) }))
    case .removeprefix, .removesuffix:
      let affix = try self.text(try values.bound(to: [name], of: name, required: 1)[0], of: name) ?? ""
      let has =
        affix.utf8.count <= text.utf8.count
        && (method == .removeprefix
          ? text.utf8.starts(with: affix.utf8) : text.utf8.reversed().starts(with: affix.utf8.reversed()))
      guard has else { return .string(text) }
      return method == .removeprefix
        ? .string(text.bytes(affix.utf8.count, text.utf8.count)) : .string(text.bytes(0, text.utf8.count - affix.utf8.count))
    case .center, .ljust, .rjust, .zfill: return try filled(text, method, values)
    case .expandtabs: return try tabsExpanded(text, try integer(try values.bound(to: ["tabsize"], of: name)[0], of: name) ?? 8)
    case .format: return try made(try formatted(text, values))
    case .formatMap:
      guard case .dict(let dict)? = try values.bound(to: ["mapping"], of: name, required: 1)[0] else {
        throw JinjaError("format_map asks for a dictionary")
      }
      var named: [(name: String, value: JinjaValue)] = []
      for entry in dict.entries { if case .string(let key) = entry.key { named.append((key, entry.value)) } }
      return try made(try formatted(text, CallValues(named: named)))
    case .encode, .maketrans, .translate: throw JinjaError("the method \"\(name)\" of a string is not supported")
    case .isalnum, .isalpha, .isascii, .isdecimal, .isdigit, .isidentifier, .islower, .isnumeric, .isprintable, .isspace,
      .istitle, .isupper:
      try values.expectNone(of: name)
      return .bool(Self.isAll(text, method))
    }
  }

  mutating func made(strings: [String]) throws(JinjaError) -> JinjaValue {
    for string in strings { try account(string.utf8.count) }
    return try made(strings.map { .string($0) })
  }

  private func recased(_ text: String, _ method: StringMethod) throws(JinjaError) -> String {
    switch method {
    case .upper: return text.pythonUpper
    case .lower: return text.pythonLower
    case .title: return text.pythonTitled
    case .capitalize: return text.pythonCapitalized
    case .casefold:
      guard text.isASCII else { throw JinjaError("casefold of letters beyond ASCII is not supported") }
      return text.pythonLower
    default:
      return text.unicodeScalars.reduce(into: "") { result, scalar in
        result += scalar.properties.isUppercase ? scalar.properties.lowercaseMapping : scalar.properties.uppercaseMapping
      }
    }
  }

  mutating func replaced(
    _ text: String, _ old: String, by new: String, limit: Int
  ) throws(JinjaError) -> JinjaValue {
    if new.utf8.count > old.utf8.count {
      let places = old.isEmpty ? text.utf8.count + 1 : text.utf8.count / old.utf8.count
      let most = limit < 0 ? places : min(places, limit)
      // Counted before it is made only where it could be large.
      if most > 1 << 20 / max(new.utf8.count, 1) {
        let found = old.isEmpty ? most : min(most, text.pieces(between: old).count)
        try account(found, of: new.utf8.count)
      }
    }
    return try made(text.replacing(old, by: new, limit: limit))
  }

  private func hasAffix(_ text: String, _ method: StringMethod, _ values: CallValues) throws(JinjaError) -> Bool {
    let name = method.rawValue
    let parts = try values.bound(to: ["affix", "start", "end"], of: name, required: 1)
    var text = text
    if parts[1] != nil || parts[2] != nil {
      let scalars = Array(text.unicodeScalars)
      let start = try integer(parts[1], of: name) ?? 0
      if start > scalars.count { return false }
      let from = Self.place(start, in: scalars.count)
      let to = Self.place(try integer(parts[2], of: name) ?? scalars.count, in: scalars.count)
      if from > to { return false }
      text = String(scalars[from..<to])
    }
    var affixes: [String] = []
    if case .tuple(let list)? = parts[0] {
      for item in list.items { affixes.append(try self.text(item, of: name) ?? "") }
    } else {
      affixes.append(try self.text(parts[0], of: name) ?? "")
    }
    return affixes.contains { affix in
      affix.utf8.count <= text.utf8.count
        && (method == .startswith
          ? text.utf8.starts(with: affix.utf8) : text.utf8.suffix(affix.utf8.count).elementsEqual(affix.utf8))
    }
  }

  private mutating func located(_ text: String, _ method: StringMethod, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    let name = method.rawValue
    let parts = try values.bound(to: ["sub", "start", "end"], of: name, required: 1)
    let wanted = try self.text(parts[0], of: name) ?? ""
    let scalars = Array(text.unicodeScalars)
    let start = try integer(parts[1], of: name) ?? 0
    let from = Self.place(start, in: scalars.count)
    let to = Self.place(try integer(parts[2], of: name) ?? scalars.count, in: scalars.count)
    var found: Int?
    var count = 0
    if start <= scalars.count, from <= to {
      let part = String(scalars[from..<to])
      if method == .count {
        count = wanted.isEmpty ? to - from + 1 : part.pieces(between: wanted).count - 1
      } else {
        let offset = method == .rfind || method == .rindex ? part.lastOffset(of: wanted) : part.offset(of: wanted)
        found = offset.map { from + part.bytes(0, $0).codePointCount }
      }
    }
    switch method {
    case .count: return .int(count)
    case .index, .rindex:
      guard let found else { throw JinjaError("the string does not contain \(wanted.pythonRepr)") }
      return .int(found)
    default: return .int(found ?? -1)
    }
  }

  private mutating func filled(_ text: String, _ method: StringMethod, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    let name = method.rawValue
    let parts = try values.bound(to: method == .zfill ? ["width"] : ["width", "fillchar"], of: name, required: 1)
    let width = try integer(parts[0], of: name) ?? 0
    let fill = method == .zfill ? "0" : try self.text(parts[1], of: name) ?? " "
    guard fill.unicodeScalars.count == 1 else { throw JinjaError("\(name) fills with one character") }
    let missing = width - text.codePointCount
    if missing <= 0 { return .string(text) }
    try account(missing, of: fill.utf8.count)
    func blank(_ count: Int) -> String { String(repeating: fill, count: count) }
    switch method {
    case .ljust: return .string(text + blank(missing))
    case .rjust: return .string(blank(missing) + text)
    case .center:
      let left = missing / 2 + (missing & width & 1)
      return .string(blank(left) + text + blank(missing - left))
    default:
      let sign = text.first == "-" || text.first == "+" ? String(text.prefix(1)) : ""
      return .string(sign + blank(missing) + text.dropFirst(sign.count))
    }
  }

  private mutating func tabsExpanded(_ text: String, _ size: Int) throws(JinjaError) -> JinjaValue {
    try account(text.utf8.count { $0 == 0x09 }, of: max(size, 1))
    var result = ""
    var column = 0
    for scalar in text.unicodeScalars {
      if scalar == "\t" {
        let count = size > 0 ? size - column % size : 0
        result += String(repeating: " ", count: count)
        column += count
      } else {
        result.unicodeScalars.append(scalar)
        column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
      }
    }
    return try made(result)
  }

  static func isAll(_ text: String, _ method: StringMethod) -> Bool {
    let scalars = text.unicodeScalars
    func all(_ test: (Unicode.Scalar) -> Bool) -> Bool { !scalars.isEmpty && scalars.allSatisfy(test) }
    switch method {
    case .isspace: return all(\.isPythonSpace)
    case .isalpha: return all(\.isPythonLetter)
    case .isdecimal: return all { $0.properties.numericType == .decimal }
    case .isdigit: return all { $0.properties.numericType == .decimal || $0.properties.numericType == .digit }
    case .isnumeric: return all { $0.properties.numericType != nil }
    case .isalnum: return all { $0.isPythonLetter || $0.properties.numericType != nil }
    case .isascii: return text.isASCII
    case .isprintable: return scalars.allSatisfy(\.isPythonPrintable)
    case .isidentifier:
      guard let first = scalars.first else { return false }
      return (first == "_" || first.properties.isXIDStart) && scalars.dropFirst().allSatisfy(\.properties.isXIDContinue)
    case .islower, .isupper:
      let wanted = scalars.contains { method == .islower ? $0.properties.isLowercase : $0.properties.isUppercase }
      return wanted
        && !scalars.contains {
          (method == .islower ? $0.properties.isUppercase : $0.properties.isLowercase)
            || $0.properties.generalCategory == .titlecaseLetter
        }
    default:
      // istitle: big letters behind uncased ones, small letters behind cased ones.
      var isInside = false
      var hasCased = false
      for scalar in scalars {
        let isBig = scalar.properties.isUppercase || scalar.properties.generalCategory == .titlecaseLetter
        if isBig && isInside || scalar.properties.isLowercase && !isInside { return false }
        isInside = isBig || scalar.properties.isLowercase
        hasCased = hasCased || isInside
      }
      return hasCased
    }
  }
}

/// The arguments of a call as values.
struct CallValues {
  var positional: [JinjaValue] = []
  var named: [(name: String, value: JinjaValue)] = []

  /// The values of `parameters` in their order, nil where none is given.
  func bound(to parameters: [String], of name: String, required: Int = 0) throws(JinjaError) -> [JinjaValue?] {
    if positional.count > parameters.count {
      throw JinjaError("\(name) takes \(parameters.count) arguments, \(positional.count) are given")
    }
    var result: [JinjaValue?] = positional + [JinjaValue?](repeating: nil, count: parameters.count - positional.count)
    for argument in named {
      guard let place = parameters.firstIndex(of: argument.name) else {
        throw JinjaError("\(name) takes no argument \"\(argument.name)\"")
      }
      if result[place] != nil { throw JinjaError("\(name) is given its argument \"\(argument.name)\" twice") }
      result[place] = argument.value
    }
    for place in 0..<required where result[place] == nil {
      throw JinjaError("\(name) lacks its argument \"\(parameters[place])\"")
    }
    return result
  }

  func expectNone(of name: String) throws(JinjaError) {
    if !positional.isEmpty || !named.isEmpty { throw JinjaError("\(name) takes no arguments") }
  }
}

extension Rendering {
  // MARK: Writing

  /// Writes a value without making its text first where that can be helped.
  mutating func emit(_ expression: Expression) throws(JinjaError) {
    switch expression {
    case .sum(let parts):
      // A sum that begins with a string is one of strings, or an error.
      let first = try evaluate(parts[0])
      guard case .string(let text) = first else { return try emit(try sum(first, parts.dropFirst())) }
      out.append(contentsOf: text.utf8)
      for part in parts.dropFirst() {
        let value = try evaluate(part)
        if case .string(let text) = value {
          out.append(contentsOf: text.utf8)
        } else {
          // The markup's rule, or the error.
          try emit(try added(.string(""), value))
        }
      }
    case .concatenation(let parts):
      for part in parts { try emit(try evaluate(part)) }
    case .conditional(let condition, let then, let otherwise):
      if try evaluate(condition).isTrue {
        try emit(then)
      } else if let otherwise {
        try emit(otherwise)
      }
    default: try emit(try evaluate(expression))
    }
  }

  mutating func emit(_ value: JinjaValue) throws(JinjaError) {
    switch value {
    case .string(let text): out.append(contentsOf: text.utf8)
    case .undefined: break
    default: out.append(contentsOf: try string(value).utf8)
    }
  }

  // MARK: Evaluation

  mutating func evaluate(_ expression: Expression) throws(JinjaError) -> JinjaValue {
    switch expression {
    case .constant(let value): return value
    case .variable(let reference, let name):
      let value = value(of: reference)
      if case .undefined(let known) = value, known.isEmpty { return .undefined(name) }
      return value
    default:
      try enter()
      defer { leave() }
      return try compound(expression)
    }
  }

  private mutating func compound(_ expression: Expression) throws(JinjaError) -> JinjaValue {
    switch expression {
    case .constant(let value): return value
    case .variable(let reference, _): return value(of: reference)
    case .attribute(let object, let name): return try attribute(name, of: try evaluate(object))
    case .item(let object, let key):
      let value = try evaluate(object)
      return try item(try evaluate(key), of: value)
    case .slice(let object, let from, let to, let step):
      let value = try evaluate(object)
      var bounds: [JinjaValue?] = []
      for bound in [from, to, step] {
        if let bound { bounds.append(try evaluate(bound)) } else { bounds.append(nil) }
      }
      return try slice(of: value, from: bounds[0], to: bounds[1], step: bounds[2])
    case .call(let callee, let arguments): return try call(callee, try values(arguments))
    case .filter(let operand, let filter): return try applied(filter, to: try evaluate(operand))
    case .test(let operand, let test):
      let value = try evaluate(operand)
      return .bool(try passes(test, value, try values(test.arguments)))
    case .not(let operand): return .bool(!(try evaluate(operand).isTrue))
    case .negative(let operand): return try negated(try evaluate(operand))
    case .positive(let operand): return try number(try evaluate(operand), sign: "+")
    case .sum(let parts): return try sum(try evaluate(parts[0]), parts.dropFirst())
    case .concatenation(let parts):
      var text = ""
      for part in parts {
        let value = try evaluate(part)
        text += try string(value)
        try account(text.utf8.count)
      }
      return .string(text)
    case .arithmetic(let operation, let left, let right):
      let value = try evaluate(left)
      return try arithmetic(operation, value, try evaluate(right))
    case .comparison(let first, let rest):
      var left = try evaluate(first)
      for (comparison, operand) in rest {
        let right = try evaluate(operand)
        if !(try holds(comparison, left, right)) { return .bool(false) }
        left = right
      }
      return .bool(true)
    case .and(let left, let right):
      let value = try evaluate(left)
      return value.isTrue ? try evaluate(right) : value
    case .or(let left, let right):
      let value = try evaluate(left)
      return value.isTrue ? value : try evaluate(right)
    case .conditional(let condition, let then, let otherwise):
      if try evaluate(condition).isTrue { return try evaluate(then) }
      guard let otherwise else { return .undefined("the if expression without else") }
      return try evaluate(otherwise)
    case .list(let parts): return try made(try evaluated(parts))
    case .tuple(let parts): return .tuple(try madeList(try evaluated(parts)))
    case .dict(let parts):
      var entries: [JinjaDict.Entry] = []
      for part in parts {
        let key = try evaluate(part.key)
        try insert(JinjaDict.Entry(key, try evaluate(part.value)), into: &entries)
      }
      return try made(entries)
    }
  }

  private mutating func evaluated(_ parts: [Expression]) throws(JinjaError) -> [JinjaValue] {
    var values: [JinjaValue] = []
    values.reserveCapacity(parts.count)
    for part in parts { values.append(try evaluate(part)) }
    return values
  }

  /// Adds an entry as Python does: a later value of a key takes the earlier one's place.
  mutating func insert(_ entry: JinjaDict.Entry, into entries: inout [JinjaDict.Entry]) throws(JinjaError) {
    guard isHashable(entry.key) else { throw JinjaError("a \(entry.key.typeName) cannot be a key") }
    try charge(entries.count / 16)
    for place in entries.indices where try areEqual(entries[place].key, entry.key) {
      entries[place] = JinjaDict.Entry(entries[place].key, entry.value)
      return
    }
    entries.append(entry)
  }

  func isHashable(_ value: JinjaValue) -> Bool {
    switch value {
    case .list, .dict: false
    case .tuple(let list): list.items.allSatisfy(isHashable)
    default: true
    }
  }

  mutating func values(_ arguments: Arguments) throws(JinjaError) -> CallValues {
    if arguments.isEmpty { return CallValues() }
    var values = CallValues(positional: try evaluated(arguments.positional))
    for argument in arguments.named { values.named.append((argument.name, try evaluate(argument.value))) }
    if let list = arguments.list { values.positional += try items(of: try evaluate(list)) }
    if let dict = arguments.dict {
      guard case .dict(let dict) = try evaluate(dict) else { throw JinjaError("what follows ** is no dictionary") }
      for entry in dict.entries {
        guard case .string(let name) = entry.key else { throw JinjaError("an argument's name is no string") }
        if values.named.contains(where: { $0.name == name }) { throw JinjaError("the argument \"\(name)\" is given twice") }
        values.named.append((name, entry.value))
      }
    }
    return values
  }

  // MARK: Attributes and items

  mutating func attribute(_ name: AttributeName, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
    switch value {
    case .dict(let dict):
      if let method = name.ofDicts { return bound(name.text, value, isChanging: method.isChanging) }
      return dict[name.text] ?? .undefined(name.text)
    case .undefined(let missing): throw undefined(missing)
    case .string: return name.ofStrings == nil ? .undefined(name.text) : bound(name.text, value)
    case .list:
      guard let method = name.ofLists else { return .undefined(name.text) }
      return bound(name.text, value, isChanging: method.isChanging)
    case .tuple: return name.ofLists?.isOfTuples == true ? bound(name.text, value) : .undefined(name.text)
    case .object(let object): return try attribute(name, of: object)
    case .none, .bool, .int, .float: return .undefined(name.text)
    }
  }

  private mutating func attribute(_ name: AttributeName, of object: JinjaObject) throws(JinjaError) -> JinjaValue {
    if let namespace = object as? JinjaNamespace { return namespace[name.text] ?? .undefined(name.text) }
    if let loop = object as? JinjaLoop { return try attribute(name.text, of: loop) }
    if object is JinjaMarkup, name.ofStrings != nil { return bound(name.text, .object(object)) }
    if object is JinjaMacro, ["name", "arguments", "catch_kwargs", "catch_varargs", "caller"].contains(name.text) {
      throw JinjaError("the attribute \"\(name.text)\" of a macro is not supported")
    }
    return .undefined(name.text)
  }

  private mutating func attribute(_ name: String, of loop: JinjaLoop) throws(JinjaError) -> JinjaValue {
    switch name {
    case "index": .int(loop.index + 1)
    case "index0": .int(loop.index)
    case "first": .bool(loop.index == 0)
    case "last": .bool(try loop.item(loop.index + 1, &self) == nil)
    case "length": .int(try loop.count(&self))
    case "revindex": .int(try loop.count(&self) - loop.index)
    case "revindex0": .int(try loop.count(&self) - loop.index - 1)
    case "previtem": try loop.item(loop.index - 1, &self) ?? .undefined("loop.previtem")
    case "nextitem": try loop.item(loop.index + 1, &self) ?? .undefined("loop.nextitem")
    case "depth": .int(1)
    case "depth0": .int(0)
    case "cycle", "changed": .object(JinjaBoundMethod(.object(loop), name))
    default: .undefined(name)
    }
  }

  /// A method as a value; the sandbox has none that changes what it belongs to.
  private func bound(_ name: String, _ value: JinjaValue, isChanging: Bool = false) -> JinjaValue {
    isChanging ? .undefined("\(name) (it changes a \(value.typeName))") : .object(JinjaBoundMethod(value, name))
  }

  mutating func item(_ key: JinjaValue, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
    if case .undefined(let missing) = value { throw undefined(missing) }
    switch (value, key) {
    case (.dict(let dict), .string(let name)): if let found = dict[name] { return found }
    case (.dict(let dict), _):
      for entry in dict.entries where try areEqual(entry.key, key) { return entry.value }
      return .undefined(try representation(key))
    case (.list(let list), _), (.tuple(let list), _):
      if let index = key.integer {
        let place = index < 0 ? index + list.items.count : index
        return list.items.indices.contains(place) ? list.items[place] : .undefined("item \(index)")
      }
    case (.string(let text), _):
      if let index = key.integer { return character(index, of: text) }
    case (.object(let object), _):
      if let index = key.integer {
        if let range = object as? JinjaRange {
          let place = index < 0 ? index + range.count : index
          return (0..<range.count).contains(place) ? .int(range.start + place * range.step) : .undefined("item \(index)")
        }
        if let markup = object as? JinjaMarkup { return character(index, of: markup.text) }
      }
    default: break
    }
    if case .string(let name) = key { return try attribute(AttributeName(name), of: value) }
    return .undefined(try representation(key))
  }

  private func character(_ index: Int, of text: String) -> JinjaValue {
    let scalars = text.unicodeScalars
    if index >= 0 {
      if let scalar = scalars.dropFirst(index).first { return .string(String(Character(scalar))) }
    } else if index != Int.min {
      let tail = scalars.suffix(-index)
      if tail.count == -index, let scalar = tail.first { return .string(String(Character(scalar))) }
    }
    return .undefined("item \(index)")
  }

  mutating func slice(
    of value: JinjaValue, from: JinjaValue?, to: JinjaValue?, step: JinjaValue?
  ) throws(JinjaError) -> JinjaValue {
    func bound(_ value: JinjaValue?) throws(JinjaError) -> Int? {
      switch value {
      case nil, JinjaValue.none?: return nil
      case .undefined(let name)?: throw undefined(name)
      case let value?:
        guard let number = value.integer else { throw JinjaError("a slice's bound is a \(value.typeName), no integer") }
        return number
      }
    }
    let stride = try bound(step) ?? 1
    let first = try bound(from)
    let last = try bound(to)
    if stride == 0 { throw JinjaError("a slice's step is 0") }
    switch value {
    case .list(let list): return try made(Self.sliced(list.items, first, last, stride))
    case .tuple(let list): return .tuple(try madeList(Self.sliced(list.items, first, last, stride)))
    case .string(let text): return try made(String(Self.sliced(Array(text.unicodeScalars), first, last, stride)))
    case .undefined(let name): throw undefined(name)
    case .object(let object):
      if let markup = object as? JinjaMarkup {
        return .object(JinjaMarkup(String(Self.sliced(Array(markup.text.unicodeScalars), first, last, stride))))
      }
      if object is JinjaRange { throw JinjaError("slices of ranges are not supported") }
      return .undefined("the slice of a \(value.typeName)")
    // As Jinja has it: what has no items gives an undefined value, which prints as nothing.
    default: return .undefined("the slice of a \(value.typeName)")
    }
  }

  private static func sliced<T>(_ items: [T], _ from: Int?, _ to: Int?, _ step: Int) -> [T] {
    let count = items.count
    func place(_ bound: Int, _ low: Int, _ high: Int) -> Int {
      bound < 0 ? max(bound < -count ? low : bound + count, low) : min(bound, high)
    }
    if step > 0 {
      let start = from.map { place($0, 0, count) } ?? 0
      let end = to.map { place($0, 0, count) } ?? count
      if step == 1 { return start < end ? Array(items[start..<end]) : [] }
      return start < end ? stride(from: start, to: end, by: min(step, count)).map { items[$0] } : []
    }
    let start = from.map { place($0, -1, count - 1) } ?? count - 1
    let end = to.map { place($0, -1, count - 1) } ?? -1
    return start > end ? stride(from: start, to: end, by: max(step, -count)).map { items[$0] } : []
  }

  // MARK: Items one by one

  /// All items of what can be gone through.
  mutating func items(of value: JinjaValue) throws(JinjaError) -> [JinjaValue] {
    switch value {
    case .list(let list), .tuple(let list): return list.items
    case .dict(let dict): return dict.entries.map(\.key)
    case .string(let text): return try characters(text)
    case .undefined: return []
    case .object(let object):
      if let range = object as? JinjaRange { return range.items }
      if let view = object as? JinjaView { return view.items }
      if let markup = object as? JinjaMarkup { return try characters(markup.text) }
      if let generator = object as? JinjaGenerator {
        var items: [JinjaValue] = []
        while let item = try generator.next(&self) {
          try charge(1)
          items.append(item)
        }
        return items
      }
    case .none, .bool, .int, .float: break
    }
    throw JinjaError("a \(value.typeName) cannot be gone through")
  }

  private mutating func characters(_ text: String) throws(JinjaError) -> [JinjaValue] {
    try account(text.utf8.count, of: 16)
    return text.unicodeScalars.map { .string(String(Character($0))) }
  }

  mutating func generator(over value: JinjaValue) throws(JinjaError) -> JinjaGenerator {
    if case .object(let object) = value, let generator = object as? JinjaGenerator { return generator }
    let items = try items(of: value)
    var place = 0
    return JinjaGenerator(over: value) { rendering throws(JinjaError) in
      try rendering.charge(1)
      if place == items.count { return nil }
      place += 1
      return items[place - 1]
    }
  }

  // MARK: Calls

  mutating func call(_ callee: Expression, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    if case .attribute(let object, let name) = callee {
      let receiver = try evaluate(object)
      switch receiver {
      case .string(let text):
        if let method = name.ofStrings { return try call(method, of: text, values) }
      case .dict(let dict):
        if let method = name.ofDicts, !method.isChanging { return try call(method, of: dict, values) }
      default: break
      }
      return try call(try attribute(name, of: receiver), values)
    }
    return try call(try evaluate(callee), values)
  }

  mutating func call(_ callee: JinjaValue, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    try charge(1)
    if case .undefined(let name) = callee { throw undefined(name) }
    if case .object(let object) = callee {
      if let macro = object as? JinjaMacro { return try invoke(macro, values) }
      if let function = object as? JinjaFunction { return try call(function.kind, values) }
      if let method = object as? JinjaBoundMethod { return try call(method, values) }
      if object is JinjaLoop { throw JinjaError("recursive loops are not supported") }
    }
    throw JinjaError("a \(callee.typeName) cannot be called")
  }

  func undefined(_ name: String) -> JinjaError { JinjaError("\"\(name)\" is undefined") }
}

/// A value of a template: Python's kinds, as far as chat templates see them.
package enum JinjaValue: Sendable {
  /// A name or attribute that is not there; prints as nothing, and is an error in most other places.
  case undefined(String)
  case none
  case bool(Bool)
  case int(Int)
  case float(Double)
  case string(String)
  case list(JinjaList)
  case tuple(JinjaList)
  case dict(JinjaDict)
  case object(JinjaObject)
}

extension JinjaValue {
  package static func list(_ items: [JinjaValue]) -> JinjaValue { .list(JinjaList(items)) }
  package static func dict(_ entries: [JinjaDict.Entry]) -> JinjaValue { .dict(JinjaDict(entries)) }

  /// Levels of containers in it: templates that nest without end are stopped by it.
  var depth: Int {
    switch self {
    case .list(let list), .tuple(let list): list.depth
    case .dict(let dict): dict.depth
    case .object(let object): object.depth
    case .undefined, .none, .bool, .int, .float, .string: 0
    }
  }

  /// Python's name of its type.
  var typeName: String {
    switch self {
    case .undefined: "Undefined"
    case .none: "NoneType"
    case .bool: "bool"
    case .int: "int"
    case .float: "float"
    case .string: "str"
    case .list: "list"
    case .tuple: "tuple"
    case .dict: "dict"
    case .object(let object): object.typeName
    }
  }

  /// The text of a string, marked safe or not.
  var text: String? {
    switch self {
    case .string(let text): text
    case .object(let object): (object as? JinjaMarkup)?.text
    default: nil
    }
  }

  /// Booleans are numbers in Python.
  var integer: Int? {
    switch self {
    case .int(let number): number
    case .bool(let flag): flag ? 1 : 0
    default: nil
    }
  }

  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let flag): flag
    case .int(let number): number != 0
    case .float(let number): number != 0
    case .string(let text): !text.isEmpty
    case .list(let list), .tuple(let list): !list.items.isEmpty
    case .dict(let dict): !dict.entries.isEmpty
    case .object(let object): object.isTrue
    }
  }
}

/// The items of a list or tuple; never changed once made, as the sandbox forbids it.
package final class JinjaList: Sendable {
  package let items: [JinjaValue]
  let depth: Int

  package init(_ items: [JinjaValue]) {
    self.items = items
    var deepest = 0
    for item in items { deepest = max(deepest, item.depth) }
    depth = deepest + 1
  }
}

/// A dictionary in the order of its making.
package final class JinjaDict: Sendable {
  package struct Entry: Sendable {
    package let key: JinjaValue
    package let value: JinjaValue

    package init(_ key: JinjaValue, _ value: JinjaValue) {
      self.key = key
      self.value = value
    }
    package init(_ key: String, _ value: JinjaValue) { self.init(.string(key), value) }
  }

  package let entries: [Entry]
  let depth: Int
  /// Places of string keys in dictionaries too long to be searched.
  private let places: [ExactText: Int]?

  /// - Parameter entries: keys are unique.
  package init(_ entries: [Entry]) {
    self.entries = entries
    var deepest = 0
    for entry in entries { deepest = max(deepest, entry.value.depth) }
    depth = deepest + 1
    if entries.count > 16 {
      var places: [ExactText: Int] = [:]
      for (place, entry) in entries.enumerated() {
        if case .string(let key) = entry.key { places[ExactText(key)] = place }
      }
      self.places = places
    } else {
      places = nil
    }
  }

  subscript(key: String) -> JinjaValue? {
    if let places { return places[ExactText(key)].map { entries[$0].value } }
    for entry in entries {
      if case .string(let text) = entry.key, text.isSame(as: key) { return entry.value }
    }
    return nil
  }
}

/// A string that equals another of the same bytes only: Swift takes canonically equivalent texts for one, Python does not.
struct ExactText: Hashable {
  let text: String

  init(_ text: String) { self.text = text }

  static func == (a: ExactText, b: ExactText) -> Bool { a.text.isSame(as: b.text) }

  func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

/// Values that a row never holds: they come out of the template itself.
package class JinjaObject: @unchecked Sendable {
  // Objects that change (namespaces, generators, loops) are made while a template is rendered and end with the rendering.
  var typeName: String { "object" }
  var isTrue: Bool { true }
  var depth: Int { 1 }
  fileprivate init() {}
}

/// Text that `safe` or `escape` gave.
final class JinjaMarkup: JinjaObject, @unchecked Sendable {
  let text: String
  override var typeName: String { "Markup" }
  override var isTrue: Bool { !text.isEmpty }
  init(_ text: String) {
    self.text = text
    super.init()
  }
}

/// `range(…)`.
final class JinjaRange: JinjaObject, @unchecked Sendable {
  let start: Int
  let stop: Int
  let step: Int
  let count: Int
  override var typeName: String { "range" }
  override var isTrue: Bool { count > 0 }
  init(start: Int, stop: Int, step: Int, count: Int) {
    self.start = start
    self.stop = stop
    self.step = step
    self.count = count
    super.init()
  }
  var items: [JinjaValue] { (0..<count).map { .int(start + $0 * step) } }
}

/// What `keys`, `values` and `items` of a dictionary give.
final class JinjaView: JinjaObject, @unchecked Sendable {
  enum Part: String { case keys, values, items }
  let part: Part
  let dict: JinjaDict
  override var typeName: String { "dict_\(part.rawValue)" }
  override var isTrue: Bool { !dict.entries.isEmpty }
  override var depth: Int { dict.depth + 1 }
  init(_ part: Part, of dict: JinjaDict) {
    self.part = part
    self.dict = dict
    super.init()
  }
  var items: [JinjaValue] {
    switch part {
    case .keys: dict.entries.map(\.key)
    case .values: dict.entries.map(\.value)
    case .items: dict.entries.map { .tuple(JinjaList([$0.key, $0.value])) }
    }
  }
}

/// `namespace(…)`: the one thing a template may change.
final class JinjaNamespace: JinjaObject, @unchecked Sendable {
  var entries: [(name: String, value: JinjaValue)]
  override var typeName: String { "Namespace" }
  init(_ entries: [(name: String, value: JinjaValue)]) {
    self.entries = entries
    super.init()
  }
  subscript(name: String) -> JinjaValue? {
    get { entries.first { $0.name.isSame(as: name) }?.value }
    set {
      guard let newValue else { return }
      if let place = entries.firstIndex(where: { $0.name.isSame(as: name) }) {
        entries[place].value = newValue
      } else {
        entries.append((name, newValue))
      }
    }
  }
}

/// What `map`, `select` and their like give: evaluated item by item, once.
final class JinjaGenerator: JinjaObject, @unchecked Sendable {
  typealias Step = (inout Rendering) throws(JinjaError) -> JinjaValue?
  private let step: Step
  private let sourceDepth: Int
  private var isFinished = false
  override var typeName: String { "generator" }
  override var depth: Int { sourceDepth + 1 }
  init(over source: JinjaValue, _ step: @escaping Step) {
    self.step = step
    sourceDepth = source.depth
    super.init()
  }
  func next(_ rendering: inout Rendering) throws(JinjaError) -> JinjaValue? {
    if isFinished { return nil }
    try rendering.enter()
    defer { rendering.leave() }
    let item = try step(&rendering)
    if item == nil { isFinished = true }
    return item
  }
}

/// A method that was looked up and not called yet, as `{{ x.items }}` does.
final class JinjaBoundMethod: JinjaObject, @unchecked Sendable {
  let receiver: JinjaValue
  let name: String
  override var typeName: String { "builtin_function_or_method" }
  override var depth: Int { receiver.depth + 1 }
  init(_ receiver: JinjaValue, _ name: String) {
    self.receiver = receiver
    self.name = name
    super.init()
  }
}

/// The functions that every template knows.
final class JinjaFunction: JinjaObject, @unchecked Sendable {
  enum Kind: String, CaseIterable {
    case range, dict, namespace, cycler, joiner, lipsum
    case raiseException = "raise_exception"
    case strftimeNow = "strftime_now"
  }
  let kind: Kind
  override var typeName: String { "function" }
  init(_ kind: Kind) {
    self.kind = kind
    super.init()
  }
}

/// A macro, or what a `call` block hands over as `caller`, with the variables around it.
final class JinjaMacro: JinjaObject, @unchecked Sendable {
  let definition: MacroDefinition
  let frame: Frame
  override var typeName: String { "Macro" }
  init(_ definition: MacroDefinition, in frame: Frame) {
    self.definition = definition
    self.frame = frame
    super.init()
  }
}

/// `loop` of a `for`.
final class JinjaLoop: JinjaObject, @unchecked Sendable {
  /// The items seen so far, and those looked ahead at.
  private(set) var items: [JinjaValue]
  private var source: JinjaGenerator?
  var index = -1
  let level: Int
  var lastChanged: JinjaValue?
  override var typeName: String { "LoopContext" }

  /// - Parameter source: what gives the items beyond `items`.
  init(items: [JinjaValue], source: JinjaGenerator?, level: Int) {
    self.items = items
    self.source = source
    self.level = level
    super.init()
  }

  /// The item at `place`, pulled from the source where it must be.
  func item(_ place: Int, _ rendering: inout Rendering) throws(JinjaError) -> JinjaValue? {
    if place < 0 { return nil }
    while place >= items.count, let source {
      guard let item = try source.next(&rendering) else {
        self.source = nil
        break
      }
      try rendering.charge(1)
      items.append(item)
    }
    return place < items.count ? items[place] : nil
  }

  func count(_ rendering: inout Rendering) throws(JinjaError) -> Int {
    while source != nil { _ = try item(items.count, &rendering) }
    return items.count
  }
}

/// Why a rendering ended early.
struct JinjaError: Error {
  let problem: String
  init(_ problem: String) { self.problem = problem }
}

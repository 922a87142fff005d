/// The variables of a template, or of one call of a macro.
final class Frame: @unchecked Sendable {
  // Made and changed within one rendering only.
  let slots: UnsafeMutablePointer<JinjaValue>
  let parent: Frame?
  private let count: Int

  init(count: Int, parent: Frame?) {
    self.count = count
    self.parent = parent
    slots = .allocate(capacity: count)
    slots.initialize(repeating: .undefined(""), count: count)
  }

  /// Forgets all values.
  func clear() { for slot in 0..<count { slots[slot] = .none } }

  deinit {
    slots.deinitialize(count: count)
    slots.deallocate()
  }
}

/// One run of a template: its statements here, its expressions in `Rendering+Expressions.swift`.
struct Rendering {
  let bindings: [Binding]
  var frame: Frame
  let now: Int?
  let limits: JinjaLimits
  /// The text so far, with what a macro or a `set` block is writing at its end.
  var out: [UInt8] = []
  private(set) var generations: [Range<Int>] = []
  private(set) var hasHiddenGeneration = false
  /// Offset in the template of what runs.
  private(set) var position = 0
  private var captures = 0
  private var steps = 0
  private var depth = 0
  private var memory = 0
  /// What may refer to itself: cleared at the end, or it would never be freed.
  private var tangles: [JinjaNamespace] = []
  private var closures: [Frame] = []

  init(bindings: [Binding], frame: Frame, now: Int?, limits: JinjaLimits) {
    self.bindings = bindings
    self.frame = frame
    self.now = now
    self.limits = limits
    out.reserveCapacity(1024)
  }

  mutating func untangle() {
    for namespace in tangles { namespace.entries = [] }
    for frame in closures { frame.clear() }
  }

  mutating func track(_ namespace: JinjaNamespace) { tangles.append(namespace) }

  // MARK: Limits

  mutating func charge(_ count: Int) throws(JinjaError) {
    steps += count
    if steps > limits.steps { throw JinjaError("takes more than \(limits.steps) steps") }
  }

  mutating func enter() throws(JinjaError) {
    depth += 1
    if depth > limits.depth {
      depth -= 1
      throw JinjaError("calls and expressions are nested deeper than \(limits.depth) levels")
    }
  }

  mutating func leave() { depth -= 1 }

  /// Counts bytes that are about to be made.
  mutating func account(_ bytes: Int) throws(JinjaError) {
    memory += bytes
    if memory > limits.memory { throw JinjaError("makes more than \(limits.memory >> 20) MiB of texts and lists") }
  }

  mutating func account(_ count: Int, of bytes: Int) throws(JinjaError) {
    let (size, overflow) = count.multipliedReportingOverflow(by: bytes)
    try account(overflow ? limits.memory + 1 : max(size, 0))
  }

  mutating func made(_ text: String) throws(JinjaError) -> JinjaValue {
    try account(text.utf8.count)
    return .string(text)
  }

  mutating func made(_ items: [JinjaValue]) throws(JinjaError) -> JinjaValue { .list(try madeList(items)) }

  mutating func madeList(_ items: [JinjaValue]) throws(JinjaError) -> JinjaList {
    try account(items.count * 16)
    let list = JinjaList(items)
    try checkDepth(list.depth)
    return list
  }

  mutating func made(_ entries: [JinjaDict.Entry]) throws(JinjaError) -> JinjaValue {
    try account(entries.count * 32)
    let dict = JinjaDict(entries)
    try checkDepth(dict.depth)
    return .dict(dict)
  }

  func checkDepth(_ depth: Int) throws(JinjaError) {
    if depth > limits.depth { throw JinjaError("makes lists nested deeper than \(limits.depth) levels") }
  }

  func checkOutput() throws(JinjaError) {
    if out.count > limits.output { throw JinjaError("writes more than \(limits.output >> 20) MiB") }
  }

  // MARK: Variables

  func value(of reference: Reference) -> JinjaValue {
    let binding = bindings[reference]
    if binding.hops == 0 { return frame.slots[binding.slot] }
    return frame(outward: binding.hops).slots[binding.slot]
  }

  private func frame(outward hops: Int) -> Frame {
    var frame = frame
    for _ in 0..<hops { frame = frame.parent! }
    return frame
  }

  func copy(_ copies: [(slot: Int, outer: Reference)]) {
    for copy in copies { frame.slots[copy.slot] = value(of: copy.outer) }
  }

  mutating func assign(_ value: JinjaValue, to target: Target) throws(JinjaError) {
    switch target {
    case .variable(let reference): frame.slots[bindings[reference].slot] = value
    case .tuple(let parts):
      let items = try items(of: value)
      guard items.count == parts.count else {
        throw JinjaError(
          items.count > parts.count
            ? "too many values to unpack: \(items.count) for \(parts.count) names"
            : "not enough values to unpack: \(items.count) for \(parts.count) names")
      }
      for (part, item) in zip(parts, items) { try assign(item, to: part) }
    case .attribute(let reference, let name, let attribute):
      guard case .object(let object) = self.value(of: reference), let namespace = object as? JinjaNamespace else {
        throw JinjaError("\"\(name)\" is no namespace: its attribute \"\(attribute)\" cannot be set")
      }
      if attribute.first == "_" { throw JinjaError("the namespace attribute \"\(attribute)\" begins with an underscore") }
      namespace[attribute] = value
    }
  }

  // MARK: Statements

  enum Flow { case onward, leaveLoop, nextItem }

  mutating func run(_ block: Block) throws(JinjaError) -> Flow {
    copy(block.copies)
    return try run(block.statements)
  }

  mutating func run(_ statements: [Statement]) throws(JinjaError) -> Flow {
    for statement in statements {
      try charge(1)
      let flow: Flow
      switch statement {
      case .text(let bytes):
        out.append(contentsOf: bytes)
        flow = .onward
      case .output(let expression, let offset):
        position = offset
        try emit(expression)
        try checkOutput()
        flow = .onward
      case .branch(let branches, let otherwise): flow = try branch(branches, otherwise)
      case .loop(let loop, let offset):
        position = offset
        flow = try self.loop(loop)
      case .set(let target, let expression, let offset):
        position = offset
        try assign(try evaluate(expression), to: target)
        flow = .onward
      case .setBlock(let target, let filters, let block, let offset):
        position = offset
        let start = beginCapture()
        flow = try run(block)
        let value = try applied(filters, to: try endCapture(start))
        if flow == .onward { try assign(value, to: target) }
      case .with(let targets, let block, let offset):
        position = offset
        var values: [JinjaValue] = []
        for target in targets { values.append(try evaluate(target.1)) }
        copy(block.copies)
        for (target, value) in zip(targets, values) { try assign(value, to: target.0) }
        flow = try run(block.statements)
      case .macro(let definition, let reference):
        keepFrame()
        try assign(.object(JinjaMacro(definition, in: frame)), to: .variable(reference))
        flow = .onward
      case .call(let callee, let arguments, let definition, let offset):
        position = offset
        keepFrame()
        var values = try self.values(arguments)
        values.named.append(("caller", .object(JinjaMacro(definition, in: frame))))
        let result = try call(callee, values)
        position = offset
        try emit(result)
        flow = .onward
      case .filterBlock(let filters, let block, let offset):
        position = offset
        let start = beginCapture()
        flow = try run(block)
        let value = try applied(filters, to: try endCapture(start))
        if flow == .onward { try emit(value) }
      case .generation(let block, let offset):
        position = offset
        let start = out.count
        flow = try run(block)
        if captures == 0 { generations.append(start..<out.count) } else { hasHiddenGeneration = true }
      case .break: flow = .leaveLoop
      case .continue: flow = .nextItem
      }
      if flow != .onward { return flow }
    }
    return .onward
  }

  private mutating func branch(
    _ branches: [(condition: Expression, at: Int, body: [Statement])], _ otherwise: [Statement]
  ) throws(JinjaError) -> Flow {
    for branch in branches {
      position = branch.at
      if try evaluate(branch.condition).isTrue { return try run(branch.body) }
    }
    return try run(otherwise)
  }

  private mutating func loop(_ loop: Loop) throws(JinjaError) -> Flow {
    let value = try evaluate(loop.items)
    var items: [JinjaValue] = []
    var source: JinjaGenerator?
    if let filter = loop.filter {
      source = try filtered(value, filter.target, filter.copies, filter.condition)
    } else if case .object(let object) = value, let generator = object as? JinjaGenerator {
      source = generator
    } else {
      items = try self.items(of: value)
    }
    var isUsed = false
    if source == nil, loop.slot == nil {
      for item in items {
        switch try turn(loop, item) {
        case .onward: isUsed = true
        case .nextItem: break
        case .leaveLoop: return try isUsed ? .onward : run(loop.otherwise)
        }
      }
    } else {
      let state = JinjaLoop(items: items, source: source, level: loop.level)
      if let slot = loop.slot { frame.slots[slot] = .object(state) }
      // The loop's slot holds the state, the state its items: nothing refers to itself unless a namespace keeps it.
      turns: while let item = try state.item(state.index + 1, &self) {
        state.index += 1
        switch try turn(loop, item) {
        case .onward: isUsed = true
        case .nextItem: break
        case .leaveLoop: break turns
        }
      }
    }
    // As Jinja has it: a loop whose every turn ends early counts as one without items.
    return try isUsed ? .onward : run(loop.otherwise)
  }

  private mutating func turn(_ loop: Loop, _ item: JinjaValue) throws(JinjaError) -> Flow {
    try charge(1)
    copy(loop.body.copies)
    try assign(item, to: loop.target)
    return try run(loop.body.statements)
  }

  /// The items that a loop's `if` lets through, asked for one by one.
  private mutating func filtered(
    _ value: JinjaValue, _ target: Target, _ copies: [(slot: Int, outer: Reference)], _ condition: Expression
  ) throws(JinjaError) -> JinjaGenerator {
    let source = try generator(over: value)
    let home = frame
    return JinjaGenerator(over: value) { rendering throws(JinjaError) in
      let away = rendering.frame
      rendering.frame = home
      defer { rendering.frame = away }
      while let item = try source.next(&rendering) {
        rendering.copy(copies)
        try rendering.assign(item, to: target)
        if try rendering.evaluate(condition).isTrue { return item }
      }
      return nil
    }
  }

  // MARK: Text aside

  mutating func beginCapture() -> Int {
    captures += 1
    return out.count
  }

  /// Takes what was written since `start` off the text.
  mutating func endCapture(_ start: Int) throws(JinjaError) -> JinjaValue {
    captures -= 1
    try checkOutput()
    let text = String(decoding: out[start...], as: UTF8.self)
    out.removeLast(out.count - start)
    return try made(text)
  }

  /// The current frame is held by a macro, which it may hold itself.
  private mutating func keepFrame() { if closures.last !== frame { closures.append(frame) } }

  // MARK: Macros

  mutating func invoke(_ macro: JinjaMacro, _ values: CallValues) throws(JinjaError) -> JinjaValue {
    try enter()
    defer { leave() }
    let definition = macro.definition
    let home = frame
    let place = position
    frame = Frame(count: definition.slotCount, parent: macro.frame)
    defer { frame = home }
    copy(definition.body.copies)
    try bind(values, to: definition)
    let start = beginCapture()
    _ = try run(definition.body.statements)
    position = place
    return try endCapture(start)
  }

  private mutating func bind(_ values: CallValues, to definition: MacroDefinition) throws(JinjaError) {
    var named = values.named
    for (place, parameter) in definition.parameters.enumerated() {
      if place < values.positional.count {
        frame.slots[parameter.slot] = values.positional[place]
      } else if let given = named.firstIndex(where: { $0.name == parameter.name }) {
        frame.slots[parameter.slot] = named.remove(at: given).value
      } else if let standard = parameter.standard {
        frame.slots[parameter.slot] = try evaluate(standard)
      } else {
        frame.slots[parameter.slot] = .undefined(parameter.name)
      }
    }
    if let slot = definition.caller {
      let given = named.firstIndex { $0.name == "caller" }
      frame.slots[slot] = given.map { named.remove(at: $0).value } ?? .undefined("caller")
    }
    if let slot = definition.namedRest {
      frame.slots[slot] = try made(named.map { JinjaDict.Entry($0.name, $0.value) })
    } else if let unknown = named.first {
      throw JinjaError("the macro \"\(definition.name)\" takes no argument \"\(unknown.name)\"")
    }
    let rest = values.positional.dropFirst(definition.parameters.count)
    if let slot = definition.rest {
      frame.slots[slot] = .tuple(try madeList(Array(rest)))
    } else if !rest.isEmpty {
      throw JinjaError("the macro \"\(definition.name)\" takes not more than \(definition.parameters.count) arguments")
    }
  }
}

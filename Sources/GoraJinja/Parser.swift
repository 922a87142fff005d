/// Makes a tree of a template's tokens, by Jinja's grammar with loop controls and `generation`: statements here, expressions beside it.
struct Parser {
  private let tokens: [Token]
  private var at = 0
  var scope = Scope(in: nil)
  var bindings = Bindings()
  var depth = 0
  /// Operators and the like in the tag at hand: each may make its tree one level deeper.
  private var links = 0
  private var loopLevel = 0
  /// Whether a loop stands around within the same macro.
  private var isInLoop = false

  /// Slots of the outermost frame.
  private(set) var slotCount = 0

  init(_ tokens: [Token]) { self.tokens = tokens }

  mutating func template() throws(SyntaxError) -> [Statement] {
    let body = try statements(until: [])
    _ = bindings.close(scope)
    slotCount = scope.counter.count
    return body
  }

  // MARK: Tokens

  var current: Token { tokens[at] }
  var following: Token { tokens[min(at + 1, tokens.count - 1)] }

  mutating func advance() { if at < tokens.count - 1 { at += 1 } }

  func isName(_ name: String, _ token: Token? = nil) -> Bool { (token ?? current).kind == .name(name) }
  func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }

  mutating func skipName(_ name: String) -> Bool {
    guard isName(name) else { return false }
    advance()
    return true
  }

  mutating func skip(_ symbol: String) -> Bool {
    guard isSymbol(symbol) else { return false }
    advance()
    return true
  }

  func fail(_ problem: String, at offset: Int? = nil) -> SyntaxError {
    SyntaxError(offset: offset ?? current.offset, problem: problem)
  }

  mutating func expect(_ symbol: String) throws(SyntaxError) {
    if !skip(symbol) { throw fail("\(current.description) where \"\(symbol)\" must stand") }
  }

  mutating func expectName() throws(SyntaxError) -> String {
    guard case .name(let name) = current.kind else { throw fail("\(current.description) where a name must stand") }
    advance()
    return name
  }

  private mutating func expectBlockEnd() throws(SyntaxError) {
    guard current.kind == .blockEnd else { throw fail("\(current.description) where the tag must end") }
    advance()
  }

  mutating func deeper() throws(SyntaxError) {
    depth += 1
    if depth > 100 { throw fail("nested deeper than 100 levels") }
  }

  mutating func link() throws(SyntaxError) {
    links += 1
    if links > 500 { throw fail("the tag has more than 500 operators") }
  }

  // MARK: Statements

  private mutating func statements(until ends: [String]) throws(SyntaxError) -> [Statement] {
    try deeper()
    defer { depth -= 1 }
    var body: [Statement] = []
    while true {
      links = 0
      let token = current
      switch token.kind {
      case .text(let text):
        body.append(.text(Array(text.utf8)))
        advance()
      case .printBegin:
        advance()
        body.append(.output(try tuple(), at: token.offset))
        guard current.kind == .printEnd else { throw fail("\(current.description) where \"}}\" must stand") }
        advance()
      case .blockBegin:
        advance()
        if case .name(let name) = current.kind, ends.contains(name) { return body }
        if let statement = try statement(from: token.offset) { body.append(statement) }
        try expectBlockEnd()
      default:
        if !ends.isEmpty {
          throw fail("the template ends where \"\(ends.joined(separator: "\" or \""))\" must stand")
        }
        return body
      }
    }
  }

  /// Statements behind the end of a tag up to one of `ends`, which is passed over.
  private mutating func body(until ends: String...) throws(SyntaxError) -> (body: [Statement], end: String) {
    _ = skip(":")
    try expectBlockEnd()
    let body = try statements(until: ends)
    return (body, try expectName())
  }

  private mutating func inScope<T>(
    isMacro: Bool = false, _ read: (inout Parser) throws(SyntaxError) -> T
  ) throws(SyntaxError) -> (T, [(slot: Int, outer: Reference)]) {
    let outer = scope
    scope = Scope(in: outer, isMacro: isMacro)
    defer { scope = outer }
    let result = try read(&self)
    return (result, bindings.close(scope))
  }

  private mutating func block(until end: String) throws(SyntaxError) -> Block {
    let (body, copies) = try inScope { parser throws(SyntaxError) in try parser.body(until: end).body }
    return Block(statements: body, copies: copies)
  }

  private mutating func statement(from offset: Int) throws(SyntaxError) -> Statement? {
    guard case .name(let tag) = current.kind else { throw fail("\(current.description) where a statement must stand") }
    let start = current.offset
    advance()
    switch tag {
    case "if": return try branch(from: offset)
    case "for": return try loop(from: offset)
    case "set": return try set(from: offset)
    case "with": return try with(from: offset)
    case "macro": return try macro()
    case "call": return try callBlock(from: offset)
    case "filter":
      let filters = try filterChain(startsInline: true)
      return .filterBlock(filters, try block(until: "endfilter"), at: offset)
    case "generation":
      let wasInLoop = isInLoop
      isInLoop = false
      defer { isInLoop = wasInLoop }
      return .generation(try block(until: "endgeneration"), at: offset)
    case "print":
      var parts: [Expression] = []
      while current.kind != .blockEnd {
        if !parts.isEmpty { try expect(",") }
        parts.append(try expression())
      }
      return .output(.concatenation(parts), at: offset)
    case "break", "continue":
      guard isInLoop else { throw fail("\"\(tag)\" outside of a loop", at: start) }
      return tag == "break" ? .break : .continue
    case "extends", "include", "import", "from", "block", "autoescape", "do", "trans", "debug":
      throw fail("the statement \"\(tag)\" is not supported", at: start)
    default: throw fail("unknown statement \"\(tag)\"", at: start)
    }
  }

  private mutating func branch(from offset: Int) throws(SyntaxError) -> Statement {
    var branches: [(condition: Expression, at: Int, body: [Statement])] = []
    var place = offset
    while true {
      let condition = try tuple(isConditional: false)
      let (body, end) = try body(until: "elif", "else", "endif")
      branches.append((condition, place, body))
      switch end {
      case "elif": place = tokens[at - 1].offset
      case "else": return .branch(branches, otherwise: try self.body(until: "endif").body)
      default: return .branch(branches, otherwise: [])
      }
    }
  }

  private mutating func loop(from offset: Int) throws(SyntaxError) -> Statement {
    let names = try targetNames(until: "in")
    if case .variable("loop") = names { throw fail("\"loop\" cannot be set", at: offset) }
    guard skipName("in") else { throw fail("\(current.description) where \"in\" must stand") }
    let items = try tuple(isConditional: false, until: "recursive")
    var filter: (target: Target, copies: [(slot: Int, outer: Reference)], condition: Expression)?
    if skipName("if") {
      let (parts, copies) = try inScope { parser throws(SyntaxError) in
        (parser.declare(names, isParameter: true), try parser.expression())
      }
      filter = (parts.0, copies, parts.1)
    }
    if isName("recursive") { throw fail("recursive loops are not supported") }
    let wasInLoop = isInLoop
    isInLoop = true
    loopLevel += 1
    let level = loopLevel
    let ((target, body, end, slot), copies) = try inScope { parser throws(SyntaxError) in
      let target = parser.declare(names, isParameter: true)
      let (body, end) = try parser.body(until: "else", "endfor")
      let slot = parser.scope.isAwaiting("loop") ? parser.scope.declare("loop", isParameter: true) : nil
      return (target, body, end, slot)
    }
    isInLoop = wasInLoop
    loopLevel -= 1
    let otherwise = end == "else" ? try block(until: "endfor") : Block()
    return .loop(
      Loop(
        target: target, items: items, filter: filter, slot: slot, level: level,
        body: Block(statements: body, copies: copies), otherwise: otherwise),
      at: offset)
  }

  private mutating func set(from offset: Int) throws(SyntaxError) -> Statement {
    let names = try targetNames(mayBeAttribute: true)
    if skip("=") {
      let value = try tuple()
      return .set(declare(names, isParameter: false), value, at: offset)
    }
    let filters = try filterChain(startsInline: false)
    let block = try block(until: "endset")
    return .setBlock(declare(names, isParameter: false), filters, block, at: offset)
  }

  private mutating func with(from offset: Int) throws(SyntaxError) -> Statement {
    var parts: [(TargetNames, Expression)] = []
    while current.kind != .blockEnd {
      if !parts.isEmpty { try expect(",") }
      let names = try targetNames(isSingle: true)
      try expect("=")
      parts.append((names, try expression()))
    }
    let ((targets, body), copies) = try inScope { parser throws(SyntaxError) in
      (parts.map { parser.declare($0.0, isParameter: true) }, try parser.body(until: "endwith").body)
    }
    return .with(Array(zip(targets, parts.map(\.1))), Block(statements: body, copies: copies), at: offset)
  }

  // MARK: Macros

  private mutating func macro() throws(SyntaxError) -> Statement {
    let name = try expectName()
    let definition = try definition(name, end: "endmacro") { parser throws(SyntaxError) in try parser.parameters() }
    guard case .variable(let reference) = declare(.variable(name), isParameter: false) else { preconditionFailure() }
    return .macro(definition, reference)
  }

  private mutating func callBlock(from offset: Int) throws(SyntaxError) -> Statement {
    // Parameters come before the call, which belongs to the outer scope; the body comes last.
    let start = at
    if isSymbol("(") { try skipParentheses() }
    guard case .call(let callee, let arguments) = try expression() else {
      throw fail("\"call\" must be followed by a call", at: offset)
    }
    let afterCall = at
    at = start
    let definition = try definition("caller", end: "endcall") { parser throws(SyntaxError) in
      let parameters = parser.isSymbol("(") ? try parser.parameters() : []
      parser.at = afterCall
      return parameters
    }
    return .call(callee, arguments, caller: definition, at: offset)
  }

  private mutating func skipParentheses() throws(SyntaxError) {
    var open = 0
    repeat {
      if isSymbol("(") { open += 1 }
      if isSymbol(")") { open -= 1 }
      if current.kind == .blockEnd || current.kind == .end { throw fail("\(current.description) where \")\" must stand") }
      advance()
    } while open > 0
  }

  private mutating func definition(
    _ name: String, end: String,
    _ readParameters: (inout Parser) throws(SyntaxError) -> [MacroDefinition.Parameter]
  ) throws(SyntaxError) -> MacroDefinition {
    let wasInLoop = isInLoop
    let outerLevel = loopLevel
    isInLoop = false
    loopLevel = 0
    defer {
      isInLoop = wasInLoop
      loopLevel = outerLevel
    }
    let ((parameters, body, slots, counter), copies) = try inScope(isMacro: true) { parser throws(SyntaxError) in
      let parameters = try readParameters(&parser)
      let body = try parser.body(until: end).body
      let scope = parser.scope
      let slots = ["caller", "varargs", "kwargs"].map { name -> Int? in
        scope.slot(of: name) == nil && scope.isAwaiting(name) ? scope.declare(name, isParameter: true) : nil
      }
      return (parameters, body, slots, scope.counter)
    }
    return MacroDefinition(
      name: name, parameters: parameters, body: Block(statements: body, copies: copies), slotCount: counter.count,
      caller: slots[0], rest: slots[1], namedRest: slots[2])
  }

  private mutating func parameters() throws(SyntaxError) -> [MacroDefinition.Parameter] {
    try expect("(")
    var parameters: [MacroDefinition.Parameter] = []
    while !isSymbol(")") {
      if !parameters.isEmpty { try expect(",") }
      let name = try expectName()
      let slot = scope.declare(name, isParameter: true)
      let standard = skip("=") ? try expression() : nil
      if standard == nil, parameters.contains(where: { $0.standard != nil }) {
        throw fail("the parameter \"\(name)\" must have a default, as those before it")
      }
      parameters.append(MacroDefinition.Parameter(name: name, slot: slot, standard: standard))
    }
    try expect(")")
    return parameters
  }

  // MARK: Targets

  private indirect enum TargetNames {
    case variable(String)
    case tuple([TargetNames])
    case attribute(String, String)
  }

  private mutating func targetNames(
    until end: String? = nil, mayBeAttribute: Bool = false, isSingle: Bool = false
  ) throws(SyntaxError) -> TargetNames {
    try deeper()
    defer { depth -= 1 }
    var parts: [TargetNames] = []
    var isTuple = false
    while true {
      if isTuple, isSymbol("=") || isSymbol(")") || current.kind == .blockEnd || end.map({ isName($0) }) == true { break }
      if skip("(") {
        parts.append(try targetNames(mayBeAttribute: mayBeAttribute))
        try expect(")")
      } else {
        let name = try expectName()
        if ["true", "false", "none", "True", "False", "None"].contains(name) { throw fail("\"\(name)\" cannot be set") }
        if mayBeAttribute, skip(".") {
          parts.append(.attribute(name, try expectName()))
        } else {
          parts.append(.variable(name))
        }
      }
      if isSingle || !skip(",") { break }
      isTuple = true
    }
    return isTuple ? .tuple(parts) : parts[0]
  }

  private mutating func declare(_ names: TargetNames, isParameter: Bool) -> Target {
    switch names {
    case .variable(let name):
      _ = scope.declare(name, isParameter: isParameter)
      return .variable(bindings.use(name, in: scope))
    case .tuple(let parts): return .tuple(parts.map { declare($0, isParameter: isParameter) })
    case .attribute(let name, let attribute):
      return .attribute(bindings.use(name, in: scope), namespace: name, attribute: attribute)
    }
  }
}

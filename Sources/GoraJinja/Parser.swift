/// Makes a tree of a template's tokens, by Jinja's grammar with loop controls and `generation`.
struct Parser {
  private let tokens: [Token]
  private var at = 0
  private var scope = Scope(in: nil)
  private(set) var bindings = Bindings()
  private var depth = 0
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

  private var current: Token { tokens[at] }
  private var following: Token { tokens[min(at + 1, tokens.count - 1)] }

  private mutating func advance() { if at < tokens.count - 1 { at += 1 } }

  private func isName(_ name: String, _ token: Token? = nil) -> Bool { (token ?? current).kind == .name(name) }
  private func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }

  private mutating func skipName(_ name: String) -> Bool {
    guard isName(name) else { return false }
    advance()
    return true
  }

  private mutating func skip(_ symbol: String) -> Bool {
    guard isSymbol(symbol) else { return false }
    advance()
    return true
  }

  private func fail(_ problem: String, at offset: Int? = nil) -> SyntaxError {
    SyntaxError(offset: offset ?? current.offset, problem: problem)
  }

  private mutating func expect(_ symbol: String) throws(SyntaxError) {
    if !skip(symbol) { throw fail("\(current.description) where \"\(symbol)\" must stand") }
  }

  private mutating func expectName() throws(SyntaxError) -> String {
    guard case .name(let name) = current.kind else { throw fail("\(current.description) where a name must stand") }
    advance()
    return name
  }

  private mutating func expectBlockEnd() throws(SyntaxError) {
    guard current.kind == .blockEnd else { throw fail("\(current.description) where the tag must end") }
    advance()
  }

  private mutating func deeper() throws(SyntaxError) {
    depth += 1
    if depth > 100 { throw fail("nested deeper than 100 levels") }
  }

  private mutating func link() throws(SyntaxError) {
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

  // MARK: Expressions

  private mutating func tuple(
    isConditional: Bool = true, until end: String? = nil, isInParentheses: Bool = false
  ) throws(SyntaxError) -> Expression {
    var parts: [Expression] = []
    var isTuple = false
    while true {
      let isEnd = current.kind == .printEnd || current.kind == .blockEnd || isSymbol(")") || end.map { isName($0) } == true
      if isEnd, isTuple || parts.isEmpty { break }
      parts.append(try expression(isConditional: isConditional))
      if !skip(",") { break }
      isTuple = true
    }
    if isTuple || (parts.isEmpty && isInParentheses) { return .tuple(parts) }
    guard let single = parts.first else { throw fail("\(current.description) where an expression must stand") }
    return single
  }

  private mutating func expression(isConditional: Bool = true) throws(SyntaxError) -> Expression {
    try deeper()
    defer { depth -= 1 }
    var result = try disjunction()
    guard isConditional else { return result }
    while skipName("if") {
      try link()
      let condition = try disjunction()
      let otherwise = skipName("else") ? try expression() : nil
      result = .conditional(if: condition, then: result, else: otherwise)
    }
    return result
  }

  private mutating func disjunction() throws(SyntaxError) -> Expression {
    var left = try conjunction()
    while skipName("or") {
      try link()
      left = .or(left, try conjunction())
    }
    return left
  }

  private mutating func conjunction() throws(SyntaxError) -> Expression {
    var left = try negation()
    while skipName("and") {
      try link()
      left = .and(left, try negation())
    }
    return left
  }

  private mutating func negation() throws(SyntaxError) -> Expression {
    var negations = 0
    while skipName("not") {
      try link()
      negations += 1
    }
    var result = try comparison()
    for _ in 0..<negations { result = .not(result) }
    return result
  }

  private mutating func comparison() throws(SyntaxError) -> Expression {
    let left = try sum()
    var rest: [(Comparison, Expression)] = []
    while true {
      let comparison: Comparison
      if case .symbol(let symbol) = current.kind, let known = Comparison(rawValue: symbol) {
        comparison = known
      } else if isName("in") {
        comparison = .within
      } else if isName("not"), isName("in", following) {
        advance()
        comparison = .notWithin
      } else {
        return rest.isEmpty ? left : .comparison(left, rest)
      }
      advance()
      try link()
      rest.append((comparison, try sum()))
    }
  }

  private mutating func sum() throws(SyntaxError) -> Expression {
    var parts = [try concatenation()]
    while isSymbol("+") || isSymbol("-") {
      let isSum = isSymbol("+")
      advance()
      let right = try concatenation()
      if isSum {
        parts.append(right)
      } else {
        try link()
        parts = [.arithmetic(.minus, parts.count == 1 ? parts[0] : .sum(parts), right)]
      }
    }
    return parts.count == 1 ? parts[0] : .sum(parts)
  }

  private mutating func concatenation() throws(SyntaxError) -> Expression {
    var parts = [try product()]
    while skip("~") { parts.append(try product()) }
    return parts.count == 1 ? parts[0] : .concatenation(parts)
  }

  private mutating func product() throws(SyntaxError) -> Expression {
    var left = try power()
    while case .symbol(let symbol) = current.kind, let operation = Arithmetic(rawValue: symbol),
      operation != .minus, operation != .power
    {
      advance()
      try link()
      left = .arithmetic(operation, left, try power())
    }
    return left
  }

  private mutating func power() throws(SyntaxError) -> Expression {
    var left = try unary()
    while skip("**") {
      try link()
      left = .arithmetic(.power, left, try unary())
    }
    return left
  }

  private mutating func unary(hasFilters: Bool = true) throws(SyntaxError) -> Expression {
    try deeper()
    defer { depth -= 1 }
    var result: Expression
    if skip("-") {
      result = .negative(try unary(hasFilters: false))
    } else if skip("+") {
      result = .positive(try unary(hasFilters: false))
    } else {
      result = try primary()
    }
    result = try postfixes(of: result)
    return hasFilters ? try filtersAndTests(of: result) : result
  }

  private mutating func primary() throws(SyntaxError) -> Expression {
    let token = current
    switch token.kind {
    case .name(let name):
      advance()
      switch name {
      case "true", "True": return .constant(.bool(true))
      case "false", "False": return .constant(.bool(false))
      case "none", "None": return .constant(.none)
      default: return .variable(bindings.use(name, in: scope), name)
      }
    case .string(var text):
      advance()
      while case .string(let more) = current.kind {
        text += more
        advance()
      }
      return .constant(.string(text))
    case .integer(let number):
      advance()
      return .constant(.int(number))
    case .float(let number):
      advance()
      return .constant(.float(number))
    case .symbol("("):
      advance()
      try deeper()
      defer { depth -= 1 }
      let result = try tuple(isInParentheses: true)
      try expect(")")
      return result
    case .symbol("["):
      advance()
      var items: [Expression] = []
      while !isSymbol("]") {
        if !items.isEmpty { try expect(",") }
        if isSymbol("]") { break }
        items.append(try expression())
      }
      try expect("]")
      return .list(items)
    case .symbol("{"):
      advance()
      var entries: [(key: Expression, value: Expression)] = []
      while !isSymbol("}") {
        if !entries.isEmpty { try expect(",") }
        if isSymbol("}") { break }
        let key = try expression()
        try expect(":")
        entries.append((key, try expression()))
      }
      try expect("}")
      return .dict(entries)
    default: throw fail("\(token.description) where an expression must stand")
    }
  }

  private mutating func postfixes(of start: Expression) throws(SyntaxError) -> Expression {
    var result = start
    while true {
      if skip(".") {
        try link()
        if case .integer(let index) = current.kind {
          advance()
          result = .item(result, .constant(.int(index)))
        } else {
          result = .attribute(result, AttributeName(try expectName()))
        }
      } else if skip("[") {
        try link()
        result = try subscripted(result)
        try expect("]")
      } else if isSymbol("(") {
        try link()
        result = .call(result, try arguments())
      } else {
        return result
      }
    }
  }

  private mutating func subscripted(_ value: Expression) throws(SyntaxError) -> Expression {
    func isEnd(_ parser: Parser) -> Bool { parser.isSymbol(":") || parser.isSymbol("]") }
    let first = isSymbol(":") ? nil : try expression()
    if let first, isSymbol("]") { return .item(value, first) }
    if let first, isSymbol(",") {
      var parts = [first]
      while skip(","), !isSymbol("]") { parts.append(try expression()) }
      return .item(value, .tuple(parts))
    }
    try expect(":")
    let second = isEnd(self) ? nil : try expression()
    let third = skip(":") && !isEnd(self) ? try expression() : nil
    return .slice(value, from: first, to: second, step: third)
  }

  private mutating func arguments() throws(SyntaxError) -> Arguments {
    try expect("(")
    var result = Arguments()
    var isFirst = true
    while !isSymbol(")") {
      if !isFirst {
        try expect(",")
        if isSymbol(")") { break }
      }
      isFirst = false
      if isSymbol("*"), result.list == nil, result.dict == nil {
        advance()
        result.list = try expression()
      } else if isSymbol("**"), result.dict == nil {
        advance()
        result.dict = try expression()
      } else if case .name(let name) = current.kind, following.kind == .symbol("="), result.dict == nil {
        advance()
        advance()
        result.named.append((name, try expression()))
      } else if result.list == nil, result.dict == nil, result.named.isEmpty {
        result.positional.append(try expression())
      } else {
        throw fail("the arguments of a call are out of order")
      }
    }
    try expect(")")
    return result
  }

  // MARK: Filters and tests

  private mutating func filtersAndTests(of start: Expression) throws(SyntaxError) -> Expression {
    var result = start
    while true {
      if skip("|") {
        try link()
        result = .filter(result, try filterCall())
      } else if isName("is") {
        try link()
        result = try test(result)
      } else if isSymbol("(") {
        try link()
        result = .call(result, try arguments())
      } else {
        return result
      }
    }
  }

  private mutating func filterCall() throws(SyntaxError) -> FilterCall {
    let name = try dottedName()
    return FilterCall(name: name, filter: Filter(rawValue: name), arguments: isSymbol("(") ? try arguments() : Arguments())
  }

  private mutating func filterChain(startsInline: Bool) throws(SyntaxError) -> [FilterCall] {
    var filters = startsInline ? [try filterCall()] : []
    while skip("|") { filters.append(try filterCall()) }
    return filters
  }

  private mutating func dottedName() throws(SyntaxError) -> String {
    var name = try expectName()
    while skip(".") { name += "." + (try expectName()) }
    return name
  }

  private mutating func test(_ value: Expression) throws(SyntaxError) -> Expression {
    advance()
    let isNegated = skipName("not")
    let name = try dottedName()
    var parts = Arguments()
    switch current.kind {
    case .symbol("("): parts = try arguments()
    case .name("else"), .name("or"), .name("and"): break
    case .name("is"): throw fail("tests with \"is\" cannot be chained")
    case .name, .string, .integer, .float, .symbol("["), .symbol("{"):
      let argument = try primary()
      parts.positional = [try postfixes(of: argument)]
    default: break
    }
    let test = Expression.test(value, TestCall(name: name, test: Test(name), arguments: parts))
    return isNegated ? .not(test) : test
  }
}

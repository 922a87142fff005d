extension Parser {
  // MARK: Expressions

  mutating func tuple(
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

  mutating func expression(isConditional: Bool = true) throws(SyntaxError) -> Expression {
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

  mutating func concatenation() throws(SyntaxError) -> Expression {
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

  mutating func filterChain(startsInline: Bool) throws(SyntaxError) -> [FilterCall] {
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

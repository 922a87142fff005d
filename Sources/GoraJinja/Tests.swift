/// What may follow `is`.
enum Test: String {
  case odd, even, divisibleby, defined, undefined, filter, test, none, boolean, `false`, `true`, integer, float, lower, upper
  case string, mapping, number, sequence, iterable, callable, sameas, escaped, `in`
  case eq, ne, gt, ge, lt, le

  init?(_ name: String) {
    let alias = ["equalto": "eq", "greaterthan": "gt", "lessthan": "lt"][name]
    // Symbols are names of tests for select and its like.
    let symbol = ["==": "eq", "!=": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le"][name]
    guard let known = Test(rawValue: alias ?? symbol ?? name) else { return nil }
    self = known
  }

  fileprivate var comparison: Comparison? {
    switch self {
    case .eq: .equal
    case .ne: .notEqual
    case .gt: .greater
    case .ge: .greaterOrEqual
    case .lt: .less
    case .le: .lessOrEqual
    case .in: .within
    default: nil
    }
  }
}

extension Rendering {
  mutating func passes(_ call: TestCall, _ value: JinjaValue, _ values: CallValues) throws(JinjaError) -> Bool {
    guard let test = call.test else { throw JinjaError("unknown test \"\(call.name)\"") }
    return try passes(test, value, values)
  }

  mutating func passes(_ test: Test, _ value: JinjaValue, _ values: CallValues) throws(JinjaError) -> Bool {
    let name = "the test \"\(test.rawValue)\""
    if let comparison = test.comparison {
      let other = try values.bound(to: ["other"], of: name, required: 1)[0] ?? .none
      return try holds(comparison, value, other)
    }
    switch test {
    case .divisibleby:
      let divisor = try values.bound(to: ["num"], of: name, required: 1)[0] ?? .none
      return try areEqual(try arithmetic(.modulo, value, divisor), .int(0))
    case .sameas: return try isSame(value, try values.bound(to: ["other"], of: name, required: 1)[0] ?? .none)
    default: try values.expectNone(of: name)
    }
    switch (test, value) {
    case (.defined, .undefined): return false
    case (.defined, _): return true
    case (.undefined, .undefined): return true
    case (.none, .none): return true
    case (.boolean, .bool): return true
    case (.true, .bool(let flag)): return flag
    case (.false, .bool(let flag)): return !flag
    case (.integer, .int), (.float, .float): return true
    case (.number, .int), (.number, .float), (.number, .bool): return true
    case (.mapping, .dict): return true
    case (.string, _): return value.text != nil
    case (.escaped, _): return value.isMarkup
    case (.odd, _): return try areEqual(try arithmetic(.modulo, value, .int(2)), .int(1))
    case (.even, _): return try areEqual(try arithmetic(.modulo, value, .int(2)), .int(0))
    case (.lower, _): return Self.isAll(try string(value), .islower)
    case (.upper, _): return Self.isAll(try string(value), .isupper)
    case (.filter, _):
      guard let text = value.text else { return false }
      return Filter(rawValue: text) != nil
    case (.test, _):
      guard let text = value.text else { return false }
      return Test(text) != nil
    case (.sequence, .object(let object)): return object is JinjaRange || object is JinjaMarkup
    case (.iterable, .object(let object)):
      return object is JinjaRange || object is JinjaMarkup || object is JinjaView || object is JinjaGenerator
        || object is JinjaLoop
    case (.sequence, .none), (.sequence, .bool), (.sequence, .int), (.sequence, .float): return false
    case (.iterable, .none), (.iterable, .bool), (.iterable, .int), (.iterable, .float): return false
    case (.sequence, _), (.iterable, _): return true
    case (.callable, .object(let object)):
      return object is JinjaFunction || object is JinjaMacro || object is JinjaBoundMethod || object is JinjaLoop
    case (.callable, .undefined): return true
    default: return false
    }
  }

  private func isSame(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool {
    switch (a, b) {
    case (.none, .none): return true
    case (.bool(let x), .bool(let y)): return x == y
    case (.list(let x), .list(let y)), (.tuple(let x), .tuple(let y)): return x === y
    case (.dict(let x), .dict(let y)): return x === y
    case (.object(let x), .object(let y)): return x === y
    case (.int, .int), (.float, .float), (.string, .string), (.undefined, .undefined):
      throw JinjaError("the test \"sameas\" of two \(a.typeName) is not supported")
    default: return false
    }
  }
}

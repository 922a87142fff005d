// The tree of a template. Names are resolved while it is made: a `Reference` is a place in the template's table of bindings.

typealias Reference = Int

/// Where a variable lives: in the frame `hops` macros outward.
struct Binding {
  var hops: Int
  var slot: Int
}

indirect enum Expression: Sendable {
  case constant(JinjaValue)
  case variable(Reference, String)
  case list([Expression])
  case tuple([Expression])
  case dict([(key: Expression, value: Expression)])
  case attribute(Expression, AttributeName)
  case item(Expression, Expression)
  case slice(Expression, from: Expression?, to: Expression?, step: Expression?)
  case call(Expression, Arguments)
  case filter(Expression, FilterCall)
  case test(Expression, TestCall)
  case not(Expression)
  case negative(Expression)
  case positive(Expression)
  /// `a + b + …`, from left to right.
  case sum([Expression])
  /// `a ~ b ~ …`.
  case concatenation([Expression])
  case arithmetic(Arithmetic, Expression, Expression)
  case comparison(Expression, [(Comparison, Expression)])
  case and(Expression, Expression)
  case or(Expression, Expression)
  case conditional(if: Expression, then: Expression, else: Expression?)
}

/// The name behind a point, with what Python's own types make of it before a dictionary's keys are looked at.
struct AttributeName: Sendable {
  let text: String
  let ofStrings: StringMethod?
  let ofDicts: DictMethod?
  let ofLists: ListMethod?

  init(_ text: String) {
    self.text = text
    ofStrings = StringMethod(rawValue: text)
    ofDicts = DictMethod(rawValue: text)
    ofLists = ListMethod(rawValue: text)
  }
}

enum Arithmetic: String {
  case minus = "-"
  case times = "*"
  case divided = "/"
  case floorDivided = "//"
  case modulo = "%"
  case power = "**"
}

enum Comparison: String {
  case equal = "=="
  case notEqual = "!="
  case less = "<"
  case lessOrEqual = "<="
  case greater = ">"
  case greaterOrEqual = ">="
  case within = "in"
  case notWithin = "not in"
}

/// The arguments of a call as they are written.
struct Arguments: Sendable {
  var positional: [Expression] = []
  var named: [(name: String, value: Expression)] = []
  /// `*list`.
  var list: Expression?
  /// `**dictionary`.
  var dict: Expression?

  var isEmpty: Bool { positional.isEmpty && named.isEmpty && list == nil && dict == nil }
}

struct FilterCall: Sendable {
  let name: String
  /// nil where there is none of this name: an error once it is reached.
  let filter: Filter?
  let arguments: Arguments
}

struct TestCall: Sendable {
  let name: String
  let test: Test?
  let arguments: Arguments
}

/// What may stand on the left of `=` and behind `for`.
indirect enum Target: Sendable {
  case variable(Reference)
  case tuple([Target])
  case attribute(Reference, namespace: String, attribute: String)
}

/// Statements with variables of their own.
struct Block: Sendable {
  var statements: [Statement] = []
  /// Variables that it sets, which begin with the values of those around it.
  var copies: [(slot: Int, outer: Reference)] = []
}

indirect enum Statement: Sendable {
  case text([UInt8])
  case output(Expression, at: Int)
  case branch([(condition: Expression, at: Int, body: [Statement])], otherwise: [Statement])
  case loop(Loop, at: Int)
  case set(Target, Expression, at: Int)
  case setBlock(Target, [FilterCall], Block, at: Int)
  case with([(Target, Expression)], Block, at: Int)
  case macro(MacroDefinition, Reference)
  case call(Expression, Arguments, caller: MacroDefinition, at: Int)
  case filterBlock([FilterCall], Block, at: Int)
  case generation(Block, at: Int)
  case `break`
  case `continue`
}

struct Loop: Sendable {
  let target: Target
  let items: Expression
  /// `if` behind the items, with its own target.
  let filter: (target: Target, copies: [(slot: Int, outer: Reference)], condition: Expression)?
  /// Slot of `loop`, where the body asks for it.
  let slot: Int?
  let level: Int
  let body: Block
  let otherwise: Block
}

final class MacroDefinition: Sendable {
  struct Parameter: Sendable {
    let name: String
    let slot: Int
    let standard: Expression?
  }
  let name: String
  let parameters: [Parameter]
  let body: Block
  let slotCount: Int
  /// Slots of the names that a macro may ask for without declaring them.
  let caller: Int?
  let rest: Int?
  let namedRest: Int?

  init(
    name: String, parameters: [Parameter], body: Block, slotCount: Int, caller: Int?, rest: Int?, namedRest: Int?
  ) {
    self.name = name
    self.parameters = parameters
    self.body = body
    self.slotCount = slotCount
    self.caller = caller
    self.rest = rest
    self.namedRest = namedRest
  }
}

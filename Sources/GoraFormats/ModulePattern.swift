/// A key of PEFT's `rank_pattern` or `alpha_pattern`.
///
/// PEFT applies `re.match(r"(.*\.)?(KEY)$", name)` (`get_pattern_key`). What its users and tools write is a full path, `^` and a
/// full path, or a suffix after a dot, at times with `.` or `.*` as wildcards and `\.` for a dot; that much is understood here,
/// and any other expression is refused rather than guessed.
struct ModulePattern: Sendable {
  private enum Element: Sendable, Equatable {
    case exactly(Unicode.Scalar)
    case any
    case anyNumber
  }

  private let elements: [Element]
  private let isAnchored: Bool

  /// Nil where the key holds another metacharacter of regular expressions.
  init?(_ key: String) {
    var scalars = Array(key.unicodeScalars)[...]
    isAnchored = scalars.first == "^"
    if isAnchored { scalars.removeFirst() }
    var elements: [Element] = []
    while let scalar = scalars.popFirst() {
      switch scalar {
      case ".":
        if scalars.first == "*" {
          scalars.removeFirst()
          elements.append(.anyNumber)
        } else {
          elements.append(.any)
        }
      case "\\":
        guard scalars.popFirst() == "." else { return nil }
        elements.append(.exactly("."))
      case "^", "$", "*", "+", "?", "(", ")", "[", "]", "{", "}", "|": return nil
      default: elements.append(.exactly(scalar))
      }
      // `.?`, `.+` and `.*?` are met here as a quantifier without anything to quantify, and refused above.
    }
    self.elements = elements
  }

  /// Whether the key applies to the module of that name (without `base_model.model.`).
  func matches(_ name: String) -> Bool {
    let scalars = Array(name.unicodeScalars)
    // Element numbers that the text read so far can have reached; beyond the last is a match at the end of the name.
    var reached = [Bool](repeating: false, count: elements.count + 1)
    func skipEmpty(_ reached: inout [Bool]) {
      for i in elements.indices where reached[i] && elements[i] == .anyNumber { reached[i + 1] = true }
    }
    reached[0] = true
    skipEmpty(&reached)
    for scalar in scalars {
      var next = [Bool](repeating: false, count: elements.count + 1)
      for (i, element) in elements.enumerated() where reached[i] {
        switch element {
        case .exactly(let expected): if expected == scalar { next[i + 1] = true }
        case .any: if scalar != "\n" { next[i + 1] = true }
        case .anyNumber: if scalar != "\n" { next[i] = true }
        }
      }
      // `(.*\.)?`: the key may also begin after any dot.
      if scalar == ".", !isAnchored { next[0] = true }
      skipEmpty(&next)
      reached = next
    }
    return reached[elements.count]
  }
}

/// A `rank_pattern` or `alpha_pattern`: the first key in the order of the file that matches wins.
struct PatternTable<Value: Sendable>: Sendable {
  private let rules: [(pattern: ModulePattern, value: Value)]

  init(_ rules: [(pattern: ModulePattern, value: Value)]) { self.rules = rules }

  func value(for module: String) -> Value? { rules.first { $0.pattern.matches(module) }?.value }
}

/// A key of PEFT's `rank_pattern` or `alpha_pattern`: `re.match(r"(.*\.)?(KEY)$", name)` (`get_pattern_key`).
struct ModulePattern: Sendable {
  private let expression: RegularExpression

  /// Nil where the key is an expression that is not understood.
  init?(_ key: String) {
    guard RegularExpression(key) != nil, let expression = RegularExpression("(.*\\.)?(\(key))") else { return nil }
    self.expression = expression
  }

  /// Whether the key applies to the module of that name (without `base_model.model.`).
  func matches(_ name: String) -> Bool { expression.matches(name) }
}

/// A `rank_pattern` or `alpha_pattern`: the first key in the order of the file that matches wins.
struct PatternTable<Value: Sendable>: Sendable {
  private let rules: [(pattern: ModulePattern, value: Value)]

  init(_ rules: [(pattern: ModulePattern, value: Value)]) { self.rules = rules }

  func value(for module: String) -> Value? { rules.first { $0.pattern.matches(module) }?.value }
}

import GoraCore

/// Which modules PEFT adapts by a configuration (`check_target_module_exists`, PEFT 0.21).
struct AdapterTargets: Sendable {
  private enum Modules: Sendable {
    /// Every linear module but the head.
    case allLinear
    case expression(RegularExpression)
    /// Whole names, or what follows a dot.
    case names(Set<String>)

    func contains(_ module: String) -> Bool {
      switch self {
      case .allLinear: return module != "lm_head"
      case .expression(let expression): return expression.matches(module)
      case .names(let names):
        if names.contains(module) { return true }
        var rest = Substring(module)
        while let dot = rest.firstIndex(of: ".") {
          rest = rest[rest.index(after: dot)...]
          if names.contains(String(rest)) { return true }
        }
        return false
      }
    }
  }

  private let targets: Modules
  private let excluded: Modules?
  /// Only these layers, by the number behind one of `layerPatterns`, where those are given, or behind any part of a name.
  private let layers: Set<Int>?
  private let layerPatterns: [String]

  init(reading root: JSONField) throws(GoraError) {
    // Without targets PEFT takes those that its table has for the model: these, for every decoder that gora reads.
    targets = try Self.modules(root, "target_modules") ?? .names(["q_proj", "v_proj"])
    excluded = try Self.modules(root, "exclude_modules")
    layers = try Self.layers(root)
    layerPatterns = try Self.patterns(root)
    for key in ["layers_to_transform", "layers_pattern"] {
      guard let field = try root.optional(key) else { continue }
      if case .names = targets { continue }
      throw field.error("\(field.name) cannot be used where \"target_modules\" is a string")
    }
    if !layerPatterns.isEmpty, try root.optional("layers_to_transform") == nil {
      throw root.error("\"layers_pattern\" needs \"layers_to_transform\"")
    }
  }

  func contains(_ module: String) -> Bool {
    if excluded?.contains(module) == true || !targets.contains(module) { return false }
    // A whole name counts in every layer.
    guard let layers, case .names(let names) = targets, !names.contains(module) else { return true }
    return layer(of: module).map(layers.contains) ?? false
  }

  /// The number of a module's layer: the first number between dots, behind one of the patterns where there are any, else behind at
  /// least two parts of the name.
  private func layer(of module: String) -> Int? {
    let parts = module.split(separator: ".", omittingEmptySubsequences: false)
    func number(_ i: Int) -> Int? {
      i + 1 < parts.count && parts[i].allSatisfy { ("0"..."9").contains($0) } ? Int(parts[i]) : nil
    }
    if layerPatterns.isEmpty { return parts.indices.dropFirst(2).lazy.compactMap(number).first }
    for pattern in layerPatterns {
      let wanted = pattern.split(separator: ".", omittingEmptySubsequences: false)
      for start in parts.indices where parts[start...].starts(with: wanted) {
        if let layer = number(start + wanted.count) { return layer }
      }
    }
    return nil
  }

  // MARK: Reading

  private static func modules(_ root: JSONField, _ key: String) throws(GoraError) -> Modules? {
    guard let field = try root.optional(key) else { return nil }
    switch field.value.content {
    case .string(""): return nil
    case .string(let text):
      if key == "target_modules", text.lowercased() == "all-linear" { return .allLinear }
      guard let expression = RegularExpression(text) else {
        throw field.error(
          "\(field.name) is \"\(text)\", a regular expression that gora does not read", hint: "write a list of module names")
      }
      return .expression(expression)
    default:
      var names: Set<String> = []
      for element in try field.elements { names.insert(try element.string) }
      return names.isEmpty ? nil : .names(names)
    }
  }

  private static func layers(_ root: JSONField) throws(GoraError) -> Set<Int>? {
    guard let field = try root.optional("layers_to_transform") else { return nil }
    if case .integer(let layer) = field.value.content { return [layer] }
    let layers = try field.ints
    return layers.isEmpty ? nil : Set(layers)
  }

  private static func patterns(_ root: JSONField) throws(GoraError) -> [String] {
    guard let field = try root.optional("layers_pattern") else { return [] }
    var patterns: [String] = []
    if case .string(let pattern) = field.value.content {
      if !pattern.isEmpty { patterns.append(pattern) }
    } else {
      for element in try field.elements { patterns.append(try element.string) }
    }
    for pattern in patterns where pattern.unicodeScalars.contains(where: { "\\^$*+?()[]{}|".unicodeScalars.contains($0) }) {
      throw field.error(
        "\(field.name) has \"\(pattern)\", a regular expression that gora does not read",
        hint: "write the name of the list of layers")
    }
    return patterns
  }
}

import GoraCore

/// Which linear modules get an adapter, as `--targets` says it: suffixes, `all-linear`, or `/regex/`.
package struct TargetSelection: Sendable, Equatable, CustomStringConvertible {
  private enum Rule: Sendable, Equatable {
    /// Every one that the model's family gives adapters.
    case all
    /// What `standard` says.
    case standard
    /// A name, or its part after a dot (PEFT's rule for a list).
    case suffixes([String])
    /// The whole name must match (PEFT's rule for a string).
    case pattern(String)
  }

  /// The targets where none are given, the paper's: a decoder's linears of attention, of models that have no such all linears.
  package static let standard = TargetSelection(description: attention, rule: .standard)
  package static let attention = "q_proj,k_proj,v_proj,o_proj"
  private static let attentionNames = attention.split(separator: ",").map(String.init)

  /// As the user wrote it.
  package let description: String
  private let rule: Rule

  private init(description: String, rule: Rule) { (self.description, self.rule) = (description, rule) }

  /// - Throws: status 64 for an empty list or a malformed expression.
  package init(_ text: String) throws(GoraError) {
    description = text
    if text == "all-linear" {
      rule = .all
    } else if text.hasPrefix("/") {
      guard text.count > 2, text.hasSuffix("/") else {
        throw GoraError(.usage, "--targets \"\(text)\" lacks the closing slash of an expression")
      }
      let pattern = String(text.dropFirst().dropLast())
      do { _ = try Regex(pattern) } catch {
        throw GoraError(.usage, "--targets \"\(text)\" is not a regular expression")
      }
      rule = .pattern(pattern)
    } else {
      let suffixes = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard suffixes.allSatisfy({ !$0.isEmpty && $0.allSatisfy { !$0.isWhitespace } }) else {
        throw GoraError(
          .usage, "--targets \"\(text)\" has an empty name or a space",
          hint: "separate names by commas alone: q_proj,v_proj")
      }
      rule = .suffixes(suffixes)
    }
  }

  package func selects(_ module: String) -> Bool {
    switch rule {
    case .all: true
    case .standard: Self.attentionNames.contains { Self.matches(module, $0) }
    case .suffixes(let suffixes): suffixes.contains { Self.matches(module, $0) }
    // Compiled again each time: a Regex is not Sendable, and models have hundreds of modules, not millions.
    case .pattern(let pattern): (try? Regex(pattern).wholeMatch(in: module)) != nil
    }
  }

  /// The selected ones of a model's linear modules, in their order.
  /// - Throws: status 64 where a suffix, or the expression, selects nothing: a typing error must not pass.
  package func selected(of modules: [String]) throws(GoraError) -> [String] {
    if case .standard = rule, !Self.attentionNames.allSatisfy({ name in modules.contains { Self.matches($0, name) } }) {
      return modules
    }
    if case .suffixes(let suffixes) = rule {
      for suffix in suffixes where !modules.contains(where: { Self.matches($0, suffix) }) {
        throw nothing("\"\(suffix)\"", modules)
      }
    }
    let selected = modules.filter(selects)
    if selected.isEmpty { throw nothing("\"\(description)\"", modules) }
    return selected
  }

  private func nothing(_ what: String, _ modules: [String]) -> GoraError {
    var kinds: [String] = []
    for module in modules {
      let kind = String(module.split(separator: ".").last ?? "")
      if !kinds.contains(kind) { kinds.append(kind) }
    }
    return GoraError(
      .usage, "--targets: \(what) is no linear module of the model", hint: "it has \(kinds.joined(separator: ", "))")
  }

  private static func matches(_ module: String, _ suffix: String) -> Bool {
    module == suffix || module.hasSuffix("." + suffix)
  }
}

import GoraCore

/// How far a rendering may go. A template comes with a checkpoint, from anywhere.
package struct JinjaLimits: Sendable {
  /// Statements, and items of loops and filters.
  package var steps = 2_000_000
  /// Nested calls and expressions.
  package var depth = 400
  /// Bytes of the text.
  package var output = 64 << 20
  /// Bytes of all texts and lists made on the way.
  package var memory = 256 << 20

  package init() {}
}

/// A template, compiled once and rendered often, as Transformers renders chat templates: Jinja's sandbox with
/// `trim_blocks`, `lstrip_blocks`, loop controls and `{% generation %}`.
package struct JinjaTemplate: Sendable {
  /// What it is called in messages: a file, perhaps with a key of it.
  package let name: String
  private let source: [UInt8]
  private let statements: [Statement]
  private let bindings: Bindings
  private let slotCount: Int

  /// - Throws: `GoraError` (exit 65) with line and column where the text is no template or has what is not supported.
  package init(_ text: String, name: String) throws(GoraError) {
    self.name = name
    source = Lexer.normalized(text)
    do throws(SyntaxError) {
      var lexer = Lexer(source)
      var parser = Parser(try lexer.run())
      statements = try parser.template()
      bindings = parser.bindings
      slotCount = parser.slotCount
    } catch {
      throw GoraError(.data, at: Self.location(error.offset, in: source, name), "chat template: \(error.problem)")
    }
  }

  /// A rendered text.
  package struct Rendered: Sendable {
    package let text: [UInt8]
    /// Byte ranges that stood in `{% generation %}`.
    package let generations: [Range<Int>]
    /// Whether one stood where its place in the text is not known: in a macro or a `set` block.
    package let hasHiddenGeneration: Bool
  }

  /// Whether the template has `{% generation %}` anywhere.
  package var hasGenerations: Bool {
    func has(_ statements: [Statement]) -> Bool {
      statements.contains { statement in
        switch statement {
        case .generation: true
        case .branch(let branches, let otherwise): branches.contains { has($0.body) } || has(otherwise)
        case .loop(let loop, _): has(loop.body.statements) || has(loop.otherwise.statements)
        case .setBlock(_, _, let block, _), .with(_, let block, _), .filterBlock(_, let block, _): has(block.statements)
        case .macro(let macro, _), .call(_, _, let macro, _): has(macro.body.statements)
        case .text, .output, .set, .break, .continue: false
        }
      }
    }
    return has(statements)
  }

  /// Whether it asks for `name`, which it does not set first.
  package func mentions(_ name: String) -> Bool { bindings.globals.contains { $0.name == name } }

  /// - Parameters:
  ///   - variables: what the template's names mean.
  ///   - now: for `strftime_now`, as `present` has it; that where it is nil.
  /// - Throws: `GoraError` (exit 65) where the template raises an exception or does what Jinja refuses, or at a limit.
  package func render(
    _ variables: [(name: String, value: JinjaValue)], now: Int? = nil, limits: JinjaLimits = JinjaLimits()
  ) throws(GoraError) -> Rendered {
    let frame = Frame(count: slotCount, parent: nil)
    for global in bindings.globals {
      if let given = variables.first(where: { $0.name.isSame(as: global.name) }) {
        frame.slots[global.slot] = given.value
      } else if let function = JinjaFunction.Kind(rawValue: global.name) {
        frame.slots[global.slot] = .object(JinjaFunction(function))
      }
    }
    var rendering = Rendering(bindings: bindings.table, frame: frame, now: now, limits: limits)
    defer { rendering.untangle() }
    do throws(JinjaError) {
      _ = try rendering.run(statements)
      try rendering.checkOutput()
    } catch {
      throw GoraError(.data, at: Self.location(rendering.position, in: source, name), "chat template: \(error.problem)")
    }
    return Rendered(
      text: rendering.out, generations: rendering.generations, hasHiddenGeneration: rendering.hasHiddenGeneration)
  }

  private static func location(_ offset: Int, in source: [UInt8], _ name: String) -> Location {
    let before = source.prefix(offset)
    let line = before.count { $0 == UInt8(ascii: "\n") } + 1
    let start = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    return .text(name, line: line, column: min(offset, source.count) - start + 1)
  }
}

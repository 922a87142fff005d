/// A regular expression of Python's `re` as far as whether it matches goes, in time linear in the text.
///
/// Groups, alternatives, classes, quantifiers and anchors are understood. What looks around or back, possessive quantifiers and
/// inline flags are not.
struct RegularExpression: Sendable {
  private let program: [Step]

  private enum Step: Sendable {
    case character(CharacterSet)
    /// Goes on at both places.
    case fork(Int, Int)
    case start
    case end
    case wordBoundary(Bool)
    case matched
  }

  /// Nil where Python refuses the expression or this type does not understand it.
  init?(_ text: String) {
    var parser = Parser(text)
    guard let tree = parser.parse() else { return nil }
    var program: [Step] = []
    var calls = 0
    guard Self.emit(tree, to: &program, &calls) else { return nil }
    program.append(.matched)
    self.program = program
  }

  /// Whether the whole text matches (`re.fullmatch`).
  func matches(_ text: String) -> Bool {
    let scalars = Array(text.unicodeScalars)
    var current = Threads(count: program.count)
    var next = Threads(count: program.count)
    var pending: [Int] = []
    /// Adds a place and all that is reached from it without a character.
    func add(_ place: Int, at position: Int, to threads: inout Threads) {
      pending.append(place)
      while let place = pending.popLast() {
        guard threads.insert(place) else { continue }
        switch program[place] {
        case .fork(let first, let second): pending += [second, first]
        case .start: if position == 0 { pending.append(place + 1) }
        case .end: if position == scalars.count { pending.append(place + 1) }
        case .wordBoundary(let wanted):
          let before = position > 0 && CharacterSet.isWord(scalars[position - 1])
          let after = position < scalars.count && CharacterSet.isWord(scalars[position])
          if (before != after) == wanted { pending.append(place + 1) }
        case .character, .matched: break
        }
      }
    }
    add(0, at: 0, to: &current)
    for (position, scalar) in scalars.enumerated() {
      next.removeAll()
      for place in current.places {
        if case .character(let set) = program[place], set.contains(scalar) { add(place + 1, at: position + 1, to: &next) }
      }
      swap(&current, &next)
      if current.places.isEmpty { return false }
    }
    return current.contains(program.count - 1)
  }

  /// The places of the program that the text read so far has reached.
  private struct Threads {
    private(set) var places: [Int] = []
    private var isPresent: [Bool]

    init(count: Int) { isPresent = Array(repeating: false, count: count) }

    mutating func insert(_ place: Int) -> Bool {
      if isPresent[place] { return false }
      isPresent[place] = true
      places.append(place)
      return true
    }

    func contains(_ place: Int) -> Bool { isPresent[place] }

    mutating func removeAll() {
      for place in places { isPresent[place] = false }
      places.removeAll(keepingCapacity: true)
    }
  }

  // MARK: Program

  fileprivate indirect enum Tree {
    case character(CharacterSet)
    case start
    case end
    case wordBoundary(Bool)
    case sequence([Tree])
    case alternatives([Tree])
    case repeated(Tree, least: Int, most: Int?)
  }

  private static let longestProgram = 10_000

  /// False where the program, or the work of making it, becomes too long.
  private static func emit(_ tree: Tree, to program: inout [Step], _ calls: inout Int) -> Bool {
    calls += 1
    guard program.count < longestProgram, calls < 10 * longestProgram else { return false }
    switch tree {
    case .character(let set): program.append(.character(set))
    case .start: program.append(.start)
    case .end: program.append(.end)
    case .wordBoundary(let wanted): program.append(.wordBoundary(wanted))
    case .sequence(let parts): for part in parts where !emit(part, to: &program, &calls) { return false }
    case .alternatives(let parts):
      var jumps: [Int] = []
      for (i, part) in parts.enumerated() {
        let fork = program.count
        if i + 1 < parts.count { program.append(.fork(fork + 1, 0)) }
        guard emit(part, to: &program, &calls) else { return false }
        guard i + 1 < parts.count else { break }
        jumps.append(program.count)
        program.append(.fork(0, 0))
        program[fork] = .fork(fork + 1, program.count)
      }
      for jump in jumps { program[jump] = .fork(program.count, program.count) }
    case .repeated(let part, let least, let most):
      for _ in 0..<least where !emit(part, to: &program, &calls) { return false }
      if let most {
        var forks: [Int] = []
        for _ in least..<max(most, least) {
          forks.append(program.count)
          program.append(.fork(0, 0))
          guard emit(part, to: &program, &calls) else { return false }
        }
        for fork in forks { program[fork] = .fork(fork + 1, program.count) }
      } else {
        let fork = program.count
        program.append(.fork(0, 0))
        guard emit(part, to: &program, &calls) else { return false }
        program.append(.fork(fork, fork))
        program[fork] = .fork(fork + 1, program.count)
      }
    }
    return true
  }
}

/// The characters that one place of an expression takes.
private struct CharacterSet: Sendable {
  enum Item: Sendable {
    case range(ClosedRange<UInt32>)
    case digit, notDigit, word, notWord, space, notSpace
  }
  var items: [Item]
  var isNegated = false

  static let any = CharacterSet(items: [.range(0x0A...0x0A)], isNegated: true)

  init(items: [Item], isNegated: Bool = false) {
    self.items = items
    self.isNegated = isNegated
  }

  init(_ scalar: Unicode.Scalar) { self.init(items: [.range(scalar.value...scalar.value)]) }

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    let isThere = items.contains { item in
      switch item {
      case .range(let range): range.contains(scalar.value)
      case .digit: Self.isDigit(scalar)
      case .notDigit: !Self.isDigit(scalar)
      case .word: Self.isWord(scalar)
      case .notWord: !Self.isWord(scalar)
      case .space: Self.isSpace(scalar)
      case .notSpace: !Self.isSpace(scalar)
      }
    }
    return isThere != isNegated
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .decimalNumber }

  static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber, .letterNumber,
      .otherNumber:
      true
    default: scalar == "_"
    }
  }

  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
  }
}

/// Reads an expression; every function gives nil for what is not understood.
private struct Parser {
  private var rest: ArraySlice<Unicode.Scalar>
  private var depth = 0
  private static let deepest = 100
  private static let mostRepeats = 1000

  init(_ text: String) { rest = Array(text.unicodeScalars)[...] }

  mutating func parse() -> RegularExpression.Tree? {
    guard let tree = alternatives(), rest.isEmpty else { return nil }
    return tree
  }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard rest.first == scalar else { return false }
    rest.removeFirst()
    return true
  }

  private mutating func alternatives() -> RegularExpression.Tree? {
    depth += 1
    defer { depth -= 1 }
    guard depth < Self.deepest else { return nil }
    var all: [RegularExpression.Tree] = []
    repeat {
      guard let sequence = sequence() else { return nil }
      all.append(sequence)
    } while take("|")
    return all.count == 1 ? all[0] : .alternatives(all)
  }

  private mutating func sequence() -> RegularExpression.Tree? {
    var parts: [RegularExpression.Tree] = []
    while let next = rest.first, next != "|", next != ")" {
      guard let part = quantified() else { return nil }
      parts.append(part)
    }
    return .sequence(parts)
  }

  private mutating func quantified() -> RegularExpression.Tree? {
    guard let part = atom() else { return nil }
    guard let (least, most) = quantifier() else { return part }
    switch part {
    case .start, .end, .wordBoundary: return nil
    default: break
    }
    // Lazy ones match the same texts; possessive ones do not, and a second quantifier is an error.
    _ = take("?")
    let last = rest
    if rest.first == "+" || quantifier() != nil { return nil }
    rest = last
    guard least <= Self.mostRepeats, most ?? 0 <= Self.mostRepeats, most ?? least >= least else { return nil }
    return .repeated(part, least: least, most: most)
  }

  /// A quantifier's bounds; nil where none follows. `{` that starts none stands for itself.
  private mutating func quantifier() -> (least: Int, most: Int?)? {
    if take("*") { return (0, nil) }
    if take("+") { return (1, nil) }
    if take("?") { return (0, 1) }
    let before = rest
    guard take("{") else { return nil }
    let least = number()
    if take("}"), let least { return (least, least) }
    if take(",") {
      let most = number()
      if take("}") { return (least ?? 0, most) }
    }
    rest = before
    return nil
  }

  private mutating func number() -> Int? {
    var digits = ""
    while let next = rest.first, ("0"..."9").contains(next) {
      digits.unicodeScalars.append(next)
      rest.removeFirst()
    }
    return digits.isEmpty ? nil : Int(digits) ?? .max
  }

  private mutating func atom() -> RegularExpression.Tree? {
    guard let scalar = rest.popFirst() else { return nil }
    switch scalar {
    case ".": return .character(.any)
    case "^": return .start
    case "$": return .end
    case "(": return group()
    case "[": return characterClass().map { .character($0) }
    case "\\": return escape()
    case "*", "+", "?", ")": return nil
    default: return .character(CharacterSet(scalar))
    }
  }

  private mutating func group() -> RegularExpression.Tree? {
    if take("?") {
      if take("P") {
        guard take("<"), let end = rest.firstIndex(of: ">"), end > rest.startIndex else { return nil }
        rest = rest[(end + 1)...]
      } else if !take(":") {
        return nil
      }
    }
    guard let inner = alternatives(), take(")") else { return nil }
    return inner
  }

  private mutating func escape() -> RegularExpression.Tree? {
    switch rest.first {
    case "A":
      rest.removeFirst()
      return .start
    case "Z":
      rest.removeFirst()
      return .end
    case "b", "B":
      let wanted = rest.popFirst() == "b"
      return .wordBoundary(wanted)
    default: return escapedItem().map { .character(CharacterSet(items: [$0])) }
    }
  }

  /// What stands behind a backslash, in a class or outside.
  private mutating func escapedItem() -> CharacterSet.Item? {
    guard let scalar = rest.popFirst() else { return nil }
    func exactly(_ scalar: Unicode.Scalar) -> CharacterSet.Item { .range(scalar.value...scalar.value) }
    switch scalar {
    case "d": return .digit
    case "D": return .notDigit
    case "w": return .word
    case "W": return .notWord
    case "s": return .space
    case "S": return .notSpace
    case "n": return exactly("\n")
    case "t": return exactly("\t")
    case "r": return exactly("\r")
    case "f": return exactly("\u{0C}")
    case "v": return exactly("\u{0B}")
    case "a": return exactly("\u{07}")
    case "0"..."9", "a"..."z", "A"..."Z": return nil
    default: return exactly(scalar)
    }
  }

  private mutating func characterClass() -> CharacterSet? {
    let isNegated = take("^")
    var items: [CharacterSet.Item] = []
    while let scalar = rest.popFirst() {
      if scalar == "]", !items.isEmpty { return CharacterSet(items: items, isNegated: isNegated) }
      guard let first = classItem(scalar) else { return nil }
      guard case .range(let low) = first, rest.first == "-", rest.dropFirst().first.map({ $0 != "]" }) == true else {
        items.append(first)
        continue
      }
      rest.removeFirst()
      guard let last = rest.popFirst(), case .range(let high)? = classItem(last), low.lowerBound <= high.lowerBound else {
        return nil
      }
      items.append(.range(low.lowerBound...high.lowerBound))
    }
    return nil
  }

  private mutating func classItem(_ scalar: Unicode.Scalar) -> CharacterSet.Item? {
    if scalar != "\\" { return .range(scalar.value...scalar.value) }
    if take("b") { return .range(8...8) }
    return escapedItem()
  }
}

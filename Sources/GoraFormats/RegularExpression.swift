/// A regular expression, matched in time linear in the text (Pike's machine: all ways at once, in order of preference).
///
/// Groups, alternatives, classes and quantifiers are understood; what refers back, possessive quantifiers and most flags are not.
package struct RegularExpression: Sendable, Equatable {
  package enum Dialect: Sendable {
    /// Python's `re`, with anchors.
    case python
    /// Oniguruma's as the `tokenizers` library uses it: with `\p{…}`, `(?i:…)` and one character looked at ahead, without anchors.
    case oniguruma
  }

  private let text: String
  private let dialect: Dialect
  private let program: [Step]

  package static func == (left: Self, right: Self) -> Bool {
    left.dialect == right.dialect && left.text.utf8.elementsEqual(right.text.utf8)
  }

  private enum Step: Sendable {
    case character(CharacterSet)
    /// Goes on at both places, rather at the first.
    case fork(Int, Int)
    /// Whether the next character is of a set; none is not.
    case ahead(CharacterSet, Bool)
    case start
    case end
    case wordBoundary(Bool)
    case matched
  }

  /// Nil where the expression is none of the dialect or is not understood here.
  package init?(_ text: String, dialect: Dialect = .python) {
    var parser = Parser(text, dialect)
    guard let tree = parser.parse() else { return nil }
    var program: [Step] = []
    var calls = 0
    guard Self.emit(tree, to: &program, &calls) else { return nil }
    program.append(.matched)
    self.text = text
    self.dialect = dialect
    self.program = program
  }

  /// Whether the whole text matches (`re.fullmatch`).
  func matches(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBytes { bytes in
      var memory = Memory()
      var isWhole = false
      run(bytes, 0..<bytes.count, &memory) { end in
        isWhole = isWhole || end == bytes.count
        return false
      }
      return isWhole
    }
  }

  /// Whether the empty text matches.
  package var matchesNothing: Bool { matches("") }

  /// The end of the preferred match that begins where `range` does, or nil; `range` ends where the text does.
  /// - Parameter bytes: valid UTF-8.
  package func match(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ memory: inout Memory) -> Int? {
    var end: Int?
    run(bytes, range, &memory) {
      end = $0
      return true
    }
    return end
  }

  /// Follows all ways through the program and gives the ends of matches, later ones preferred to earlier ones if `body` answers
  /// true: what is less preferred than the match is then given up.
  @inline(__always)
  private func run(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ memory: inout Memory, _ body: (Int) -> Bool
  ) {
    memory.prepare(program.count)
    var at = range.lowerBound
    var before: Unicode.Scalar?
    var (scalar, next) = Self.scalar(bytes, at, range.upperBound)
    add(0, before, scalar, &memory)
    memory.advance()
    while true {
      ways: for place in memory.current {
        switch program[place] {
        case .character(let set): if let scalar, set.contains(scalar) { memory.reached.append(place + 1) }
        case .matched: if body(at) { break ways }
        default: break
        }
      }
      guard scalar != nil, !memory.reached.isEmpty else { return }
      at = next
      before = scalar
      (scalar, next) = Self.scalar(bytes, at, range.upperBound)
      for place in memory.reached { add(place, before, scalar, &memory) }
      memory.reached.removeAll(keepingCapacity: true)
      memory.advance()
    }
  }

  /// Adds a place and all that is reached from it without a character, in order of preference.
  @inline(__always)
  private func add(_ place: Int, _ before: Unicode.Scalar?, _ after: Unicode.Scalar?, _ memory: inout Memory) {
    memory.pending.append(place)
    while let place = memory.pending.popLast() {
      guard memory.insert(place) else { continue }
      switch program[place] {
      case .fork(let first, let second):
        memory.pending.append(second)
        memory.pending.append(first)
      case .ahead(let set, let wanted):
        if (after.map(set.contains) ?? false) == wanted { memory.pending.append(place + 1) }
      case .start: if before == nil { memory.pending.append(place + 1) }
      case .end: if after == nil { memory.pending.append(place + 1) }
      case .wordBoundary(let wanted):
        let isWord = (before.map(CharacterSet.isWord) ?? false, after.map(CharacterSet.isWord) ?? false)
        if (isWord.0 != isWord.1) == wanted { memory.pending.append(place + 1) }
      case .character, .matched: break
      }
    }
  }

  private static func scalar(_ bytes: UnsafeRawBufferPointer, _ at: Int, _ end: Int) -> (Unicode.Scalar?, next: Int) {
    guard at < end else { return (nil, at) }
    let lead = bytes[at]
    if lead < 0x80 { return (Unicode.Scalar(lead), at + 1) }
    let count = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    var value = UInt32(lead) & (0x7F &>> UInt32(count))
    for i in at + 1..<min(at + count, end) { value = value << 6 | UInt32(bytes[i] & 0x3F) }
    return (Unicode.Scalar(value) ?? "\u{FFFD}", min(at + count, end))
  }

  /// The places of the program that the text read so far has reached: kept from match to match, so that none allocates.
  package struct Memory: Sendable {
    fileprivate private(set) var current: [Int] = []
    fileprivate var reached: [Int] = []
    fileprivate var pending: [Int] = []
    private var next: [Int] = []
    private var isPresent: [Bool] = []

    package init() {}

    fileprivate mutating func prepare(_ count: Int) {
      if isPresent.count != count { isPresent = Array(repeating: false, count: count) }
      reached.removeAll(keepingCapacity: true)
    }

    fileprivate mutating func insert(_ place: Int) -> Bool {
      if isPresent[place] { return false }
      isPresent[place] = true
      next.append(place)
      return true
    }

    /// What was inserted is current.
    fileprivate mutating func advance() {
      swap(&current, &next)
      for place in current { isPresent[place] = false }
      next.removeAll(keepingCapacity: true)
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
    case ahead(CharacterSet, Bool)
    case repeated(Tree, least: Int, most: Int?, isLazy: Bool)
  }

  private static let longestProgram = 10_000

  /// False where the program, or the work of making it, becomes too long.
  private static func emit(_ tree: Tree, to program: inout [Step], _ calls: inout Int) -> Bool {
    calls += 1
    guard program.count < longestProgram, calls < 10 * longestProgram else { return false }
    switch tree {
    case .character(let set): program.append(.character(set))
    case .ahead(let set, let wanted): program.append(.ahead(set, wanted))
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
    case .repeated(let part, let least, let most, let isLazy):
      for _ in 0..<least where !emit(part, to: &program, &calls) { return false }
      var forks: [Int] = []
      for _ in 0..<(most.map { max($0 - least, 0) } ?? 1) {
        forks.append(program.count)
        program.append(.fork(0, 0))
        guard emit(part, to: &program, &calls) else { return false }
      }
      if most == nil { program.append(.fork(forks[0], forks[0])) }
      for fork in forks { program[fork] = isLazy ? .fork(program.count, fork + 1) : .fork(fork + 1, program.count) }
    }
    return true
  }
}

/// The characters that one place of an expression takes.
private struct CharacterSet: Sendable {
  enum Item: Sendable {
    case range(ClosedRange<UInt32>)
    case digit, notDigit, word, notWord, space, notSpace, whiteSpace, notWhiteSpace
    /// General categories, a bit for each.
    case categories(UInt32)
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
      case .whiteSpace: scalar.properties.isWhitespace
      case .notWhiteSpace: !scalar.properties.isWhitespace
      case .categories(let mask): mask & Self.bit(of: scalar) != 0
      }
    }
    return isThere != isNegated
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.generalCategory == .decimalNumber }

  private static let categories: [(name: String, category: Unicode.GeneralCategory)] = [
    ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter), ("Lo", .otherLetter),
    ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark), ("Nd", .decimalNumber), ("Nl", .letterNumber),
    ("No", .otherNumber), ("Pc", .connectorPunctuation), ("Pd", .dashPunctuation), ("Ps", .openPunctuation),
    ("Pe", .closePunctuation), ("Pi", .initialPunctuation), ("Pf", .finalPunctuation), ("Po", .otherPunctuation),
    ("Sm", .mathSymbol), ("Sc", .currencySymbol), ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator),
    ("Zl", .lineSeparator), ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate),
    ("Co", .privateUse), ("Cn", .unassigned),
  ]
  private static let bits: [Unicode.GeneralCategory: UInt32] = Dictionary(
    uniqueKeysWithValues: categories.enumerated().map { ($1.category, 1 << UInt32($0)) })

  private static let ascii = (0..<128).map { bits[Unicode.Scalar(UInt8($0)).properties.generalCategory] ?? 0 }

  private static func bit(of scalar: Unicode.Scalar) -> UInt32 {
    scalar.isASCII ? ascii[Int(scalar.value)] : bits[scalar.properties.generalCategory] ?? 0
  }

  /// `L` or `Lu` of `\p{…}`.
  static func property(_ name: String, isNegated: Bool) -> Item? {
    var mask: UInt32 = 0
    for (i, entry) in categories.enumerated() where entry.name == name || entry.name.prefix(1) == name { mask |= 1 << UInt32(i) }
    return mask == 0 ? nil : .categories(isNegated ? ~mask : mask)
  }

  /// All that a letter of ASCII is alike to where case is ignored.
  static func ignoringCase(_ scalar: Unicode.Scalar) -> CharacterSet? {
    guard scalar.isASCII else { return nil }
    var items: [Item] = [.range(scalar.value...scalar.value)]
    let value = scalar.value
    if scalar.properties.isAlphabetic { items.append(.range((value ^ 0x20)...(value ^ 0x20))) }
    // U+017F and U+212A.
    if value | 0x20 == 0x73 { items.append(.range(0x17F...0x17F)) }
    if value | 0x20 == 0x6B { items.append(.range(0x212A...0x212A)) }
    return CharacterSet(items: items)
  }

  static func isWord(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber, .letterNumber,
      .otherNumber:
      true
    default: scalar == "_"
    }
  }

  /// Python's white space has four separators more.
  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
  }
}

/// Reads an expression; every function gives nil for what is not understood.
private struct Parser {
  private var rest: ArraySlice<Unicode.Scalar>
  private let dialect: RegularExpression.Dialect
  private var depth = 0
  private var ignoresCase = false
  private static let deepest = 100
  private static let mostRepeats = 1000
  /// Two letters that one character is alike to where case is ignored (ß, ﬁ).
  private static let ligatures = ["ss", "st", "ff", "fi", "fl"]

  init(_ text: String, _ dialect: RegularExpression.Dialect) {
    rest = Array(text.unicodeScalars)[...]
    self.dialect = dialect
  }

  mutating func parse() -> RegularExpression.Tree? {
    guard let tree = alternatives(), rest.isEmpty else { return nil }
    return tree
  }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard rest.first == scalar else { return false }
    rest.removeFirst()
    return true
  }

  private mutating func take(_ text: String) -> Bool {
    guard rest.starts(with: text.unicodeScalars) else { return false }
    rest.removeFirst(text.unicodeScalars.count)
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
    } while take("|" as Unicode.Scalar)
    return all.count == 1 ? all[0] : .alternatives(all)
  }

  private mutating func sequence() -> RegularExpression.Tree? {
    var parts: [RegularExpression.Tree] = []
    while let next = rest.first, next != "|", next != ")" {
      if ignoresCase {
        var pair = ""
        pair.unicodeScalars.append(contentsOf: rest.prefix(2))
        if Self.ligatures.contains(pair.lowercased()) { return nil }
      }
      guard let part = quantified() else { return nil }
      parts.append(part)
    }
    return .sequence(parts)
  }

  private mutating func quantified() -> RegularExpression.Tree? {
    guard let part = atom() else { return nil }
    guard let (least, most) = quantifier() else { return part }
    switch part {
    case .start, .end, .wordBoundary, .ahead: return nil
    default: break
    }
    let isLazy = take("?" as Unicode.Scalar)
    // Possessive ones match otherwise, and a second quantifier is an error.
    let last = rest
    if rest.first == "+" || quantifier() != nil { return nil }
    rest = last
    guard least <= Self.mostRepeats, most ?? 0 <= Self.mostRepeats, most ?? least >= least else { return nil }
    return .repeated(part, least: least, most: most, isLazy: isLazy)
  }

  /// A quantifier's bounds; nil where none follows. `{` that starts none stands for itself.
  private mutating func quantifier() -> (least: Int, most: Int?)? {
    if take("*" as Unicode.Scalar) { return (0, nil) }
    if take("+" as Unicode.Scalar) { return (1, nil) }
    if take("?" as Unicode.Scalar) { return (0, 1) }
    let before = rest
    guard take("{" as Unicode.Scalar) else { return nil }
    let least = number()
    if take("}" as Unicode.Scalar), let least { return (least, least) }
    if take("," as Unicode.Scalar) {
      let most = number()
      if take("}" as Unicode.Scalar) { return (least ?? 0, most) }
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
    case "^": return dialect == .python ? .start : nil
    case "$": return dialect == .python ? .end : nil
    case "(": return group()
    case "[": return characterClass().map { .character($0) }
    case "\\": return escape()
    case "*", "+", "?", ")": return nil
    default: return literal(scalar)
    }
  }

  private func literal(_ scalar: Unicode.Scalar) -> RegularExpression.Tree? {
    ignoresCase ? CharacterSet.ignoringCase(scalar).map { .character($0) } : .character(CharacterSet(scalar))
  }

  private mutating func group() -> RegularExpression.Tree? {
    let ignoredCase = ignoresCase
    defer { ignoresCase = ignoredCase }
    if take("?" as Unicode.Scalar) {
      if dialect == .oniguruma, rest.first == "!" || rest.first == "=" { return ahead() }
      if dialect == .oniguruma, take("i:") {
        ignoresCase = true
      } else if take("P<") {
        guard dialect == .python, let end = rest.firstIndex(of: ">"), end > rest.startIndex else { return nil }
        rest = rest[(end + 1)...]
      } else if !take(":" as Unicode.Scalar) {
        return nil
      }
    }
    guard let inner = alternatives(), take(")" as Unicode.Scalar) else { return nil }
    return inner
  }

  /// `(?!\S)` and its like, of one character.
  private mutating func ahead() -> RegularExpression.Tree? {
    let wanted = rest.popFirst() == "="
    guard !ignoresCase, case .character(let set)? = atom(), take(")" as Unicode.Scalar) else { return nil }
    return .ahead(set, wanted)
  }

  private mutating func escape() -> RegularExpression.Tree? {
    switch rest.first {
    case "A", "Z", "b", "B":
      guard dialect == .python else { return nil }
      switch rest.popFirst() {
      case "A": return .start
      case "Z": return .end
      case "b": return .wordBoundary(true)
      default: return .wordBoundary(false)
      }
    default:
      guard let item = escapedItem() else { return nil }
      if ignoresCase, case .range(let range) = item { return Unicode.Scalar(range.lowerBound).flatMap(literal) }
      return .character(CharacterSet(items: [item]))
    }
  }

  /// What stands behind a backslash, in a class or outside.
  private mutating func escapedItem() -> CharacterSet.Item? {
    guard let scalar = rest.popFirst() else { return nil }
    func exactly(_ scalar: Unicode.Scalar) -> CharacterSet.Item { .range(scalar.value...scalar.value) }
    switch scalar {
    case "d": return .digit
    case "D": return .notDigit
    case "w": return dialect == .python ? .word : nil
    case "W": return dialect == .python ? .notWord : nil
    case "s": return dialect == .python ? .space : .whiteSpace
    case "S": return dialect == .python ? .notSpace : .notWhiteSpace
    case "n": return exactly("\n")
    case "t": return exactly("\t")
    case "r": return exactly("\r")
    case "f": return exactly("\u{0C}")
    case "v": return exactly("\u{0B}")
    case "a": return exactly("\u{07}")
    case "p", "P":
      guard dialect == .oniguruma, take("{" as Unicode.Scalar), let end = rest.firstIndex(of: "}") else { return nil }
      var name = ""
      name.unicodeScalars.append(contentsOf: rest[..<end])
      rest = rest[(end + 1)...]
      return CharacterSet.property(name, isNegated: scalar == "P")
    case "0"..."9", "a"..."z", "A"..."Z": return nil
    default: return exactly(scalar)
    }
  }

  private mutating func characterClass() -> CharacterSet? {
    if ignoresCase { return nil }
    let isNegated = take("^" as Unicode.Scalar)
    var items: [CharacterSet.Item] = []
    while let scalar = rest.popFirst() {
      if scalar == "]", dialect == .oniguruma || !items.isEmpty {
        return items.isEmpty ? nil : CharacterSet(items: items, isNegated: isNegated)
      }
      // Classes in classes, and what they share.
      if dialect == .oniguruma, scalar == "[" || scalar == "&" && rest.first == "&" { return nil }
      guard let first = classItem(scalar) else { return nil }
      guard case .range(let low) = first, rest.first == "-", rest.dropFirst().first.map({ $0 != "]" }) == true else {
        items.append(first)
        continue
      }
      rest.removeFirst()
      guard let last = rest.popFirst(), dialect == .python || last != "[", case .range(let high)? = classItem(last),
        low.lowerBound <= high.lowerBound
      else { return nil }
      items.append(.range(low.lowerBound...high.lowerBound))
    }
    return nil
  }

  private mutating func classItem(_ scalar: Unicode.Scalar) -> CharacterSet.Item? {
    if scalar != "\\" { return .range(scalar.value...scalar.value) }
    if take("b" as Unicode.Scalar) { return .range(8...8) }
    return escapedItem()
  }
}

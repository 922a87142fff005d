import GoraCore
import GoraFormats

/// A row as it reaches the model, for people to look at.
package struct ShownRow: Sendable, Equatable {
  package struct Token: Sendable, Equatable {
    package var id: Int32
    /// What is learnt there: the token itself, but for rows whose labels say something else. nil for nothing.
    package var lesson: Int32?
    /// The bytes that the token stands for; nil without a tokenizer.
    package var bytes: [UInt8]?
    /// Those of the lesson, where that is another token.
    package var lessonBytes: [UInt8]?
  }

  /// How tokens and what is learnt of them are told apart.
  package struct Style: Sendable {
    /// Escape sequences of a terminal, in place of ⟦…⟧.
    package var isColored: Bool
    /// The id before each token's text.
    package var showsIds: Bool

    package init(isColored: Bool, showsIds: Bool) {
      self.isColored = isColored
      self.showsIds = showsIds
    }
  }

  package var place: Location?
  package var kind: RowKind
  /// What the encoder of an encoder-decoder model reads; none for a decoder.
  package var source: [Token]
  package var tokens: [Token]
  /// Tokens beyond the maximal length, which are not among `tokens`.
  package var cut: Int
  /// Whether it is a prompt, which the model goes on from.
  package var isPrompt: Bool

  /// - Parameter isPrompt: nothing is learnt of it.
  package init(_ row: EncodedRow, place: Location?, kind: RowKind, isPrompt: Bool = false, tokenizer: Tokenizer?) {
    self.place = place
    self.kind = kind
    self.isPrompt = isPrompt
    cut = row.cutTokens
    func bytes(_ id: Int32) -> [UInt8]? { tokenizer?.textBytes(of: id) }
    source = row.source.map { Token(id: $0, lesson: nil, bytes: bytes($0), lessonBytes: nil) }
    tokens = zip(row.ids, row.lessons).map { id, lesson in
      Token(id: id, lesson: lesson, bytes: bytes(id), lessonBytes: lesson.flatMap { $0 == id ? nil : bytes($0) })
    }
  }

  package var learnt: Int { tokens.count { $0.lesson != nil } }
  /// Whether the run leaves it out.
  package var isDropped: Bool { learnt == 0 && !isPrompt }

  /// `rows.jsonl:1: question/answer, 24 tokens, 7 learnt`.
  package var title: String {
    func tokens(_ count: Int) -> String { "\(count) token\(count == 1 ? "" : "s")" }
    var title = "\(place.map { "\($0): " } ?? "")\(kind.rawValue), "
    title +=
      source.isEmpty ? tokens(self.tokens.count) : "\(tokens(source.count)) for the encoder, \(self.tokens.count) for the decoder"
    title += isPrompt ? source.isEmpty ? " of the prompt" : "" : ", \(learnt) learnt"
    if cut > 0 { title += ", \(cut) more cut off" }
    if isDropped { title += ", dropped: nothing to learn is left" }
    return title
  }

  /// Title and tokens, a line break after each token that has one; those of an encoder first, and an arrow.
  package func text(_ style: Style) -> String {
    var text = "\(title.escapingControls)\n"
    if !source.isEmpty {
      text += lines(of: source, style) + (style.isColored ? "\u{1B}[2m⇒\u{1B}[0m\n" : "⇒\n")
    }
    return text + lines(of: tokens, style)
  }

  private func lines(of tokens: [Token], _ style: Style) -> String {
    var text = ""
    let showsIds = style.showsIds || kind == .tokens
    var wasLearnt = false
    var startsLine = true
    func mark(_ isLearnt: Bool) {
      guard isLearnt != wasLearnt else { return }
      text += style.isColored ? isLearnt ? "\u{1B}[32m" : "\u{1B}[0m" : isLearnt ? "⟦" : "⟧"
      wasLearnt = isLearnt
    }
    for (index, token) in tokens.enumerated() {
      let isLearnt = token.lesson != nil
      // A stretch that is learnt ends before what separates tokens, or the line.
      if !isLearnt { mark(false) }
      if index > 0, startsLine { text += "\n" }
      if !startsLine { text += style.isColored ? "\u{1B}[2m│\u{1B}[0m\(wasLearnt ? "\u{1B}[32m" : "")" : "│" }
      startsLine = false
      mark(isLearnt)
      text += Self.piece(token.id, token.bytes, showsId: showsIds)
      if let lesson = token.lesson, lesson != token.id { text += "→" + Self.piece(lesson, token.lessonBytes, showsId: showsIds) }
      startsLine = token.bytes?.contains(0x0A) ?? false
    }
    mark(false)
    return text + "\n"
  }

  /// `token`, `123:token`, or where nothing says its text `123`.
  private static func piece(_ id: Int32, _ bytes: [UInt8]?, showsId: Bool) -> String {
    guard let bytes else { return "\(id)" }
    return (showsId ? "\(id):" : "") + escaped(bytes)
  }

  /// A token's text such that no two tokens look alike: what is no text as `\x{E2}`, controls, `\` and the marks escaped.
  static func escaped(_ bytes: [UInt8]) -> String {
    var text = ""
    var parser = Unicode.UTF8.ForwardParser()
    var iterator = bytes.makeIterator()
    var at = 0
    while true {
      switch parser.parseScalar(from: &iterator) {
      case .valid(let encoded):
        let scalar = Unicode.UTF8.decode(encoded)
        switch scalar {
        case "\\": text += "\\\\"
        case "⟦", "⟧", "│", "→", "⇒": text += "\\u{\(String(scalar.value, radix: 16))}"
        default: text += String(Character(scalar)).escapingControls
        }
        at += encoded.count
      case .error(let length):
        for byte in bytes[at..<at + length] { text += "\\x{\(String(byte, radix: 16, uppercase: true))}" }
        at += length
      case .emptyInput: return text
      }
    }
  }

  /// For programs: place, kind, ids, labels as they are learnt (−100 for nothing), texts, and how many tokens were cut off; in front what
  /// an encoder reads, where there is one.
  package var json: JSON {
    func ids(_ tokens: [Token]) -> JSON { JSON(tokens.map { JSON(Int($0.id)) }) }
    func texts(_ tokens: [Token]) -> JSON {
      JSON(tokens.map { JSON($0.bytes.map { String(decoding: $0, as: UTF8.self) } ?? "") })
    }
    var members = [JSON.Member("row", JSON(place?.description ?? "")), JSON.Member("kind", JSON(kind.rawValue))]
    if !source.isEmpty {
      members += [JSON.Member("source", ids(source)), JSON.Member("source_tokens", texts(source))]
    }
    members += [
      JSON.Member("ids", ids(tokens)), JSON.Member("labels", JSON(tokens.map { JSON(Int($0.lesson ?? DataRow.notLearnt)) })),
      JSON.Member("tokens", texts(tokens)), JSON.Member("cut", JSON(cut)),
    ]
    return JSON(.object(members))
  }
}

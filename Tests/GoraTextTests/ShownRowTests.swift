import GoraCore
import Testing

@testable import GoraText

struct ShownRowTests {
  private typealias Token = ShownRow.Token

  private func row(_ tokens: [Token], kind: RowKind = .question, cut: Int = 0, isPrompt: Bool = false) -> ShownRow {
    var row = ShownRow(
      EncodedRow(cutTokens: cut), place: .text("rows.jsonl", line: 3, column: 1), kind: kind, isPrompt: isPrompt, tokenizer: nil)
    row.tokens = tokens
    return row
  }

  private func token(_ id: Int32, _ text: String, learnt: Bool = false) -> Token {
    Token(id: id, lesson: learnt ? id : nil, bytes: Array(text.utf8))
  }

  @Test func marksAndBreaks() {
    let shown = row(
      [
        token(1, "<s>"), token(2, "What"), token(3, "?\n"), token(4, "It", learnt: true), token(5, "\n\n", learnt: true),
        token(6, "!", learnt: true), token(7, "x"),
      ],
      cut: 2)
    #expect(
      shown.text(.init(isColored: false, showsIds: false)) == """
        rows.jsonl:3:1: question/answer, 7 tokens, 3 learnt, 2 more cut off
        <s>│What│?\\n
        ⟦It│\\n\\n
        !⟧│x

        """)
    #expect(
      shown.text(.init(isColored: true, showsIds: true)) == """
        rows.jsonl:3:1: question/answer, 7 tokens, 3 learnt, 2 more cut off
        1:<s>\u{1B}[2m│\u{1B}[0m2:What\u{1B}[2m│\u{1B}[0m3:?\\n
        \u{1B}[32m4:It\u{1B}[2m│\u{1B}[0m\u{1B}[32m5:\\n\\n
        6:!\u{1B}[0m\u{1B}[2m│\u{1B}[0m7:x

        """)
  }

  @Test func titles() {
    #expect(row([token(1, "a")]).title == "rows.jsonl:3:1: question/answer, 1 token, 0 learnt, dropped: nothing to learn is left")
    #expect(row([token(1, "a")], isPrompt: true).title == "rows.jsonl:3:1: question/answer, 1 token of the prompt")
  }

  /// Rows of token ids: ids beside the texts, or alone; labels that are other tokens.
  @Test func tokenisedRows() {
    let tokens = [token(5, "a"), Token(id: 6, lesson: 7, bytes: [0x62], lessonBytes: [0x63])]
    #expect(row(tokens, kind: .tokens).text(.init(isColored: false, showsIds: false)).hasSuffix("\n5:a│⟦6:b→7:c⟧\n"))
    let bare = [Token(id: 5, lesson: nil), Token(id: 6, lesson: 6), Token(id: 7, lesson: 8)]
    #expect(row(bare, kind: .tokens).text(.init(isColored: false, showsIds: false)).hasSuffix("\n5│⟦6│7→8⟧\n"))
  }

  /// No two tokens look alike, and none reaches the terminal as a command.
  @Test(
    arguments: [
      ([0x61], "a"), ([0x0A, 0x09, 0x0D], #"\n\t\r"#), ([0x5C, 0x6E], #"\\n"#), ([0x1B, 0x5B], #"\u{1b}["#),
      ([0xE2, 0x9F], #"\x{E2}\x{9F}"#),
      ([0x61, 0xFF, 0x62], #"a\x{FF}b"#), (Array("⟦│⟧→".utf8), #"\u{27e6}\u{2502}\u{27e7}\u{2192}"#), (Array("é🙂".utf8), "é🙂"),
      (Array("\u{202E}".utf8), #"\u{202e}"#), ([], ""),
    ] as [([UInt8], String)])
  func escapes(_ bytes: [UInt8], _ text: String) { #expect(ShownRow.escaped(bytes) == text) }

  /// What the first token of a row is told to be teaches nothing.
  @Test func firstLabel() {
    #expect(EncodedRow(ids: [4, 5, 6], labels: [4, -100, 6]).lessons == [nil, nil, 6])
  }

  /// The bytes of tokens, one after the other, are the text.
  @Test(arguments: ["trained.json"]) func bytesOfTokens(_ name: String) throws {
    let tokenizer = try Tokenizer(contentsOf: "\(tokenizerFixtures)/\(name)")
    for text in ["Anna has 12 apples.\n", "naïve 🙂 \u{1F9D1}\u{200D}\u{1F33E}", "a  b\tc"] {
      #expect(tokenizer.encode(text).flatMap { tokenizer.textBytes(of: $0) } == Array(text.utf8))
    }
  }
}

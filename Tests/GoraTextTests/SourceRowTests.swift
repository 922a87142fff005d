import GoraCore
import GoraFormats
import Testing

@testable import GoraText

/// ByteEncoder whose post-processor puts the end token behind a text, as T5's does.
private struct EndingEncoder: TextEncoder {
  private let bytes = ByteEncoder()
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
    bytes.tokenized(text).ids + (addSpecialTokens ? endTokens : [])
  }
  func tokenized(_ text: String) -> TokenizedText { bytes.tokenized(text) }
  func isSpecial(_ id: Int32) -> Bool { bytes.isSpecial(id) }
  func addedToken(_ id: Int32) -> [UInt8]? { bytes.addedToken(id) }
  var beginTokens: [Int32] { [] }
  var endTokens: [Int32] { [ByteEncoder.eos] }
}

/// Rows of encoder-decoder models.
@Suite struct SourceRowTests {
  private static let start = DecoderStart(id: 300, pad: 0)

  private func encoder(_ template: Template? = nil, maxLength: Int = 1000, start: DecoderStart = start) -> RowEncoder {
    RowEncoder(
      encoder: EndingEncoder(), bos: nil, eos: ByteEncoder.eos, template: template, maxLength: maxLength, decoderStart: start)
  }

  private func row(_ kind: RowKind, _ instruction: String, _ response: String, input: String = "") -> DataRow {
    .instruction(Instruction(kind: kind, instruction: instruction, input: input, response: response))
  }

  private func ids(_ text: String) -> [Int32] { text.utf8.map { Int32($0) } }

  /// The prompt stands alone, whatever the kind of row; begin token, answer and end token are the decoder's.
  @Test(arguments: [RowKind.question, .query, .completion, .instruction]) func prompts(_ kind: RowKind) throws {
    let encoded = try #require(try encoder().encode(row(kind, "ab", "c d")))
    #expect(encoded.source == ids("ab") + [257])
    #expect(encoded.ids == [300] + ids("c d") + [257] && encoded.labels == [-100] + ids("c d") + [257])
    #expect(encoded.cutTokens == 0 && encoded.tokens == 7 && encoded.length == 5)
    // The labels' shift is the decoder's: begin token to first label.
    #expect(encoded.lessons == [nil] + ids("c d").map { $0 } + [257])
  }

  /// Further context follows its instruction; a template is taken where one is given, an end that an answer brings is the only one.
  @Test func templates() throws {
    let withInput = row(.instruction, "Add.", "3</s>", input: "1, 2")
    #expect(try #require(try encoder().encode(withInput)).source == ids("Add.\n1, 2") + [257])
    let encoded = try #require(try encoder(.alpaca).encode(withInput))
    #expect(ByteEncoder.text(encoded.source).hasPrefix("Below is an instruction"))
    #expect(ByteEncoder.text(encoded.source).hasSuffix("### Input:\n1, 2\n\n### Response:</s>"))
    #expect(encoded.ids == [300] + ids("3") + [257])
    #expect(try #require(try encoder(.plain).encode(row(.question, "ab", "c"))).source == ids("ab\n") + [257])
  }

  /// Both sides keep so many tokens: the source with its end token, as Transformers' tokenizers cut; what went is counted.
  @Test func cuts() throws {
    let encoded = try #require(try encoder(maxLength: 3).encode(row(.question, "abcdef", "ghijkl")))
    #expect(encoded.source == ids("ab") + [257])
    #expect(encoded.ids == [300] + ids("ghi") && encoded.labels == [-100] + ids("ghi"))
    #expect(encoded.cutTokens == 4 + 4)
    #expect(try #require(try encoder(maxLength: 1).encode(row(.question, "abc", "d"))).source == [257])
  }

  /// input_ids are the encoder's, labels the decoder's, each with a length of its own; pads behind both are left out, a label that is
  /// not learnt is a pad in the decoder's input.
  @Test func tokenised() throws {
    func read(_ text: String) throws -> EncodedRow? {
      let data = try DataFile.parse(Array(text.utf8), path: "d", vocabularySize: 400, hasEncoder: true)
      return try encoder().encode(data.rows[0])
    }
    let masked = try #require(
      try read(#"{"input_ids": [5, 0, 6, 1, 0, 0], "attention_mask": [1, 1, 1, 1, 0, 0], "labels": [7, -100, 8, 1, -100, -100]}"#)
    )
    #expect(masked.source == [5, 0, 6, 1])
    #expect(masked.ids == [300, 7, 0, 8, 1] && masked.labels == [-100, 7, -100, 8, 1])
    // Without a mask, and with pads among the labels, as collators of the GLUE scripts leave them.
    let padded = try #require(try read(#"{"input_ids": [5, 6, 1, 0, 0, 0, 0], "labels": [7, 1, 0, 0]}"#))
    #expect(padded.source == [5, 6, 1] && padded.ids == [300, 7, 1] && padded.labels == [-100, 7, 1])
    #expect(try read(#"{"input_ids": [5, 1], "labels": [-100, -100]}"#) == nil)
    for (text, word) in [
      (#"{"input_ids": [5, 1], "labels": [7], "position_ids": [0, 1]}"#, "position_ids"),
      (#"{"input_ids": [5, 1], "labels": [7], "decoder_input_ids": [0]}"#, "decoder_input_ids"),
      (#"{"input_ids": [5, 400], "labels": [7]}"#, "400"), (#"{"input_ids": [5], "labels": [-7]}"#, "-7"),
      (#"{"input_ids": [0, 0], "labels": [7]}"#, "encoder"), (#"{"input_ids": [], "labels": [7]}"#, "encoder"),
    ] {
      let error = try #require(#expect(throws: GoraError.self) { _ = try read(text) })
      #expect(error.status == .data && error.problem.contains(word), "\(error.problem)")
    }
    // A decoder's rows still have one length.
    #expect(throws: GoraError.self) { _ = try DataFile.parse(Array(#"{"input_ids": [5, 1], "labels": [7]}"#.utf8), path: "d") }
  }

  /// What has no prompt and answer apart is refused, and so are templates of chats.
  @Test func refusals() throws {
    let chat = DataRow.chat([ChatTurn(.user, "a"), ChatTurn(.assistant, "b")])
    let past = DataRow.instruction(Instruction(kind: .question, instruction: "a", response: "b", history: [.init("x", "y")]))
    for (row, template, word) in [
      (chat, nil, "chat"), (chat, .plain, "chat"), (.text("a"), nil, "text"), (past, nil, "--template"),
      (self.row(.question, "a", "b"), .chatml, "chatml"), (self.row(.question, "a", "b"), .llama3, "llama3"),
    ] as [(DataRow, Template?, String)] {
      let error = try #require(#expect(throws: GoraError.self) { _ = try encoder(template).encode(row) })
      #expect(error.status == .data && (error.problem + (error.hint ?? "")).contains(word), "\(error)")
    }
    #expect(try #require(try encoder(.plain).encode(past)).source == ids("x\nya\n") + [257])
  }

  /// For generation the decoder begins with its begin token, whatever the row; sources are not cut.
  @Test func generation() throws {
    let rows = DataRows(
      rows: [row(.question, "abcd", "e"), .tokens(ids: [5, 1, 0], labels: [7])],
      places: [.text("d", line: 1, column: 1), .text("d", line: 2, column: 1)])
    let encoder = encoder(maxLength: 2)
    #expect(try encoder.encodePrompts(rows) == [[300], [300]])
    #expect(try encoder.encodeSources(rows) == [ids("abcd") + [257], [5, 1]])
    #expect(try encoder.stopTokens(for: rows.rows[0]) == [257])
    let decoder = RowEncoder(encoder: ByteEncoder(), bos: 256, eos: 257, template: nil, maxLength: 9)
    #expect(try decoder.encodeSources(rows).isEmpty)
  }

  /// Both sides are shown, the encoder's first.
  @Test func shown() throws {
    let encoded = try encoder().encodeAsItIs(row(.question, "ab", "c"))
    let shown = ShownRow(encoded, place: .text("d", line: 3, column: 1), kind: .question, tokenizer: nil)
    #expect(shown.title == "d:3:1: question/answer, 3 tokens for the encoder, 3 for the decoder, 2 learnt")
    #expect(
      shown.text(.init(isColored: false, showsIds: false)) == """
        d:3:1: question/answer, 3 tokens for the encoder, 3 for the decoder, 2 learnt
        97│98│257
        ⇒
        300│⟦99│257⟧

        """)
    let prompt = ShownRow(encoded, place: nil, kind: .question, isPrompt: true, tokenizer: nil)
    #expect(prompt.title == "question/answer, 3 tokens for the encoder, 3 for the decoder")
    #expect(try shown.json.compact().contains(#""source":[97,98,257]"#))
  }
}

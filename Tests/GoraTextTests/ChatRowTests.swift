import GoraFormats
import Testing

@testable import GoraText

/// Rows against Transformers' `apply_chat_template`: ids, and what is learnt of them (Tests/Fixtures/rows/make_fixtures.py).
@Suite struct ChatRowTests {
  @Test func idsAndWhatIsLearntAreTransformers() throws {
    let trained = try JSONDocument(path: "trained.json", text: readWholeFile("\(tokenizerFixtures)/trained.json")).root
    let fixture = try JSONDocument(path: "chats.json", text: readWholeFile("\(tokenizerFixtures)/../rows/chats.json")).root
    let added = try fixture.required("added_tokens").value
    let file = JSON(
      .object(try trained.members.map { .init($0.key, $0.key == "added_tokens" ? added : $0.field.value) }))
    let tokenizer = try Tokenizer(bytes: Array(file.compact().utf8), path: "tokenizer.json")
    let cases = try fixture.required("cases").elements
    #expect(cases.count == 17)
    for c in cases {
      let template = ChatTemplate(
        try c.required("template").string, name: "own", specialTokens: [("bos_token", "<s>"), ("eos_token", "</s>")])
      let encoder = RowEncoder(
        encoder: tokenizer, bos: 0, eos: 1, template: .tokenizer(ChatTemplates(template)), maxLength: 1000)
      let row = try c.required("row").value.compact()
      let encoded = try #require(try encoder.encode(DataFile.parse(Array(row.utf8), path: "d")).rows.first)
      #expect(try encoded.ids.map(Int.init) == c.required("ids").ints, "\(row)")
      #expect(try encoded.labels.map(Int.init) == c.required("labels").ints, "\(row)")
    }
  }
}

import GoraText
import Testing

@Suite struct DataEncodingTests {
  /// The ids of a PyTorch user who tokenises `[bos] + enc(question + "\n" + answer) + [eos]` with HuggingFace tokenizers 0.23 and
  /// learns what ends behind the question; count and rolling hash of all rows were computed there.
  @Test(.enabled(if: shared != nil))
  func plainRowsEqualThoseOfHuggingFace() throws {
    let data = try #require(shared) + "/data/"
    let path = data + "models/stories260K/tokenizer.json"
    let tokenizer = try Tokenizer(bytes: Array(try #require(contents(path)).utf8), path: path)
    let encoder = RowEncoder(encoder: tokenizer, bos: 1, eos: 2, template: nil, maxLength: 4096)
    let encoded = try encoder.encode(DataFile.read([data + "gsm8k/test.jsonl"]))
    #expect(encoded.rows.count == 1319 && encoded.cut == 0 && encoded.dropped == 0)
    var hash = 0
    for row in encoded.rows {
      for id in row.ids { hash = (hash * 31 + Int(id)) % 1_000_003 }
      hash = (hash * 31 + row.labels.filter { $0 != -100 }.count) % 1_000_003
    }
    #expect(encoded.rows.reduce(0) { $0 + $1.ids.count } == 472_631)
    #expect(hash == 555_112)
  }
}

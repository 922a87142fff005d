import GoraCore
import GoraFormats
import Testing

import Glibc
@testable import GoraText

/// The folder of shared test material, or nil where this checkout has none.
let sharedFolder: String? = {
  let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
  let candidates = [getenv("GORA_SHARED").map { String(cString: $0) }, "/\(root)/../shared"].compactMap { $0 }
  return candidates.first { access("\($0)/data/INDEX.md", R_OK) == 0 }
}()

/// Ids and texts of HF `tokenizers` 0.23.3 for 200 strings each.
@Suite(.enabled(if: sharedFolder != nil))
struct TokenizerGoldenTests {
  @Test(arguments: [
    "models/stories260K", "models/babyllama105", "models/babyllama361", "tokenizers/llama2", "tokenizers/llama3",
    "tokenizers/qwen2.5", "tokenizers/gpt2", "tokenizers/t5", "tokenizers/clip",
  ])
  func matchesHuggingFace(_ folder: String) throws {
    let data = try #require(sharedFolder) + "/data"
    let tokenizer = try Tokenizer(contentsOf: "\(data)/\(folder)/tokenizer.json")
    let name = folder.split(separator: "/").last ?? ""
    var rows = 0
    for line in try readWholeFile("\(data)/golden/\(name).jsonl").split(separator: 0x0A) {
      let row = try JSONDocument(path: "golden", text: Array(line)).root
      let text = try row.required("text").string
      let ids = try row.required("ids").ints.map { Int32($0) }
      let decoded = Array(tokenizer.decode(ids, skipSpecialTokens: false).unicodeScalars)
      #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)")
      #expect(
        try tokenizer.encode(text, addSpecialTokens: true) == row.required("ids_special").ints.map { Int32($0) },
        "\(text.debugDescription)")
      #expect(try decoded == Array(row.required("decoded").string.unicodeScalars), "\(text.debugDescription)")
      rows += 1
    }
    #expect(rows == 200)
  }
}

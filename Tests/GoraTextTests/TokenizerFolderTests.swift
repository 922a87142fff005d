import GoraCore
import GoraFormats
import Testing

import Glibc
@testable import GoraText

/// Folders with tokenizer.json and what stands beside it, against AutoTokenizer (Tests/Fixtures/tokenizer/make_folders.py).
struct TokenizerFolderTests {
  /// The tokenizer of a folder of these files; the folder is gone again afterwards.
  static func tokenizer(_ files: [(key: String, value: JSON)]) throws -> Tokenizer {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var name = Array("\(parent)/gora-tokenizer-XXXXXX".utf8CString)
    let folder = try #require(mkdtemp(&name).map { String(cString: $0) })
    defer {
      for file in files { unlink("\(folder)/\(file.key)") }
      rmdir(folder)
    }
    for (key, value) in files {
      let file = try #require(fopen("\(folder)/\(key)", "w"))
      fputs(value.compact(), file)
      fclose(file)
    }
    return try #require(try Tokenizer(of: CheckpointFiles(folder)))
  }

  private static func document(_ name: String) throws -> JSONField {
    try JSONDocument(path: name, text: readWholeFile("\(tokenizerFixtures)/\(name)")).root
  }

  /// As `from_pretrained` has it: an object names tokens, and leaves the list to `additional_special_tokens`.
  @Test(arguments: [("{}", true), (#"{"image_token": "<image>"}"#, true), ("[]", true), (#"["<z>"]"#, false), ("null", true)])
  func unnamedTokensBesideNamedOnes(extra: String, isThere: Bool) throws {
    let trained = try Self.document("trained.json").value
    let settings =
      #"{"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": \#(extra), "additional_special_tokens": ["<tool>"]}"#
    let tokenizer = try Self.tokenizer([("tokenizer.json", trained), ("tokenizer_config.json", try JSON(parsing: settings))])
    #expect((tokenizer.encode("a<tool>b").count == 3) == isThere)
    #expect((tokenizer.encode("a<image>b").count == 3) == extra.contains("image"))
  }

  @Test func foldersMatchAutoTokenizer() throws {
    let bytes = try Self.document("trained.json").value
    let pieces = try Self.document("cases.json").required("pieces").value
    var rows = 0
    for entry in try Self.document("folders.json").elements {
      let base = try entry.required("base").string
      let name = try "\(base), \(entry.required("name").string)"
      guard case .object(var members) = (base == "bytes" ? bytes : pieces).content else { continue }
      for change in try entry.required("change").members {
        members = members.map { $0.key == change.key ? JSON.Member($0.key, change.field.value) : $0 }
      }
      let files = try entry.required("files").members.map { (key: $0.key, value: $0.field.value) }
      let tokenizer = try Self.tokenizer(files + [("tokenizer.json", JSON(.object(members)))])
      for row in try entry.required("rows").elements {
        let fields = try row.elements
        let text = try fields[0].string
        let ids = try fields[1].ints.map { Int32($0) }
        let note: Comment = "\(name): \(text.debugDescription)"
        #expect(tokenizer.encode(text) == ids, note)
        #expect(try tokenizer.encode(text, addSpecialTokens: true) == fields[2].ints.map { Int32($0) }, note)
        #expect(try Array(tokenizer.decode(ids, skipSpecialTokens: false).utf8) == Array(fields[3].string.utf8), note)
        #expect(try Array(tokenizer.decode(ids).utf8) == Array(fields[4].string.utf8), note)
        rows += 1
      }
      let special = try entry.required("special").members
      #expect(tokenizer.specialTokens.map(\.name) == special.map(\.key), "\(name)")
      #expect(try tokenizer.specialTokens.map(\.text) == special.map { try $0.field.string }, "\(name)")
    }
    #expect(rows > 1300)
  }
}

import GoraCore
import Testing

import Glibc
@testable import GoraText

private func rows(_ text: String, vocabularySize: Int? = nil, skipBadRows: Bool = false) throws -> DataRows {
  try DataFile.parse(Array(text.utf8), path: "d", vocabularySize: vocabularySize, skipBadRows: skipBadRows)
}

private func failure(_ text: String, vocabularySize: Int? = nil, skipBadRows: Bool = false) -> GoraError? {
  do {
    _ = try rows(text, vocabularySize: vocabularySize, skipBadRows: skipBadRows)
    return nil
  } catch {
    return error as? GoraError
  }
}

@Suite struct DataFileTests {
  @Test func keysDecideTheKind() throws {
    let text = """
      {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}
      {"question": "q", "answer": "a"}
      {"type": "GSM", "query": "q", "original_question": "o", "response": "r"}
      {"instruction": "i", "input": "", "output": "o"}
      {"instruction": "i", "input": "x", "output": "o"}
      {"instruction": "i", "input": null, "output": "o"}

      {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
      {"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}
      {"prompt": "p", "completion": "c"}
      {"input": "i", "output": "o"}
      {"text": "t"}
      """
    let expected: [DataRow] = [
      .tokens(ids: [1, 2, 3], labels: [-100, 2, 3]),
      .instruction(Instruction(kind: .question, instruction: "q", response: "a")),
      .instruction(Instruction(kind: .query, instruction: "q", response: "r")),
      .instruction(Instruction(kind: .instruction, instruction: "i", response: "o")),
      .instruction(Instruction(kind: .instruction, instruction: "i", input: "x", response: "o")),
      .instruction(Instruction(kind: .instruction, instruction: "i", response: "o")),
      .chat([ChatTurn(.system, "s"), ChatTurn(.user, "u"), ChatTurn(.assistant, "a")]),
      .chat([ChatTurn(.user, "u"), ChatTurn(.assistant, "a")]),
      .instruction(Instruction(kind: .completion, instruction: "p", response: "c")),
      .instruction(Instruction(kind: .question, instruction: "i", response: "o")),
      .text("t"),
    ]
    #expect(try rows(text).rows == expected)
    // The same rows as an array, on one line and on many.
    let lines = text.split(separator: "\n")
    #expect(try rows("\u{FEFF}[" + lines.joined(separator: ",") + "]").rows == expected)
    #expect(try rows("\r\n[\r\n" + lines.joined(separator: "\r\n ,\r\n") + "\r\n]\r\n").rows == expected)
    #expect(try rows(text.replacing("\n", with: "\r\n") + "\r\n").rows == expected)
  }

  @Test func bracketsAndQuotesInStringsDoNotEndARow() throws {
    let result = try rows(#"[{"text": "a]}\"{[,\\"}, {"text": "é\n,"}]"#)
    #expect(result.rows == [.text(#"a]}"{[,\"#), .text("é\n,")])
  }

  @Test(arguments: [
    ("{\"text\": \"a\"}\n{\"txt\": \"b\"}\n", "d:2:1", "the row's keys are \"txt\""),
    ("{\"text\": \"a\"}\n\n  {\"text\": 3}\n", "d:3:12", "\"text\" must be a string"),
    ("{\"text\": \"a\"}\n{\"text\": \"b\"\n{\"text\": \"c\"}", "d:2:13", "unexpected end of text; expected ',' or '}'"),
    ("[{\"text\": \"a\"}, {\"text\": 3}]", "d:1:26", "\"text\" must be a string"),
    ("[\n {\"text\": \"a\"},\n {\"text\":\n  4}]", "d:4:3", "\"text\" must be a string"),
    ("[{\"text\": \"a\"}, {\"text\": \"b\"}", "d:1:30", "unexpected end of text; expected ',' or ']'"),
    ("[{\"text\": \"a\"}, {\"text\": \"b\"", "d:1:17", "unexpected end of text inside this row"),
    ("[{\"text\": \"a\"} {\"text\": \"b\"}]", "d:1:16", "expected ',' or ']' between the rows of an array"),
    ("[{\"text\": \"a\"}] x", "d:1:17", "text after the array"),
    ("[{\"text\": \"a\"}, 12]", "d:1:17", "a row must be a JSON object"),
    ("{\"input_ids\": [1, 2], \"labels\": [1]}", "d:1:33", "\"labels\" has 1 elements, \"input_ids\" has 2"),
    ("{\"input_ids\": [1, 2]}", "d:1:1", "the file lacks \"labels\""),
    ("{\"input_ids\": [1, 10], \"labels\": [1, 2]}", "d:1:19", "\"input_ids\"[1] is 10; expected a token id from 0 to 9"),
    ("{\"input_ids\": [1], \"labels\": [-1]}", "d:1:31", "\"labels\"[0] is -1; expected -100 or a token id from 0 to 9"),
    ("{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}]}", "d:1:14", "\"messages\" has no assistant turn to learn"),
    (
      "{\"messages\": [{\"role\": \"tool\", \"content\": \"u\"}]}", "d:1:24",
      "\"role\" is \"tool\"; expected system, user (human) or assistant (gpt, model)"
    ),
  ])
  func badRowsNameTheirPlace(text: String, place: String, problem: String) throws {
    let error = try #require(failure(text, vocabularySize: 10))
    #expect(error.status == .data)
    #expect(error.location?.description == place)
    #expect(error.problem.hasPrefix(problem), "\(error.problem)")
  }

  @Test func badRowsAreCountedWhereAskedFor() throws {
    let lines = try rows("{\"text\": \"a\"}\n{\"text\": \nnot json\n{\"text\": \"b\"}\n", skipBadRows: true)
    #expect(lines.rows == [.text("a"), .text("b")])
    #expect(lines.badRows == 2)
    #expect(lines.firstBadRow?.location == .text("d", line: 2, column: 10))
    let array = try rows("[{\"text\": \"a\"}, {\"text\": nope}, 3, {\"text\": \"b\"}]", skipBadRows: true)
    #expect(array.rows == [.text("a"), .text("b")])
    #expect(array.badRows == 2)
    #expect(failure("[{\"text\": \"a\"}", skipBadRows: true) != nil)
  }

  @Test func anAbsentFileIsNoInput() {
    #expect { _ = try DataFile.read(["/nonexistent/rows.jsonl"]) } throws: { ($0 as? GoraError)?.status == .noInput }
  }

  @Test(.enabled(if: shared != nil))
  func realFilesHaveTheirRows() throws {
    let data = try #require(shared) + "/data/"
    let alpaca = try DataFile.read([data + "alpaca/alpaca_5000.json", data + "gsm8k/test.jsonl"])
    #expect(alpaca.rows.count == 5000 + 1319)
    #expect(alpaca.kinds == [.question, .instruction])
    #expect(try DataFile.read([data + "code_alpaca/code_alpaca_2k.json"]).rows.count == 2017)
    #expect(try DataFile.read([data + "metamath/metamathqa_2rows.jsonl"]).kinds == [.query])
    #expect(try DataFile.read([data + "text/c4_demo.jsonl"]).rows.count == 300)
  }

  @Test func compressedFilesAreRead() throws {
    // Two rows of plain text, by Python's gzip.
    let bytes: [UInt8] = [
      0x1F, 0x8B, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xAB, 0x56, 0x2A, 0x49, 0xAD, 0x28, 0x51, 0xB2,
      0x52, 0x50, 0x4A, 0x54, 0xAA, 0xE5, 0xAA, 0x86, 0xF3, 0x92, 0x80, 0x3C, 0x00, 0x3D, 0xBD, 0xE6, 0x10, 0x1C,
      0x00, 0x00, 0x00,
    ]
    let path = try temporaryFile(bytes, suffix: ".jsonl.gz")
    defer { unlink(path) }
    #expect(try DataFile.read([path, path]).rows == [.text("a"), .text("b"), .text("a"), .text("b")])
  }
}

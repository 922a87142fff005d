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

  /// Data sets that were joined have all keys in all rows.
  @Test func nullsAreAbsent() throws {
    #expect(
      try rows(
        "{\"messages\": null, \"input_ids\": null, \"text\": null, \"query\": \"q\", \"response\": \"r\", \"history\": null}"
      ).rows
        == [.instruction(Instruction(kind: .query, instruction: "q", response: "r"))])
  }

  /// As Python's json reads: what does not matter is not judged, and of two equal keys the last counts.
  @Test func pythonsJSON() throws {
    let text = #"{"x": NaN, "y": [-Infinity, Infinity, 1e999], "z": 123456789012345678901234567890, "text": "b", "text": "a"}"#
    #expect(try rows(text).rows == [.text("a")])
    #expect(failure(#"{"text": NaN}"#)?.problem == "\"text\" must be a string")
    #expect(failure(#"{"text": "a", "x": Nan}"#)?.problem == "expected a value")
    #expect(failure(#"{"input_ids": [NaN], "labels": [1]}"#)?.status == .data)
  }

  @Test func whatWasSaidBeforeIsPartOfTheRow() throws {
    let task = Instruction(
      kind: .query, instruction: "q", response: "r", system: "s", history: [.init("a", "b"), .init("c", "d")])
    #expect(
      try rows(#"{"query": "q", "response": "r", "system": "s", "history": [["a", "b"], ["c", "d"]]}"#).rows == [
        .instruction(task)
      ])
    #expect(
      try rows(
        #"{"system": "s", "conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}], "history": []}"#
      ).rows
        == [.chat([ChatTurn(.system, "s"), ChatTurn(.user, "u"), ChatTurn(.assistant, "a")])])
  }

  @Test func marksOfWhatIsLearnt() throws {
    for mark in [#""weight": 0"#, #""train": false"#, #""training": false"#, #""loss": false"#, #""loss_mask": 0.0"#] {
      guard
        case .chat(let chat) = try rows(
          #"{"messages": [{"role": "assistant", "content": "a", \#(mark)}, {"role": "assistant", "content": "b", "weight": 1}]}"#
        ).rows[0]
      else { return #expect(Bool(false)) }
      #expect(chat.turns.map(\.isLearnt) == [false, true])
    }
  }

  /// As in Transformers' collators: padding on either side has mask 0, packed rows begin at position 0.
  @Test func paddingAndPackedRows() throws {
    #expect(
      try rows(
        #"{"input_ids": [0, 0, 5, 6, 7, 0], "labels": [-100, -100, -100, 6, 7, -100], "attention_mask": [0, 0, 1, 1, 1, 0], "#
          + #""position_ids": [1, 1, 0, 1, 2, 3]}"#
      ).rows == [.tokens(ids: [5, 6, 7], labels: [-100, 6, 7])])
    let packed = try rows(
      #"{"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, -100, 8, 9], "position_ids": [0, 1, 0, 1, 2]}"#)
    #expect(packed.rows == [.tokens(ids: [5, 6], labels: [-100, 6]), .tokens(ids: [7, 8, 9], labels: [-100, 8, 9])])
    #expect(
      try rows(#"{"input_ids": [5, 6, 7, 8, 9], "labels": [-100, 6, -100, 8, 9], "seq_lengths": [2, 3]}"#).rows == packed.rows)
    #expect(packed.places == [.text("d", line: 1, column: 1), .text("d", line: 1, column: 1)])
    #expect(try rows(#"{"input_ids": [5], "labels": [5], "attention_mask": [0]}"#).rows == [.tokens(ids: [], labels: [])])
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
    ("{\"messages\": [{\"role\": \"assistant\", \"content\": null}]}", "d:1:15", "\"messages\"[0] lacks \"content\""),
    ("{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", "d:1:43", "\"content\" must be a string"),
    (
      "{\"conversations\": [{\"from\": \"observation\", \"value\": \"u\"}]}", "d:1:29",
      "\"from\" is \"observation\"; expected system, human or gpt"
    ),
    ("{\"text\": null, \"messages\": null}", "d:1:1", "the row's keys are none"),
    ("{\"prompt\": \"p\", \"chosen\": \"c\", \"rejected\": \"r\"}", "d:1:27", "\"chosen\": a row of preferences"),
    (
      "{\"prompt\": \"p\", \"completion\": \"c\", \"label\": false}", "d:1:45",
      "\"label\": a row that is approved of or not (KTO)"
    ),
    ("{\"instruction\": \"p\", \"output\": \"c\", \"kto_tag\": true}", "d:1:48", "\"kto_tag\": a row that is approved of or not"),
    ("{\"question\": \"q\", \"context\": \"c\", \"answer\": \"a\"}", "d:1:30", "\"context\": a part of the question"),
    ("{\"question\": \"q\", \"options\": [\"A\"], \"answer\": \"a\"}", "d:1:30", "\"options\": a part of the question"),
    ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"seq_lengths\": [1]}", "d:1:56", "\"seq_lengths\" are 1 together"),
    ("{\"query\": \"q\", \"response\": \"r\", \"images\": [\"i.png\"]}", "d:1:43", "\"images\": rows of text alone are read"),
    ("{\"query\": \"q\", \"response\": \"r\", \"history\": [[\"a\"]]}", "d:1:45", "\"history\"[0] must be a pair"),
    ("{\"query\": \"q\", \"response\": \"r\", \"tools\": \"[\"}", "d:1:42", "\"tools\" is a text that is no JSON"),
    (
      "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"weight\": 0.5}]}", "d:1:63",
      "\"weight\" is 0.5; expected 0 or 1, true or false"
    ),
    (
      "{\"messages\": [{\"role\": \"user\", \"content\": \"a\", \"train\": true}]}", "d:1:57",
      "a turn of role \"user\" is marked as learnt"
    ),
    (
      "{\"system\": \"s\", \"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}",
      "d:1:29", "the chat begins with a system turn, and the row has a system column"
    ),
    (
      "{\"input_ids\": [1, 2, 3], \"labels\": [1, 2, 3], \"attention_mask\": [1, 0, 1]}", "d:1:65",
      "\"attention_mask\" is 0 at 1, between tokens"
    ),
    ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"attention_mask\": [1]}", "d:1:59", "\"attention_mask\" has 1 elements"),
    ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"attention_mask\": [1, 2]}", "d:1:63", "\"attention_mask\"[1] is 2"),
    ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"position_ids\": [0, 2]}", "d:1:57", "\"position_ids\" is 2 at 1"),
    ("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"position_ids\": [5, 6]}", "d:1:57", "\"position_ids\" is 5 at 0"),
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

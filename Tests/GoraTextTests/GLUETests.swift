import GoraCore
import GoraFormats
import Testing

import Glibc
@testable import GoraText

struct GLUETests {
  private static func rows(
    _ text: String, _ name: String, _ wording: GLUETask.Wording = .loraGA, skips: Bool = false
  ) throws -> DataRows {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/gora-glue-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    try #require(descriptor >= 0)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    let bytes = Array(text.utf8)
    #expect(write(descriptor, bytes, bytes.count) == bytes.count)
    close(descriptor)
    return try GLUEFile.read([path], task: try #require(GLUETask(named: name)), wording: wording, skipBadRows: skips)
  }

  private static func first(_ text: String, _ name: String, _ wording: GLUETask.Wording = .loraGA) throws -> [String] {
    guard case .instruction(let task) = try rows(text, name, wording).rows.first else { return [] }
    #expect(task.kind == .completion)
    return [task.instruction, task.response]
  }

  private typealias Asked = (name: String, text: String, prompt: String, answer: String, t5Prompt: String, t5Answer: String)

  private static let asked: [Asked] = [
    (
      "sst2", "sentence\tlabel\na \"good\" film \t1\n", "classify the sentiment of the text: a \"good\" film \nresult:",
      " positive", "sst2 sentence: a \"good\" film ", " positive"
    ),
    (
      "cola", "gj04\t0\t*\tThey drank the pub.\n", "classify the grammaticality of the text: They drank the pub.\nresult:",
      " unacceptable", "cola sentence: They drank the pub.", " unacceptable"
    ),
    (
      "mrpc", "\u{FEFF}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n0\t1\t2\tA .\tB .\r\n",
      "classify the semantic similarity of the text: A .\nB .\nresult:", " different", "mrpc sentence1: A . sentence2: B .",
      " not_equivalent"
    ),
    (
      "qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tA?\tB?\t1",
      "classify the semantic similarity of the text: A?\nB?\nresult:", " duplicate", "qqp question1: A? question2: B?",
      " duplicate"
    ),
    (
      "mnli", "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tP.\tH.\tentailment\tneutral\n",
      "classify the semantic similarity of the text: P.\nH.\nresult:", " neutral", "mnli hypothesis: H. premise: P.", " neutral"
    ),
    (
      "qnli", "index\tquestion\tsentence\tlabel\n0\tQ?\tS.\tnot_entailment\n",
      "classify the semantic similarity of the question and the sentence: Q?\nS.\nresult:", " not_entailment",
      "qnli question: Q? sentence: S.", " not_entailment"
    ),
    (
      "rte", "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n",
      "classify the semantic similarity of the text: A.\nB.\nresult:", " entailment", "rte sentence1: A. sentence2: B.",
      " entailment"
    ),
    (
      "wnli", "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t0\n",
      "classify the semantic similarity of the text: A.\nB.\nresult:",
      " not_entailment", "wnli sentence1: A. sentence2: B.", " not_entailment"
    ),
    (
      "stsb", "index\tsentence1\tsentence2\tscore\n0\tA.\tB.\t3.750\n",
      "classify the semantic similarity of the text: A.\nB.\nresult:", " 3.8", "stsb sentence1: A. sentence2: B.", " 3.8"
    ),
  ]

  /// Each task's first row in both wordings: LoRA-GA's prompts and those of the T5 paper's appendix D.
  @Test func asks() throws {
    for one in Self.asked {
      #expect(try Self.first(one.text, one.name) == [one.prompt, one.answer])
      #expect(try Self.first(one.text, one.name, .t5) == [one.t5Prompt, one.t5Answer])
    }
  }

  /// What TensorFlow's round(5·score)/5 in float32 makes of scores.
  @Test(arguments: [
    ("0", "0.0"), ("0.000", "0.0"), ("5.000", "5.0"), ("2.5", "2.4"), ("3.25", "3.2"), ("4.7", "4.8"), ("0.3", "0.4"),
    ("1.583", "1.6"),
  ])
  func roundsScores(_ score: String, _ words: String) throws {
    #expect(try #require(GLUETask(named: "stsb")).answer(to: score, .t5) == words)
  }

  private static let refused: [(name: String, text: String, place: String, part: String)] = [
    ("sst2", "sentence\nA.\n", ":1:1", "the file has no labels"),
    ("sst2", "index\tsentence\n0\tA.\n", ":1:1", "the file has no labels"),
    ("cola", "index\tsentence\n0\tA.\n", ":1:1", "the file has no labels"),
    ("rte", "sentence\tlabel\nA\t0\n", ":1:1", "no column \"sentence1\""),
    ("sst2", "sentence\tlabel\nA.\t1\nB\n", ":3:1", "1 columns, 2 in the first line"),
    ("sst2", "sentence\tlabel\nA.\t1\n\nB.\t1\n", ":3:1", "1 columns, 2 in the first line"),
    ("sst2", "sentence\tlabel\nA.\t2\n", ":2:1", "the label is \"2\""),
    ("stsb", "sentence1\tsentence2\tscore\nA\tB\t5.1\n", ":2:1", "\"5.1\""),
    ("stsb", "sentence1\tsentence2\tscore\nA\tB\tnan\n", ":2:1", "\"nan\""), ("sst2", "", "", "empty"),
    ("sst2", "sentence\tlabel\n", "", "no rows"),
  ]

  @Test func refuses() {
    for (name, text, place, part) in Self.refused {
      let error = #expect(throws: GoraError.self) { try Self.rows(text, name) }
      #expect(error?.status == .data && error?.description.contains(part) == true, "\(error?.description ?? "")")
      #expect(error?.description.contains("\(place): ") == true, "\(error?.description ?? "")")
    }
  }

  @Test func passesOverBadRows() throws {
    let rows = try Self.rows("sentence\tlabel\nA.\t1\nB.\tx\nC.\t0\n", "sst2", skips: true)
    #expect(rows.rows.count == 2 && rows.badRows == 1 && rows.firstBadRow?.description.contains(":3:1") == true)
    // A file without the columns is none of the task, whatever is passed over.
    #expect(throws: GoraError.self) { try Self.rows("A.\t1\n", "sst2", skips: true) }
  }

  @Test func unknownTasksAreNone() {
    #expect(GLUETask(named: "SST-2") == nil && GLUETask.names.count == 9 && Set(GLUETask.names).count == 9)
    for task in GLUETask.all where !task.isRegression {
      for wording in GLUETask.Wording.allCases { #expect(Set(task.words(wording)).count == task.labels.count) }
    }
  }
}

/// The real files, as many rows as data/INDEX.md counts.
@Suite(.enabled(if: sharedFolder != nil))
struct GLUEFilesTests {
  private static let files: [(name: String, file: String, count: Int, classes: [Int])] = [
    ("sst2", "SST-2/dev", 872, [428, 444]), ("cola", "CoLA/dev", 1043, [322, 721]), ("cola", "CoLA/train", 8551, [2528, 6023]),
    ("mrpc", "MRPC/train", 3667, [1194, 2473]), ("mrpc", "MRPC/dev", 408, [129, 279]), ("rte", "RTE/train", 2490, [1249, 1241]),
    ("rte", "RTE/dev", 277, [146, 131]), ("wnli", "WNLI/train", 635, [323, 312]), ("wnli", "WNLI/dev", 71, [40, 31]),
    ("qnli", "QNLI/dev", 5463, [2702, 2761]), ("stsb", "STS-B/dev", 1500, []),
  ]

  @Test func areRead() throws {
    for (name, file, count, classes) in Self.files {
      let task = try #require(GLUETask(named: name))
      let rows = try GLUEFile.read(["\(try #require(sharedFolder))/data/glue/\(file).tsv"], task: task, wording: .loraGA)
      #expect(rows.rows.count == count)
      let answers = rows.rows.map { $0.expectedAnswer ?? "" }
      #expect(task.words(.loraGA).map { word in answers.count { $0 == " " + word } } == classes)
    }
  }
}

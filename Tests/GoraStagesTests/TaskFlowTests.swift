import Foundation
import GoraCore
import GoraFormats
import GoraModels
import GoraStages
import GoraText
import Testing

/// The tasks of gora-eval by the tool, on a small model that reads text.
@Suite(.serialized) struct TaskFlowTests {
  private static func bench() throws -> Workbench {
    let bench = try TextFlowTests.bench()
    try #require(try bench.run(TextFlowTests.pretraining + " -o base").status == 0)
    return bench
  }

  /// The result of a run, with the rows of a file that it wrote.
  private static func run(_ bench: Workbench, _ line: String, samples: String) throws -> (result: JSONField, rows: [JSONField]) {
    let outcome = try bench.run("gora-eval --model base -q --no-provenance --samples \(samples) \(line)")
    try #require(outcome.status == 0, "\(line): \(outcome.error)")
    let rows = try String(decoding: bench.bytes(samples), as: UTF8.self).split(separator: "\n").map {
      try JSONDocument(path: samples, text: Array($0.utf8)).root
    }
    return (try JSONDocument(path: "result", text: Array(outcome.output.utf8)).root, rows)
  }

  // MARK: Programs

  /// Problems that any text passes, that none does, and that one with an even number of letters does.
  private static let problems = [
    ("easy/0", "import sys\\ndef f():\\n    pass\\n'''", "'''\\ndef check(f):\\n    pass\\n"),
    ("hard/0", "def f():\\n    pass\\n'''", "'''\\ndef check(f):\\n    assert False\\n"),
    ("even/0", "def f():\\n    pass\\ntext = r'''", "'''\\ndef check(f):\\n    assert len(text) % 2 == 0\\n"),
  ].map { #"{"task_id": "\#($0)", "prompt": "\#($1)", "entry_point": "f", "test": "\#($2)"}"# }.joined(separator: "\n")

  @Test func humaneval() throws {
    let bench = try Self.bench()
    try bench.write(Self.problems + "\n", to: "problems.jsonl")
    let line =
      "--task humaneval --data problems.jsonl --max-new-tokens 6 --no-sandbox --temperature 1 --attempts 12 --time-limit 20"
    let (result, rows) = try Self.run(bench, line, samples: "programs.jsonl")
    #expect(try result.required("rows").int == 3 && result.required("sandbox").string == "none" && rows.count == 36)
    var passed: [Int] = []
    for (index, name) in ["easy/0", "hard/0", "even/0"].enumerated() {
      let own = rows[(12 * index)..<(12 * (index + 1))]
      for row in own {
        #expect(try row.required("task_id").string == name)
        #expect(try row.required("passed").bool == (row.required("result").string == "passed"))
        // What is generated ends where a function does, and goes into the program as it is.
        let text = try row.required("completion").string
        for stop in ProgramStyle.raw.stops { #expect(!text.contains(stop)) }
        if name == "even/0", !text.contains("'''"), !text.hasSuffix("'"), !text.hasSuffix("\\") {
          let length = (text + "\n").replacing("\r\n", with: "\n").unicodeScalars.count
          #expect(try row.required("passed").bool == (length % 2 == 0), "\(text.debugDescription)")
        }
      }
      passed.append(try own.count { try $0.required("passed").bool })
    }
    #expect(passed[1] == 0 && passed[0] > 0)
    #expect(try result.required("passed").int == passed.reduce(0, +))
    for k in [1, 10] {
      let expected = passed.reduce(0) { $0 + passAtK(correct: $1, of: 12, k: k) } / 3
      #expect(try result.required("pass@\(k)").double == expected)
      let interval = try result.required("pass@\(k)_interval").elements.map { try $0.double }
      #expect(interval[0] < expected && expected < interval[1])
    }
    #expect(try result.optional("pass@100") == nil)
    // Equal prompts get programs of their own; the same again, the same programs.
    #expect(Set(try rows.prefix(12).map { try $0.required("completion").string }).count > 1)
    let again = try Self.run(bench, line + " --batch-size 5", samples: "again.jsonl")
    #expect(try again.rows.map { try $0.required("completion").string } == rows.map { try $0.required("completion").string })

    // The gate; a problem is a problem.
    let gate = "gora-eval --model base --task humaneval --data problems.jsonl --max-new-tokens 2 --no-sandbox"
    CommandLineTests.expect(try bench.run("\(gate) --require pass@1>=0.99"), 1, "pass@1")
    CommandLineTests.expect(try bench.run("\(gate) --require pass@2>=0.5"), 64, "--require")
    CommandLineTests.expect(
      try bench.run("gora-eval --model base --task humaneval --data test.jsonl"), 65, "test.jsonl:1:1: ", "task_id")
    // A dry run runs nothing.
    CommandLineTests.expect(try bench.run("\(gate) -n"), 0, "would measure humaneval on 3 rows")
  }

  // MARK: Choices

  /// The choices of the result are those of the samples' likelihoods, which are the losses of the same texts.
  @Test func choose() throws {
    let bench = try Self.bench()
    let questions = [
      #"{"prompt": "3 + 4 =", "choices": ["7", "12", "a longer answer than that"], "label": 0}"#,
      #"{"prompt": "10 - 2 =", "choices": ["9", "8"], "label": "1"}"#, #"{"prompt": "", "choices": ["x", "1 + 1"], "label": 1}"#,
    ]
    try bench.write(questions.joined(separator: "\n"), to: "questions.jsonl")
    let (result, rows) = try Self.run(bench, "--task choose --data questions.jsonl", samples: "choices.jsonl")
    var (right, rightNormalised) = (0, 0)
    for (row, question) in zip(rows, questions) {
      let parsed = try ChoiceQuestion(JSONDocument(path: "question", text: Array(question.utf8)).root)
      let likelihoods = try row.required("log_likelihoods").elements.map { try $0.double }
      let normalised = zip(likelihoods, parsed.choices).map { $0 / Double($1.characters) }
      #expect(try likelihoods[row.required("choice").int] == likelihoods.max())
      #expect(try normalised[row.required("choice_norm").int] == normalised.max())
      right += try row.required("choice").int == parsed.gold ? 1 : 0
      rightNormalised += try row.required("choice_norm").int == parsed.gold ? 1 : 0
      // The loss of the answer after the question, by another way through the model; byte-level tokens do not merge over the blank.
      for (choice, likelihood) in zip(parsed.choices, likelihoods) where !choice.context.isEmpty {
        try bench.write(
          JSON.object(["prompt": JSON(choice.context), "completion": JSON(choice.continuation)]).compact(), to: "pair.jsonl")
        let outcome = try bench.run("gora-eval --model base --task loss --data pair.jsonl -q")
        let loss = try JSONDocument(path: "loss", text: Array(outcome.output.utf8)).root
        // That has the end token too, whose part is taken from a row of ids.
        let shown = try bench.run("gora-eval --model base --task loss --data pair.jsonl --show-rows 1 --json -q")
        let ids = try JSONDocument(path: "row", text: Array(shown.output.utf8)).root
        let (all, labels) = (try ids.required("ids").ints, try ids.required("labels").ints)
        try bench.write("{\"input_ids\": \(all.dropLast()), \"labels\": \(labels.dropLast())}", to: "ids.jsonl")
        let exact = try bench.run("gora-eval --model base --task loss --data ids.jsonl -q")
        let found = try JSONDocument(path: "loss", text: Array(exact.output.utf8)).root
        #expect(try found.required("tokens").int == loss.required("tokens").int - 1)
        #expect(try abs(found.required("loss").double * Double(found.required("tokens").int) + likelihood) < 1e-4, "\(choice)")
      }
    }
    #expect(try result.required("acc").double == Double(right) / 3 && result.required("acc_correct").int == right)
    #expect(try result.required("acc_norm").double == Double(rightNormalised) / 3)
    #expect(try result.required("questions").string == "prompt/choices")
    // One at a time, the same.
    let one = try Self.run(bench, "--task choose --data questions.jsonl --batch-size 1", samples: "one.jsonl")
    #expect(one.result.value == result.value)
    // Not two data sets in one number.
    try bench.write(questions[0] + "\n" + #"{"goal": "G", "sol1": "a", "sol2": "b", "label": 1}"#, to: "mixed.jsonl")
    CommandLineTests.expect(
      try bench.run("gora-eval --model base --task choose --data mixed.jsonl"), 65, "mixed.jsonl:2:1: ", "piqa")
    CommandLineTests.expect(try bench.run("gora-eval --model model --task choose --data questions.jsonl"), 66, "tokenizer.json")
    CommandLineTests.expect(
      try bench.run("gora-eval --model base --task choose --data questions.jsonl --require acc_norm>=1.5"), 1, "acc_norm")
  }

  // MARK: Commonsense

  @Test func commonsense() throws {
    let bench = try Self.bench()
    let rows = ["true", "solution2", "answer5"].map {
      #"{"instruction": "Say \#($0)?", "input": "", "output": "the correct answer is \#($0)", "answer": "\#($0)"}"#
    }
    try bench.write(rows.joined(separator: "\n"), to: "questions.jsonl")
    let (result, samples) = try Self.run(bench, "--task commonsense --data questions.jsonl", samples: "answers.jsonl")
    #expect(try samples.map { try $0.required("gold").string } == ["true", "solution2", "answer5"])
    #expect(try result.required("beams").int == 4 && result.required("rows").int == 3)
    #expect(try result.required("accuracy").double == 0 && result.required("extracted").int == 0)
    // A search is no greedy walk, and does not depend on what runs beside it.
    let greedy = try Self.run(bench, "--task commonsense --data questions.jsonl --beams 1", samples: "greedy.jsonl")
    #expect(try greedy.rows.map { try $0.required("answer").string } != samples.map { try $0.required("answer").string })
    let one = try Self.run(bench, "--task commonsense --data questions.jsonl --batch-size 1", samples: "one.jsonl")
    #expect(try bench.bytes("one.jsonl") == bench.bytes("answers.jsonl") && one.result.value == result.value)
    // The prompt is the one of training unless another is asked for.
    for (option, words) in [("", "template commonsense\n"), (" --template alpaca", "template alpaca\n")] {
      CommandLineTests.expect(
        try bench.run("gora-eval --model base --task commonsense --data questions.jsonl --show-rows 1\(option)"), 0, words)
    }
    CommandLineTests.expect(
      try bench.run("gora-eval --model base --task commonsense --data test.jsonl"), 65, "the correct answer is")
  }

  // MARK: Chats

  private static let prompts = JudgePrompts.names.map { name in
    let places = "{question_1}|{answer_1}|{question_2}|{answer_2}"
    let template = name.hasSuffix("multi-turn") ? places : "{question}|{answer}"
    let reference = name.contains("math") ? "|{ref_answer_1}" : ""
    return #"{"name": "\#(name)", "system_prompt": "S", "prompt_template": "\#(template)\#(reference)"}"#
  }.joined(separator: "\n")

  private static let judge = """
    import json, sys
    for n, line in enumerate(sys.stdin):
        request = json.loads(line)
        assert request["url"] == "/v1/chat/completions" and request["body"]["temperature"] == 0
        text = ["Rating: [[%d]]" % (n + 1), "[%d.5]" % n, "nothing"][n % 3]
        choices = [{"message": {"role": "assistant", "content": text}}]
        reply = {"custom_id": request["custom_id"], "choices": choices}
        if n % 2: reply = {"custom_id": request["custom_id"], "response": {"status_code": 200, "body": {"choices": choices}}}
        print(json.dumps(reply))
    """

  @Test func mtBench() throws {
    let bench = try Self.bench()
    try bench.write(
      #"{"question_id": 81, "category": "writing", "turns": ["1 + 1 =", "2 + 2 ="]}"# + "\n"
        + #"{"question_id": 82, "category": "math", "turns": ["3 + 1 =", "4 + 2 ="]}"#, to: "chats.jsonl")
    try bench.write(Self.prompts, to: "prompts.jsonl")
    try bench.write(#"{"question_id": 82, "choices": [{"index": 0, "turns": ["4", "6"]}]}"#, to: "references.jsonl")
    try bench.write(Self.judge, to: "judge.py")
    let line = "--task mt-bench --data chats.jsonl --max-new-tokens 6 --template plain"
    let asked = line + " --judge-prompts prompts.jsonl --references references.jsonl"
    let (answers, rows) = try Self.run(bench, asked + " --judge-requests requests.jsonl", samples: "answers.jsonl")
    #expect(try answers.optional("score") == nil && rows.count == 2)
    let turns = try rows.map { try $0.required("choices").elements[0].required("turns").elements.map { try $0.string } }
    #expect(turns.map(\.count) == [2, 2])
    let requests = try String(decoding: bench.bytes("requests.jsonl"), as: UTF8.self).split(separator: "\n").map {
      try JSONDocument(path: "requests", text: Array($0.utf8)).root
    }
    #expect(
      try requests.map { try $0.required("custom_id").string }
        == ["mt-bench/81/1", "mt-bench/81/2", "mt-bench/82/1", "mt-bench/82/2"])
    let asks = try requests.map {
      try $0.required("body").required("messages").elements.map { try $0.required("content").string }
    }
    #expect(
      asks == [
        ["S", "1 + 1 =|\(turns[0][0])"], ["S", "1 + 1 =|\(turns[0][0])|2 + 2 =|\(turns[0][1])"],
        ["S", "3 + 1 =|\(turns[1][0])|4"], ["S", "3 + 1 =|\(turns[1][0])|4 + 2 =|\(turns[1][1])|4"],
      ])

    // A judge of the same run, and one asked later, say the same: [[1]], [1.5], nothing, [[4]].
    let judged = try Child.run(
      "gora-eval",
      (["--model", "base", "--no-provenance", "--judge-command", "tee seen.jsonl | python3 judge.py"]
        + (asked + " --samples both.jsonl").split(separator: " ").map(String.init)),
      in: bench.path)
    #expect(try bench.bytes("both.jsonl") == bench.bytes("answers.jsonl"))
    #expect(judged.status == 0 && judged.error.contains("score 2.167 of 3 ratings, 1 without one"), "\(judged.error)")
    #expect(judged.error.contains(#/writing +1\.00 +1\.50 +1\.25/#) && judged.error.contains(#/math +- +4\.00 +4\.00/#))
    #expect(try bench.bytes("seen.jsonl") == bench.bytes("requests.jsonl"))
    let result = try JSONDocument(path: "result", text: Array(judged.output.utf8)).root
    #expect(try abs(result.required("score").double - 6.5 / 3) < 1e-12 && result.required("unrated").int == 1)
    #expect(try result.required("turn_1").double == 1 && result.required("turn_2").double == 2.75)
    let replies = try Child.run("python3", [], in: bench.path, shell: "python3 judge.py < requests.jsonl > replies.jsonl")
    try #require(replies.status == 0, "\(replies.error)")
    let later = try bench.run(
      "gora-eval --model base --task mt-bench --data chats.jsonl --judge-replies replies.jsonl -q --no-provenance")
    let scores = try JSONDocument(path: "later", text: Array(later.output.utf8)).root
    for key in ["score", "turn_1", "turn_2", "rated", "unrated", "categories"] {
      #expect(try scores.required(key).value == result.required(key).value)
    }

    // What a judge leaves out, or cannot do, is said.
    let before = try bench.bytes("replies.jsonl")
    try bench.write(Array(before.split(separator: 0x0A).dropLast().joined(separator: [0x0A])), to: "replies.jsonl")
    let short = "gora-eval --model base --task mt-bench --data chats.jsonl --judge-replies replies.jsonl"
    CommandLineTests.expect(try bench.run(short), 65, "no reply to \"mt-bench/82/2\"")
    try bench.write(before + before, to: "replies.jsonl")
    CommandLineTests.expect(try bench.run(short), 65, "stands twice")
    let failing =
      "gora-eval --model base \(asked) --judge-command false --samples kept.jsonl --judge-requests asked.jsonl -o none.json"
    CommandLineTests.expect(try bench.run(failing), 69, "asked.jsonl has what the judge was asked")
    #expect(
      try bench.bytes("kept.jsonl") == bench.bytes("answers.jsonl") && bench.bytes("asked.jsonl") == bench.bytes("requests.jsonl")
    )
    #expect(!bench.exists("none.json"))
    CommandLineTests.expect(
      try bench.run("gora-eval --model base \(line) --judge-prompts prompts.jsonl --judge-requests r.jsonl"), 64, "--references")
    try bench.write(#"{"name": "single-v1", "prompt_template": "{answer}"}"#, to: "few.jsonl")
    CommandLineTests.expect(
      try bench.run("gora-eval --model base \(line) --judge-prompts few.jsonl --judge-requests r.jsonl"), 65, "single-math-v1")
    #expect(!bench.exists("r.jsonl"))
  }

  /// Options that only other tasks, or other settings, look at.
  @Test(arguments: [
    ("loss", ["--beams 2", "--style raw", "--judge-model x", "--no-sandbox", "--time-limit 1", "--attempts 2"]),
    ("gsm8k", ["--beams 2", "--learn all", "--style raw"]),
    ("humaneval", ["--beams 2", "--template plain", "--attempts 2", "--max-length 9", "--extractor gora", "--show-rows 1"]),
    ("choose", ["--template plain", "--max-new-tokens 2", "--temperature 1", "--stop x", "--show-rows 1"]),
    ("commonsense", ["--top-p 0.9", "--temperature 1", "--extractor gora", "--attempts 2"]),
    (
      "mt-bench",
      [
        "--references rows.jsonl", "--judge-requests x", "--judge-command x", "--judge-prompts rows.jsonl", "--judge-model x",
        "--judge-replies rows.jsonl --samples x", "--judge-replies rows.jsonl --adapter init", "--beams 2",
      ]
    ),
  ])
  func idleOptions(_ task: String, _ options: [String]) throws {
    let bench = try Workbench()
    let before = bench.files()
    for option in options {
      let outcome = try bench.run("gora-eval --model model --task \(task) --data rows.jsonl -o out \(option)")
      CommandLineTests.expect(outcome, 64, "error: ", "--")
      #expect(bench.files() == before, "\(option)")
    }
  }
}

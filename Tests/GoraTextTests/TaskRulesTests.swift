import GoraCore
import GoraFormats
import Testing

@testable import GoraText

/// The rules of gora-eval's tasks against Python's (Fixtures/tasks) and by hand.
@Suite struct TaskRulesTests {
  private static let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")

  private static func golden(_ key: String) throws -> JSONField {
    let path = "\(folder)/Fixtures/tasks/golden.json"
    return try JSONDocument(path: path, text: readWholeFile(path)).root.required(key)
  }

  private static func row(_ text: String) throws -> JSONField { try JSONDocument(path: "row", text: Array(text.utf8)).root }

  // MARK: Programs

  /// Exact fractions; the product loses a few units of the last place.
  @Test func chances() throws {
    for test in try Self.golden("pass_at_k").elements {
      let value = try passAtK(correct: test.required("c").int, of: test.required("n").int, k: test.required("k").int)
      #expect(try abs(value - test.required("value").double) < 1e-13)
    }
  }

  /// A mean's interval is a share's where the numbers are 0 and 1.
  @Test func intervals() {
    #expect(wilsonInterval(mean: 0.25, of: 8) == wilsonInterval(successes: 2, of: 8))
    #expect(wilsonInterval(mean: 0, of: 8).lowerBound == 0 && wilsonInterval(mean: 1, of: 8).upperBound == 1)
    #expect(wilsonInterval(mean: 0.3, of: 0) == 0...1)
  }

  @Test func loraGACompletions() throws {
    for test in try Self.golden("completions").elements {
      #expect(try ProgramStyle.loraga.completion(test.required("answer").string) == test.required("completion").string)
    }
  }

  private static let problem =
    #"{"task_id": "T/1", "prompt": "def f(x):\n    \"\"\" x \"\"\"\n", "entry_point": "f", "canonical_solution": "    return x\n", "test": "\ndef check(g):\n    assert g(1) == 1\n"}"#

  @Test func programs() throws {
    let problem = try ProgramProblem(Self.row(Self.problem))
    #expect(
      problem.program("    return 1")
        == "def f(x):\n    \"\"\" x \"\"\"\n    return 1\n\ndef check(g):\n    assert g(1) == 1\n\ncheck(f)")
    #expect(ProgramStyle.raw.opening(problem).isEmpty && ProgramStyle.raw.completion(" x") == " x")
    #expect(ProgramStyle.instruct.opening(problem) == "Here is the completed function:\n```python\n\(problem.prompt)\n")
    guard case .instruction(let request) = ProgramStyle.loraga.row(problem) else { return #expect(Bool(false)) }
    #expect(
      request.instruction.hasPrefix(
        "Below is an instruction that describes a task.\n Write a response that appropriately completes the request.\n\n### Instruction:\nComplete the following Python code: \nNotes: respond"
      ))
    #expect(request.instruction.hasSuffix("code:\n```python\n\(problem.prompt)\n```\n\n### Response:\n```python\n"))
    for bad in ["f()", "", "1f", "f; import os", "f g"] {
      #expect(throws: GoraError.self) {
        try ProgramProblem(Self.row(Self.problem.replacing(#""entry_point": "f""#, with: #""entry_point": "\#(bad)""#)))
      }
    }
  }

  /// The prompt as it stands; in a template with the answer's beginning behind it.
  @Test func programPrompts() throws {
    let problem = try ProgramProblem(Self.row(Self.problem))
    let encoder = RowEncoder(
      encoder: ByteEncoder(), bos: ByteEncoder.bos, eos: ByteEncoder.eos, template: nil, maxLength: 1000)
    func prompt(_ style: ProgramStyle) throws -> String {
      ByteEncoder.text(try encoder.encodePrompt(style.row(problem), opening: style.opening(problem)))
    }
    #expect(try prompt(.raw) == "<s>\(problem.prompt)")
    #expect(
      try prompt(.instruct)
        == "<s><|im_start|>user\nWrite a solution to the following problem and make sure that it passes the tests:\n```python\n\(problem.prompt)\n```<|im_end|>\n<|im_start|>assistant\nHere is the completed function:\n```python\n\(problem.prompt)\n"
    )
  }

  // MARK: Choices

  private static func question(_ text: String) throws -> ChoiceQuestion { try ChoiceQuestion(row(text)) }

  @Test func formats() throws {
    func expect(_ text: String, _ format: ChoiceFormat, _ context: String, _ texts: [String], gold: Int) throws {
      let question = try Self.question(text)
      #expect(question.format == format && question.gold == gold)
      #expect(question.choices.allSatisfy { $0.context == context })
      #expect(question.choices.map(\.continuation) == texts.map { " \($0)" } && question.choices.map(\.text) == texts)
    }
    try expect(
      #"{"passage": "P.", "question": "is it", "answer": true}"#, .boolq, "P.\nQuestion: is it?\nAnswer:", ["no", "yes"], gold: 1)
    try expect(
      #"{"passage": "P.", "question": "is it", "idx": 3, "label": 0}"#, .boolq, "P.\nQuestion: is it?\nAnswer:", ["no", "yes"],
      gold: 0)
    try expect(#"{"goal": "G", "sol1": "a", "sol2": "b", "label": 1}"#, .piqa, "Question: G\nAnswer:", ["a", "b"], gold: 1)
    try expect(
      #"{"context": "C.", "question": "Q?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"}"#, .socialIQA,
      "Q: C. Q?\nA:", ["a", "b", "c"], gold: 2)
    try expect(
      #"{"question": "Q?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B", "id": "x"}"#, .arc,
      "Question: Q?\nAnswer:", ["a", "b"], gold: 1)
    try expect(
      #"{"question_stem": "S", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "1"}"#, .openbookqa, "S",
      ["a", "b"], gold: 0)
    try expect(#"{"prompt": "P:", "choices": ["é", "bb", "c"], "label": 0}"#, .any, "P:", ["é", "bb", "c"], gold: 0)
    try expect(
      #"{"activity_label": "Roof", "ctx_a": "A man is on a roof.", "ctx_b": "he Starts", "endings": ["x.", "y [step] z."], "label": "1", "ctx": ""}"#,
      .hellaswag, "Roof: A man is on a roof. He starts", ["x.", "y z."], gold: 1)
    #expect(try Self.question(#"{"prompt": "", "choices": ["e\u0301", "b"], "label": 0}"#).choices[0].characters == 2)
    let partial = try Self.question(
      #"{"sentence": "Ann hit Bo as _  was bad _. ", "option1": "Ann", "option2": "Bo", "answer": "2"}"#)
    #expect(partial.gold == 1 && partial.format.isPartial)
    #expect(partial.choices.map(\.context) == ["Ann hit Bo as Ann", "Ann hit Bo as Bo"])
    #expect(partial.choices.map(\.continuation) == [" was bad _.", " was bad _."])
  }

  @Test func endings() throws {
    for test in try Self.golden("endings").elements {
      let text = try test.required("text").value.compact()
      let question = try Self.question(
        #"{"activity_label": "", "ctx_a": "", "ctx_b": "", "endings": [\#(text), "b"], "label": 1}"#)
      #expect(try question.choices[0].text == test.required("cleaned").string)
    }
  }

  @Test func noQuestions() throws {
    for (text, word) in [
      (#"{"a": 1}"#, "no question"), (#"{"goal": "G", "sol1": "a", "sol2": "b", "label": -1}"#, "expected one of 0, 1"),
      (#"{"prompt": "P", "choices": ["a"], "label": 0}"#, "two or more"),
      (#"{"prompt": "P", "choices": ["a", ""], "label": 0}"#, "is empty"),
      (#"{"prompt": "P", "choices": ["a", "b"], "label": 2}"#, "expected one of 0, 1"),
      (#"{"question": "Q", "choices": {"text": ["a", "b"], "label": ["A"]}, "answerKey": "A"}"#, "expected two"),
      (#"{"sentence": "none", "option1": "a", "option2": "b", "answer": "1"}"#, "no _"),
    ] {
      let error = #expect(throws: GoraError.self) { try Self.question(text) }
      #expect(error?.status == .data && "\(error?.problem ?? "")".contains(word), "\(text): \(String(describing: error))")
    }
  }

  /// Blanks that end a context go with what follows; ids and places as lm-evaluation-harness has them, by a real tokenizer.
  @Test func pairs() throws {
    let encoder = RowEncoder(encoder: ByteEncoder(), bos: ByteEncoder.bos, eos: ByteEncoder.eos, template: nil, maxLength: 10)
    let pair = try #require(encoder.encode(context: "ab \n", continuation: " c"))
    #expect(ByteEncoder.text(pair.ids) == "<s>ab \n c" && pair.context == 3)
    #expect(encoder.encode(context: "ab", continuation: "") == nil)
    let empty = try #require(encoder.encode(context: "", continuation: "c"))
    #expect(ByteEncoder.text(empty.ids) == "<s>c" && empty.context == 1)
    let bare = RowEncoder(encoder: ByteEncoder(), bos: nil, eos: ByteEncoder.eos, template: nil, maxLength: 10)
    #expect(ByteEncoder.text(try #require(bare.encode(context: "", continuation: "c")).ids) == "</s>c")
  }

  @Test(.enabled(if: shared != nil, "stories260K is not beside the project")) func realPairs() throws {
    let tokenizer = try Tokenizer(contentsOf: "\(try #require(shared))/data/models/stories260K/tokenizer.json")
    let encoder = RowEncoder(
      encoder: tokenizer, bos: tokenizer.beginTokens.first ?? 1, eos: 2, template: nil, maxLength: 10)
    let path = "\(Self.folder)/Fixtures/tasks/stories.json"
    for test in try JSONDocument(path: path, text: readWholeFile(path)).root.elements {
      let pair = try #require(
        try encoder.encode(context: test.required("context").string, continuation: test.required("continuation").string))
      #expect(try pair.ids == test.required("ids").ints.map(Int32.init))
    }
  }

  // MARK: Commonsense

  @Test func commonsenseAnswers() {
    for (text, kind, word) in [
      ("the correct answer is true", CommonsenseAnswer.truth, "true"), ("untrue or false", .truth, "true"),
      ("answer answer3, answer1", .answer, "answer3"), ("answer6 answer5", .answer, "answer5"),
      ("solution12", .solution, "solution1"),
      ("Ending1 ending4", .ending, "ending4"), ("option3 option2", .option, "option2"), ("True", .truth, nil), ("", .option, nil),
      ("solution3", .solution, nil),
    ] as [(String, CommonsenseAnswer, String?)] { #expect(kind.first(in: text) == word, "\(text)") }
    #expect(CommonsenseAnswer.gold("the correct answer is ending2")! == (.ending, "ending2"))
    #expect(CommonsenseAnswer.gold("the correct answer is B") == nil)
  }

  /// The two spellings, white space and all.
  @Test func commonsensePrompts() throws {
    func text(_ template: String, _ input: String) throws -> String {
      let encoder = RowEncoder(
        encoder: ByteEncoder(), bos: nil, eos: ByteEncoder.eos, template: try #require(Template(named: template)), maxLength: 2000
      )
      let row = DataRow.instruction(Instruction(kind: .instruction, instruction: "Q?", input: input, response: "A"))
      return ByteEncoder.text(try encoder.encodePrompt(row))
    }
    let (begin, paired) = (
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request."
    )
    let blanks = "                "
    #expect(
      try text("commonsense", "")
        == "\(begin)  \n\n\(blanks)### Instruction:\n\(blanks)Q?\n\(blanks)\n\(blanks)### Response:\n\(blanks)")
    #expect(
      try text("commonsense-eval", "")
        == "\(begin) \n\n\(blanks)### Instruction:\n\(blanks)Q?\n\n\(blanks)### Response:\n\(blanks)")
    #expect(
      try text("commonsense", "I")
        == "\(paired) \n\n\(blanks)### Instruction:\n\(blanks)Q?\n\(blanks)\n\(blanks)### Input:\n\(blanks)I\n\(blanks)\n\(blanks)### Response:\n\(blanks)"
    )
    #expect(
      try text("commonsense-eval", "I")
        == "\(paired)\n\n\(blanks)### Instruction:\n\(blanks)Q?\n\n\(blanks)### Input:\n\(blanks)I\n\n\(blanks)### Response:\n\(blanks)"
    )
  }

  // MARK: Judges

  @Test func ratings() throws {
    for test in try Self.golden("ratings").elements {
      #expect(try judgeRating(test.required("text").string) == test.optional("rating")?.double)
    }
  }

  @Test func filledTemplates() throws {
    let places = try Self.golden("places").members.map { (name: $0.key, text: try $0.field.string) }
    for test in try Self.golden("templates").elements {
      #expect(try JudgePrompts.filled(test.required("template").string, places) == test.required("filled").string)
    }
    for bad in ["{other}", "{", "a}b", "{question", "{0}"] {
      #expect(throws: GoraError.self) { try JudgePrompts.filled(bad, places) }
    }
  }

  @Test func turns() throws {
    let question = try TurnsQuestion(Self.row(#"{"question_id": 81, "category": "stem", "turns": ["a", "b"]}"#))
    #expect(question.temperature == 0.1 && !question.needsReference)
    for (category, temperature, needs) in [
      ("writing", 0.7, false), ("roleplay", 0.7, false), ("extraction", 0, false), ("math", 0, true), ("coding", 0, true),
      ("reasoning", 0, true), ("humanities", 0.1, false), ("other", 0.7, false),
    ] {
      var other = question
      other.category = category
      #expect(other.temperature == temperature && other.needsReference == needs)
      other.requiredTemperature = 0.25
      #expect(other.temperature == 0.25)
    }
    guard case .chat(let chat) = question.chat(answers: ["x"]) else { return #expect(Bool(false)) }
    #expect(chat.turns == [ChatTurn(.user, "a"), ChatTurn(.assistant, "x"), ChatTurn(.user, "b"), ChatTurn(.assistant, "")])
    for bad in [#"[]"#, #"["a", "b", "c"]"#, #"["a", 1]"#] {
      #expect(throws: GoraError.self) {
        try TurnsQuestion(Self.row(#"{"question_id": 81, "category": "stem", "turns": \#(bad)}"#))
      }
    }
  }
}

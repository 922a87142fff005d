import GoraCore
import GoraFormats
import Testing

@testable import GoraText

private func encoder(_ template: Template?, bos: Int32? = ByteEncoder.bos, maxLength: Int = 10_000) -> RowEncoder {
  RowEncoder(encoder: ByteEncoder(), bos: bos, eos: ByteEncoder.eos, template: template, maxLength: maxLength)
}

/// A row's text with what is learnt in ⟦ ⟧.
private func marked(_ row: DataRow, _ template: Template?, bos: Int32? = ByteEncoder.bos) throws -> String {
  let encoded = try #require(encoder(template, bos: bos).encode(row))
  #expect(encoded.ids.count == encoded.labels.count)
  var text = ""
  var run: [Int32] = []
  var isLearnt = false
  for (id, label) in zip(encoded.ids, encoded.labels) {
    #expect(label == id || label == -100)
    if (label != -100) != isLearnt {
      text += ByteEncoder.text(run) + (isLearnt ? "⟧" : "⟦")
      run = []
      isLearnt.toggle()
    }
    run.append(id)
  }
  return text + ByteEncoder.text(run) + (isLearnt ? "⟧" : "")
}

private let question = DataRow.instruction(Instruction(kind: .question, instruction: "1+1?", response: "2"))
private let withInput = DataRow.instruction(Instruction(kind: .instruction, instruction: "Add.", input: "1, 2", response: "3"))
private let chat = DataRow.chat([
  ChatTurn(.system, "Be kind."), ChatTurn(.user, "Hi"), ChatTurn(.assistant, "Hello"), ChatTurn(.user, " Bye "),
  ChatTurn(.assistant, "Ciao"), ChatTurn(.user, "never answered"),
])

@Suite struct TemplateTests {
  @Test func plain() throws {
    #expect(try marked(question, .plain) == "<s>1+1?\n⟦2</s>⟧")
    #expect(try marked(question, .plain, bos: nil) == "1+1?\n⟦2</s>⟧")
    #expect(try marked(withInput, .plain) == "<s>Add.\n1, 2\n⟦3</s>⟧")
    let completion = DataRow.instruction(Instruction(kind: .completion, instruction: "Q: x A:", response: " y"))
    #expect(try marked(completion, .plain) == "<s>Q: x A:⟦ y</s>⟧")
    #expect(try marked(chat, .plain) == "<s>Be kind.\nHi\n⟦Hello</s>⟧ Bye \n⟦Ciao</s>⟧")
  }

  @Test func plainTextIsLearntWhole() throws {
    #expect(try marked(.text("abc"), nil) == "<s>⟦abc</s>⟧")
    // A text that brings its begin token does not get a second one.
    #expect(try #require(encoder(nil).encode(.text("<s>a"))).ids == [256, 97, 257])
  }

  @Test func alpaca() throws {
    #expect(
      try marked(withInput, nil)
        == "<s>Below is an instruction that describes a task, paired with an input that provides further context. "
        + "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:⟦3</s>⟧"
    )
    #expect(
      try marked(question, .alpaca)
        == "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        + "### Instruction:\n1+1?\n\n### Response:⟦2</s>⟧")
  }

  @Test func metamath() throws {
    let row = DataRow.instruction(Instruction(kind: .query, instruction: "q", response: "r"))
    #expect(
      try marked(row, nil)
        == "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        + "### Instruction:\nq\n\n### Response: Let's think step by step.⟦r</s>⟧")
  }

  @Test func chatml() throws {
    let template = try #require(Template(named: "chatml"))
    #expect(
      try marked(chat, template)
        == "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Hello<|im_end|>⟧"
        + "\n<|im_start|>user\n Bye <|im_end|>\n<|im_start|>assistant\n⟦Ciao<|im_end|>⟧")
    #expect(
      try marked(question, .chatml(system: "S", startsWithBOS: false))
        == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n⟦2<|im_end|>⟧")
    #expect(encoder(template).stopTokens(for: question) == [257, 259])
    #expect(encoder(.plain).stopTokens(for: question) == [257])
  }

  @Test func llama3() throws {
    let template = try #require(Template(named: "llama3"))
    #expect(
      try marked(chat, template)
        == "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Hello<|eot_id|>⟧<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Ciao<|eot_id|>⟧")
  }

  @Test func inst() throws {
    #expect(
      try marked(chat, .inst)
        == "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]⟦Hello</s>⟧[INST] Bye [/INST]⟦Ciao</s>⟧")
  }

  @Test func templateFiles() throws {
    let file = try TemplateFile(path: "t", text: "Q: {instruction}\nA: {response}<|im_end|>\n")
    #expect(try marked(question, .file(file)) == "<s>Q: 1+1?\nA: ⟦2<|im_end|></s>⟧")
    #expect(try marked(withInput, .file(file)) == "<s>Q: Add.\n1, 2\nA: ⟦3<|im_end|></s>⟧")
    let places = DataRow.instruction(Instruction(kind: .question, instruction: "{response}{input}", response: "{instruction}"))
    #expect(try marked(places, .file(file)) == "<s>Q: {response}{input}\nA: ⟦{instruction}<|im_end|></s>⟧")
    let input = try TemplateFile(path: "t", text: "{input}|{instruction}|{response}")
    #expect(try marked(withInput, .file(input)) == "<s>1, 2|Add.|⟦3</s>⟧")
    for bad in [
      "no place", "{instruction}", "{response}{instruction}", "{instruction}{response}{response}",
      "{instruction}{response}{input}",
    ] {
      #expect(throws: GoraError.self) { try TemplateFile(path: "t", text: bad) }
    }
  }

  @Test func theTokenizersTemplateIsToldByItsText() throws {
    func template(_ json: String) throws -> Template? {
      try Template.ofTokenizer(JSONDocument(path: "c", text: Array(json.utf8)))
    }
    #expect(try Template.ofTokenizer(nil) == nil)
    #expect(try template("{}") == nil)
    #expect(
      try template(#"{"chat_template": "{{ '<|im_start|>system\\nYou are it.<|im_end|>\\n' }}"}"#)
        == .chatml(system: "You are it.", startsWithBOS: false))
    #expect(
      try template(#"{"chat_template": "{{ bos_token }}{{'<|im_start|>' + message['role'] + '\n' + message['content']}}"}"#)
        == .chatml(system: nil, startsWithBOS: true))
    #expect(try template(#"{"chat_template": "<|start_header_id|>"}"#) == .llama3(preamble: nil))
    let dated = try #require(try template(#"{"chat_template": "<|start_header_id|>Cutting Knowledge Date: December 2023"}"#))
    #expect(
      try marked(question, dated)
        == "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        + "<|start_header_id|>user<|end_header_id|>\n\n1+1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦2<|eot_id|>⟧"
    )
    #expect(
      try template(#"{"chat_template": [{"name": "tool", "template": "x"}, {"name": "default", "template": "[INST]"}]}"#) == .inst
    )
    #expect { _ = try template(#"{"chat_template": "<start_of_turn>user"}"#) } throws: {
      ($0 as? GoraError)?.problem == "the chat template is none that is known: \"<start_of_turn>user\""
    }
  }

  @Test(.enabled(if: shared != nil))
  func qwensOwnTemplateBringsItsSystemMessage() throws {
    let path = try #require(shared) + "/data/tokenizers/qwen2.5/tokenizer_config.json"
    let document = try JSONDocument(path: path, text: Array(try #require(contents(path)).utf8))
    #expect(
      try Template.ofTokenizer(document)
        == .chatml(system: "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", startsWithBOS: false))
  }

  @Test func defaultsAreStated() {
    #expect(
      Template.explanation(chosen: nil, kinds: [.question, .chat], chat: .llama3(preamble: nil))
        == "template plain for question/answer rows (default), template llama3 for chat rows (the checkpoint's own)")
    #expect(Template.explanation(chosen: .alpaca, kinds: [.question], chat: nil) == "template alpaca")
    #expect(Template.explanation(chosen: .alpaca, kinds: [.tokens], chat: nil) == "no template (input_ids/labels rows)")
  }

  @Test func longRowsAreCutAndEmptyOnesDropped() throws {
    let rows: [DataRow] = [
      question,  // 8 ids: begin, 5 of the prompt, answer, end
      .instruction(Instruction(kind: .question, instruction: "1+1", response: "23456")),
      .instruction(Instruction(kind: .question, instruction: "long question", response: "1")),
      .tokens(ids: [5, 6], labels: [5, -100]),
      .tokens(ids: [5, 6], labels: [-100, 6]),
      .text(""),
    ]
    let result = encoder(nil, maxLength: 8).encode(rows)
    #expect(result.rows.count == 4)
    #expect(result.cut == 1)
    #expect(result.dropped == 2)
    #expect(result.rows[1].labels == [-100, -100, -100, -100, -100, 50, 51, 52])
    #expect(result.rows[1].wasCut)
    // Nothing but the end token is to be learnt of an empty text.
    #expect(result.rows[3] == EncodedRow(ids: [256, 257], labels: [-100, 257]))
  }

  @Test func promptsAreTheRowsBeforeTheAnswer() throws {
    for template in [
      Template.plain, .alpaca, .metamath, .inst, .chatml(system: nil, startsWithBOS: true), .llama3(preamble: nil),
    ] {
      for row in [question, withInput, chat] {
        let whole = try #require(encoder(template).encode(row))
        let prompt = encoder(template).encodePrompt(row)
        #expect(Array(whole.ids[..<prompt.count]) == prompt)
        #expect(whole.labels[prompt.count...].allSatisfy { $0 != -100 })
        #expect(whole.labels[prompt.count - 1] == -100)
        #expect(ByteEncoder.text(Array(whole.ids[prompt.count...])).hasPrefix(try #require(row.expectedAnswer)))
      }
    }
    #expect(encoder(nil).encodePrompt(.tokens(ids: [1, 2, 3], labels: [-100, -100, 3])) == [1, 2])
    #expect(encoder(nil).encodePrompt(.text("a")) == [256])
  }
}

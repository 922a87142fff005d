import GoraCore
import GoraFormats
import Testing

@testable import GoraText

private func encoder(_ template: Template?, bos: Int32? = ByteEncoder.bos, maxLength: Int = 10_000) -> RowEncoder {
  RowEncoder(encoder: ByteEncoder(), bos: bos, eos: ByteEncoder.eos, template: template, maxLength: maxLength)
}

/// A row's text with what is learnt in ⟦ ⟧.
private func marked(_ row: DataRow, _ template: Template?, bos: Int32? = ByteEncoder.bos) throws -> String {
  let encoded = try #require(try encoder(template, bos: bos).encode(row))
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

/// Rows of a file, a line each.
private func placed(_ rows: [DataRow]) -> DataRows {
  DataRows(rows: rows, places: rows.indices.map { .text("d", line: $0 + 1, column: 1) })
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
    #expect(try #require(try encoder(nil).encode(.text("<s>a"))).ids == [256, 97, 257])
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
    #expect(try encoder(template).stopTokens(for: question) == [257, 259])
    #expect(try encoder(.plain).stopTokens(for: question) == [257])
  }

  @Test func llama3() throws {
    let template = try #require(Template(named: "llama3"))
    #expect(
      try marked(chat, template)
        == "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Hello<|eot_id|>⟧<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Ciao<|eot_id|>⟧")
  }

  /// Earlier exchanges and the system text are part of the prompt.
  @Test func whatWasSaidBefore() throws {
    let row = DataRow.instruction(
      Instruction(kind: .query, instruction: "q", response: "r", system: "s", history: [.init("a", "b")]))
    #expect(try marked(row, .plain) == "<s>s\na\nb</s>q\n⟦r</s>⟧")
    #expect(
      try marked(row, .chatml)
        == "<s><|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
        + "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n⟦r<|im_end|>⟧")
    let system = DataRow.instruction(Instruction(kind: .query, instruction: "q", response: "r", system: "s"))
    #expect(try marked(system, .plain) == "<s>s\nq\n⟦r</s>⟧")
    #expect(ByteEncoder.text(try encoder(.plain).encodePrompt(row)) == "<s>s\na\nb</s>q\n")
  }

  @Test func turnsThatAreNotLearnt() throws {
    let chat = DataRow.chat([
      ChatTurn(.user, "u"), ChatTurn(.assistant, "no", isLearnt: false), ChatTurn(.user, "v"), ChatTurn(.assistant, "yes"),
    ])
    #expect(try marked(chat, .plain) == "<s>u\nno</s>v\n⟦yes</s>⟧")
    let own = ChatTemplate(
      "{% for m in messages %}{{ m.role[0] + m.content + '|' }}{% endfor %}", name: "own", specialTokens: [])
    #expect(try marked(chat, .tokenizer(ChatTemplates(own))) == "uu|ano|uv|a⟦yes|⟧")
    let generation = ChatTemplate(
      "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}{% generation %}{{ m.content }}{% endgeneration %}"
        + "{% endif %}|{% endfor %}", name: "own", specialTokens: [])
    #expect(try marked(chat, .tokenizer(ChatTemplates(generation))) == "u|no|v|⟦yes⟧|")
  }

  /// What gora's own templates have no place for is refused by name, not left out.
  @Test(arguments: [
    (#"{"messages": [{"role": "tool", "content": "7"}, {"role": "assistant", "content": "a"}]}"#, "role \"tool\" of turn 1"),
    (#"{"messages": [{"role": "assistant", "content": null, "tool_calls": [{}]}]}"#, "\"tool_calls\" of turn 1"),
    (
      #"{"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}]}, {"role": "assistant", "content": "a"}]}"#,
      "turn 1"
    ),
    (#"{"messages": [{"role": "assistant", "content": "a", "reasoning_content": "t"}]}"#, "\"reasoning_content\""),
    (#"{"messages": [{"role": "assistant", "content": "a", "reasoning": "t"}]}"#, "\"reasoning\""),
    (#"{"query": "q", "response": "r", "tools": [{"name": "f"}]}"#, "\"tools\""),
    (#"{"query": "q", "response": "r", "chat_template_kwargs": {"enable_thinking": false}}"#, "\"enable_thinking\""),
  ]) func whatTemplatesCannotSay(_ row: String, _ part: String) throws {
    let data = try DataFile.parse(Array(row.utf8), path: "d")
    for template in [Template.plain, .alpaca, .chatml, .llama3] {
      let error = try #require(throws: GoraError.self) { try encoder(template).encode(data) }
      #expect(error.status == .data && error.location == .text("d", line: 1, column: 1))
      #expect(error.problem.contains(part) && error.problem.contains(template.name), "\(error.problem)")
      let skipped = try encoder(template).encode(data, skipBadRows: true)
      #expect(skipped.badRows == 1 && skipped.rows.isEmpty && skipped.firstBadRow?.problem == error.problem)
    }
  }

  /// Whole messages reach the checkpoint's template, and what else a row gives it.
  @Test func theCheckpointsTemplateSeesAll() throws {
    let data = try DataFile.parse(
      Array(
        #"""
        {"messages": [{"role": "developer", "content": [{"type": "text", "text": "d"}]}, {"role": "assistant", "content": null,
        "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, null, true]}}}]}, {"role": "tool", "content": "7",
        "tool_call_id": "c"}, {"role": "assistant", "content": "a"}], "tools": "[{\"name\": \"f\"}]", "chat_template_kwargs": {"deep": 1}}
        """#.replacing("\n", with: " ").utf8), path: "d")
    let source =
      "{{ tools | tojson }}{{ deep }}{% for m in messages %}{{ '[' + m.role }}{% if m.content is string %}{{ m.content }}"
      + "{% elif m.content %}{{ m.content[0].text }}{% endif %}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}"
      + "{{ m.tool_call_id or '' }}{{ ']' }}{% endfor %}"
    func own(_ name: String) -> ChatTemplate { ChatTemplate(name + source, name: name, specialTokens: []) }
    let expected =
      #"[{"name": "f"}]1[developerd][assistant⟦{"function": {"name": "f", "arguments": {"x": [1, 2.5, null, true]}}}]⟧[tool7c][assistant⟦a]⟧"#
    #expect(try marked(data.rows[0], .tokenizer(ChatTemplates(own("standard ")))) == "standard " + expected)
    // The template for tools, where there is one and the row has some.
    let both = Template.tokenizer(ChatTemplates(own("standard "), toolUse: own("tools ")))
    #expect(try marked(data.rows[0], both) == "tools " + expected)
    #expect(try marked(question, both).hasPrefix("standard null"))
    #expect(throws: GoraError.self) { try marked(question, .tokenizer(ChatTemplates(nil, toolUse: own("tools ")))) }
  }

  /// As Transformers' `apply_chat_template` prepares messages: what is null is not there, and reasoning stands under both names that templates
  /// read (`_alias_reasoning_fields`); an empty list of tools is one.
  @Test func messagesAreNormalised() throws {
    let own = ChatTemplate(
      "{{ tools is none }}{% for m in messages %}{% for k, v in m.items() %}{{ k }}={{ v }},{% endfor %};{% endfor %}",
      name: "own",
      specialTokens: [])
    func written(_ message: String, _ rest: String = "") throws -> String {
      let row = #"{"messages": [{"role": "user", "content": "u", "name": null}, \#(message)]\#(rest)}"#
      let data = try DataFile.parse(Array(row.utf8), path: "d")
      guard case .chat(let chat) = data.rows[0] else { return "" }
      return try own.rendered(chat).text
    }
    let user = "role=user,content=u,;"
    #expect(
      try written(#"{"role": "assistant", "content": null, "tool_calls": [], "train": false}"#)
        == "True\(user)role=assistant,tool_calls=[],train=False,;")
    #expect(
      try written(#"{"role": "assistant", "content": "a", "reasoning": "r", "train": false}"#, #", "tools": []"#)
        == "False\(user)thinking=r,role=assistant,content=a,reasoning=r,train=False,reasoning_content=r,;")
    #expect(
      try written(#"{"role": "assistant", "content": "a", "thinking": "t", "reasoning_content": "r", "train": false}"#)
        == "True\(user)thinking=t,role=assistant,content=a,reasoning_content=r,train=False,;")
    #expect(
      try written(#"{"content": "a", "role": "assistant", "train": false}"#)
        == "True\(user)content=a,role=assistant,train=False,;")
    let toolless = try DataFile.parse(Array(#"{"query": "q", "response": "r", "tools": []}"#.utf8), path: "d")
    #expect(try marked(toolless.rows[0], .plain).contains("⟦r"))
  }

  /// Templates that know questions and answers alone put all that a system says before the question.
  @Test func twoSystemTurns() throws {
    let chat = DataRow.chat([ChatTurn(.system, "S1"), ChatTurn(.system, "S2"), ChatTurn(.user, "u"), ChatTurn(.assistant, "a")])
    #expect(try marked(chat, .plain).contains("S1\nS2\nu"))
  }

  /// `strftime_now` is Python's `datetime.now()`, which has no zone, of the date that the template is given.
  @Test func dates() throws {
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}{{ strftime_now('%d %b %Y%Z%-z%Ez %%Z%-m%') }}"
    func written(_ date: Int) throws -> String {
      try ChatTemplate(source, name: "own", specialTokens: [], date: date).rendered([ChatTurn(.user, "u")]).text
    }
    #expect(try written(0) == "u01 Jan 1970 %Z1%" && written(1_000_000_000) == "u09 Sep 2001 %Z9%")
    #expect(ChatTemplates(ChatTemplate(source, name: "own", specialTokens: [])).tellsDate)
    #expect(!ChatTemplates(ChatTemplate("{{ messages }}", name: "own", specialTokens: [])).tellsDate)
  }

  /// A text that is no template is no matter to rows that another one wraps.
  @Test func templatesThatAreNotUsed() throws {
    let broken = ChatTemplates(ChatTemplate("{% for %}", name: "own", specialTokens: []))
    let encoder = RowEncoder(
      encoder: ByteEncoder(), bos: 256, eos: 257, template: nil, chatTemplate: .tokenizer(broken), maxLength: 99)
    #expect(try encoder.encode(question) != nil)
    #expect(throws: GoraError.self) { try broken.check() }
    #expect(throws: GoraError.self) { try encoder.encode(chat) }
  }

  /// A message may have the letters that stand in an answer's place.
  @Test func lettersForPrivateUse() throws {
    let row = DataRow.chat([ChatTurn(.user, "\u{F8F0}\u{F8F1}\u{F8F2}"), ChatTurn(.assistant, "\u{F8F0}\u{F8F1}\u{F8F2}")])
    let own = ChatTemplate(
      "{% for m in messages %}{{ m.role[0] + m.content + '|' }}{% endfor %}", name: "own", specialTokens: [])
    #expect(
      try marked(row, .tokenizer(ChatTemplates(own))) == "u\u{F8F0}\u{F8F1}\u{F8F2}|a⟦\u{F8F0}\u{F8F1}\u{F8F2}|⟧")
  }

  /// An end token that a text brings along stays the only one.
  @Test func endTokensStandOnce() throws {
    #expect(try marked(.text("<s>Hi</s>"), nil) == "⟦<s>Hi</s>⟧")
    let answer = DataRow.instruction(Instruction(kind: .completion, instruction: "p", response: "a</s>"))
    #expect(try marked(answer, .plain) == "<s>p⟦a</s>⟧")
    let empty = DataRow.instruction(Instruction(kind: .completion, instruction: "p</s>", response: ""))
    #expect(try marked(empty, .plain) == "<s>p</s>⟦</s>⟧")
    #expect(try marked(.text("</s>"), nil) == "<s>⟦</s></s>⟧")
    #expect(try marked(.text("Hi</s> \n"), nil) == "<s>⟦Hi</s> \n</s>⟧")
    // A letter that has the end token's id, as an unknown one may, ends nothing.
    let letter = RowEncoder(encoder: ByteEncoder(), bos: ByteEncoder.bos, eos: 0x69, template: nil, maxLength: 99)
    #expect(try letter.encode(.text("Hi"))?.ids == [256, 0x48, 0x69, 0x69])
  }

  @Test func chatsThatEndUnanswered() throws {
    let encoded = try encoder(.chatml).encode(placed([chat, question]))
    #expect(encoded.unanswered == 1 && encoded.rows.count == 2)
    #expect(encoded.rows[1].place == .text("d", line: 2, column: 1))
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

  /// Zephyr's shape: the answer begins where the text that asks for it ends, and ends with its end token, not the newline behind.
  @Test func theCheckpointsOwnTemplateIsRendered() throws {
    let source =
      "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
      + "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    let own = Template.tokenizer(ChatTemplates(ChatTemplate(source, name: "own", specialTokens: [("eos_token", "</s>")])))
    #expect(try marked(question, own) == "<|user|>\n1+1?</s>\n<|assistant|>\n⟦2</s>⟧\n")
    #expect(
      try marked(chat, own)
        == "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\n⟦Hello</s>⟧\n<|user|>\n Bye </s>\n"
        + "<|assistant|>\n⟦Ciao</s>⟧\n")
    #expect(ByteEncoder.text(try encoder(own).encodePrompt(question)) == "<|user|>\n1+1?</s>\n<|assistant|>\n")
    #expect(try encoder(own).stopTokens(for: question) == [257])
  }

  /// Without a word for asking, what stands before an answer is its header, but for a blank, which a prompt does not have. With one,
  /// what the template puts between is the answer's: generation has to say it.
  @Test(arguments: [
    ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}", "<|user|>1+1?\n<|assistant|>⟦2⟧\n"),
    (
      "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
      "[1+1?]⟦ 2</s>⟧"
    ),
    (
      "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content }}\n{% endfor %}"
        + "{% if add_generation_prompt %}<|assistant|>{% endif %}", "<|user|>1+1?\n<|assistant|>⟦<think></think>2⟧\n"
    ),
    // The question of the last turn, when it is the last, has more: the answer begins behind what it has when answered.
    (
      "{% for m in messages %}{% if m.role == 'user' %}[{% if loop.last %}now: {% endif %}{{ m.content }}]{% else %}{{ m.content }}{% endif %}"
        + "{% endfor %}", "[1+1?]⟦2⟧"
    ),
  ]) func answersBeginWhereGenerationDoes(_ source: String, _ expected: String) throws {
    let own = Template.tokenizer(ChatTemplates(ChatTemplate(source, name: "own", specialTokens: [("eos_token", "</s>")])))
    #expect(try marked(question, own) == expected)
    #expect(ByteEncoder.text(try encoder(own).encodePrompt(question)) == expected.prefix { $0 != "⟦" })
  }

  @Test func theTemplatesOwnMarksSayWhatIsLearnt() throws {
    let source =
      "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
      + "{% else %}{{ m.content }}|{% endif %}{% endfor %}"
    let own = Template.tokenizer(ChatTemplates(ChatTemplate(source, name: "own", specialTokens: [])))
    #expect(try marked(chat, own) == "Be kind.|Hi|⟦Hello⟧ Bye |⟦Ciao⟧")
  }

  @Test func whatATemplateRefusesOrChangesLaterIsNamed() throws {
    let refuses = ChatTemplates(
      ChatTemplate("{{ raise_exception('roles must alternate') }}", name: "own", specialTokens: []))
    let error = #expect(throws: GoraError.self) { try encoder(.tokenizer(refuses)).encode(placed([question])) }
    #expect(error?.problem.contains("roles must alternate") == true)
    #expect(error?.location == .text("d", line: 1, column: 1))
    // Earlier answers lose a mark once others follow, as thoughts do in some templates.
    let changes = ChatTemplates(
      ChatTemplate(
        "{% for m in messages %}{{ m.content }}{% if loop.last %}!{% endif %}{% endfor %}", name: "own", specialTokens: []))
    let changed = #expect(throws: GoraError.self) { try encoder(.tokenizer(changes)).encode(placed([chat])) }
    #expect(changed?.problem.contains("turn 3 is rendered in another way") == true)
  }

  @Test func defaultsAreStated() {
    #expect(
      Template.explanation(chosen: nil, kinds: [.question, .chat], chat: .llama3)
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
    let result = try encoder(nil, maxLength: 8).encode(placed(rows))
    #expect(result.rows.count == 4)
    #expect(result.cut == 1)
    #expect(result.dropped == 2)
    #expect(result.rows[1].labels == [-100, -100, -100, -100, -100, 50, 51, 52])
    #expect(result.rows[1].cutTokens > 0)
    // Nothing but the end token is to be learnt of an empty text.
    #expect(result.rows[3].ids == [256, 257] && result.rows[3].labels == [-100, 257])
  }

  @Test func promptsAreTheRowsBeforeTheAnswer() throws {
    for template in [
      Template.plain, .alpaca, .metamath, .chatml, .llama3,
    ] {
      for row in [question, withInput, chat] {
        let whole = try #require(try encoder(template).encode(row))
        let prompt = try encoder(template).encodePrompt(row)
        #expect(Array(whole.ids[..<prompt.count]) == prompt)
        #expect(whole.labels[prompt.count...].allSatisfy { $0 != -100 })
        #expect(whole.labels[prompt.count - 1] == -100)
        #expect(ByteEncoder.text(Array(whole.ids[prompt.count...])).hasPrefix(try #require(row.expectedAnswer)))
      }
    }
    #expect(try encoder(nil).encodePrompt(.tokens(ids: [1, 2, 3], labels: [-100, -100, 3])) == [1, 2])
    #expect(try encoder(nil).encodePrompt(.text("a")) == [256])
  }
}

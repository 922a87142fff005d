import GoraCore
import GoraFormats
import GoraJinja
import GoraModels
import GoraReport
import GoraStages
import GoraText

extension Target {
  static let all: [Target] = [
    Target("json", json), Target("config", config), Target("plan", plan), Target("scores", scores),
    Target("safetensors", safetensors), Target("adapter", adapter), Target("gradients", gradients), Target("rows", rows),
    Target("tasks", tasks),
    Target("compressed", compressed), Target("tokenizer", tokenizer), Target("text", text), Target("jinja", jinja),
    Target("metrics", metrics), Target("report", report), Target("gguf", gguf),
  ]

  /// What is written reads back as the same value.
  private static func json(_ bytes: UnsafeRawBufferPointer) throws {
    let value = try JSON(parsing: bytes)
    for text in [value.compact(), value.pretty()] {
      let again = try JSON(parsing: text)
      require(again.compact() == value.compact(), "JSON that was written reads back")
    }
  }

  private static func document(_ bytes: UnsafeRawBufferPointer) throws -> JSONDocument {
    try JSONDocument(path: "input.json", text: Array(bytes))
  }

  private static func config(_ bytes: UnsafeRawBufferPointer) throws {
    let config = try DecoderConfig(reading: document(bytes))
    if config.headSize <= 256 {
      require(config.rotary.inverseFrequencies(headSize: config.headSize).count == config.headSize / 2, "a frequency a pair")
    }
  }

  /// Rows of gora-eval's own tasks, and what is made of them; what a model or a judge says.
  private static func tasks(_ bytes: UnsafeRawBufferPointer) throws {
    let text = String(decoding: bytes, as: UTF8.self)
    _ = judgeRating(text)
    for style in ProgramStyle.allCases { _ = style.completion(text) }
    for kind in CommonsenseAnswer.allCases {
      if let word = kind.first(in: text) { require(text.contains(word), "a word of the text") }
    }
    for row in try DataFile.parse(Array(bytes), path: "input.json", rows: { row throws(GoraError) in [row] }).rows {
      if let question = try? ChoiceQuestion(row) {
        require(question.choices.indices.contains(question.gold) && question.choices.count > 1, "one of the choices is right")
        require(question.choices.allSatisfy { $0.characters > 0 || $0.text.isEmpty }, "a length to divide by")
      }
      if let problem = try? ProgramProblem(row) { require(problem.program("").contains(problem.test), "the test is run") }
      if let chat = try? TurnsQuestion(row) { require((1...2).contains(chat.turns.count), "one turn or two") }
      _ = try? TurnAnswers(row)
    }
  }

  /// A plan that is accepted is written and read back the same.
  private static func plan(_ bytes: UnsafeRawBufferPointer) throws {
    let plan = try RankPlan(reading: document(bytes).root)
    let text = plan.json.pretty()
    let again = try RankPlan(reading: JSONDocument(path: "again", text: Array(text.utf8)).root)
    require(again.json.pretty() == text, "a plan that was written reads back")
  }

  private static func scores(_ bytes: UnsafeRawBufferPointer) throws {
    let scores = try ScoreTable(reading: document(bytes).root)
    let text = scores.json.pretty()
    let again = try ScoreTable(reading: JSONDocument(path: "again", text: Array(text.utf8)).root)
    require(again.json.pretty() == text, "scores that were written read back")
  }

  private static func safetensors(_ bytes: UnsafeRawBufferPointer) throws {
    let file = try SafetensorsFile(path: Scratch.file("model.safetensors", bytes))
    for tensor in file.tensors where tensor.count < 1 << 16 {
      try require(tensor.toFloat().count == tensor.count, "as many numbers as the shape says")
    }
  }

  /// A model in one file: its metadata as the files of a checkpoint, its weights by their names at Hugging Face.
  private static func gguf(_ bytes: UnsafeRawBufferPointer) throws {
    let model = try ModelFolder(path: Scratch.file("model.gguf", bytes))
    for name in model.names {
      guard let tensor = model.tensor(name), tensor.count < 1 << 16 else { continue }
      try require(tensor.toFloat().count == tensor.count, "as many numbers as the shape says")
    }
    for name in GGUFTokenizer.names { _ = try model.files.document(name) }
    _ = try Tokenizer(of: model.files)?.encode("the cats\n 12 \u{E9}\u{301}<tag>", addSpecialTokens: true)
    _ = try DecoderConfig(of: model)
  }

  /// The first bytes, up to a zero, are adapter_config.json, the rest the weights.
  private static func adapter(_ bytes: UnsafeRawBufferPointer) throws {
    let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return }
    _ = Scratch.file("adapter_config.json", parts[0])
    _ = Scratch.file("adapter_model.safetensors", parts[1])
    _ = try? AdapterHeader(readingFolder: Scratch.folder, kinds: AdapterKinds.all)
    let adapter = try Adapter(readingFolder: Scratch.folder)
    for module in adapter.modules + adapter.folded.modules {
      require(module.a.count == module.rank * module.shape[1], "A is rank by in")
      require(module.b.count == module.rank * module.shape[0], "B is out by rank")
    }
  }

  private static func gradients(_ bytes: UnsafeRawBufferPointer) throws {
    let file = try GradientFileReader(bytes: Array(bytes), path: "grad.h5")
    for name in file.names {
      let shape = try file.shape(name)
      if shape.reduce(1, { $0.multipliedReportingOverflow(by: $1).partialValue }) < 1 << 16 {
        try require(file.read(name).count == shape.reduce(1, *), "as many numbers as the shape says")
      }
    }
    for inputs in try file.inputs() where inputs.ratios.count * inputs.inputSize < 1 << 16 {
      try require(
        file.components(of: inputs, count: inputs.ratios.count).count == inputs.ratios.count * inputs.inputSize,
        "a component a ratio")
    }
    _ = try file.steps()
    _ = try file.track()
    _ = try file.attribute("provenance")
  }

  private static func rows(_ bytes: UnsafeRawBufferPointer) throws {
    let data = try DataFile.parse(Array(bytes), path: "input.jsonl", vocabularySize: 300, skipBadRows: true)
    let encoder = RowEncoder(encoder: ByteEncoder(), bos: 256, eos: 257, template: nil, maxLength: 512)
    for row in data.rows {
      guard let encoded = try? encoder.encode(row) else { continue }
      require(encoded.ids.count == encoded.labels.count && encoded.ids.count <= 512, "a label an id, cut")
      if row.kind != .tokens {
        require(zip(encoded.ids, encoded.labels).allSatisfy { $1 == DataRow.notLearnt || $0 == $1 }, "labels are ids")
      }
    }
  }

  /// A data file that may be gzip or zstd.
  private static func compressed(_ bytes: UnsafeRawBufferPointer) throws {
    _ = try DataFile.read([Scratch.file("rows.jsonl", bytes)], skipBadRows: true)
  }

  private static let samples = [
    "", "Hello world", "  two  spaces\n\n", "naïve 12345 → 😀é", "<s>a</s> b<|im_end|>", "\u{0}\u{7F}\u{2581}x",
  ]

  private static func tokenizer(_ bytes: UnsafeRawBufferPointer) throws {
    let tokenizer = try Tokenizer(bytes: Array(bytes), path: "tokenizer.json")
    for sample in samples {
      let ids = tokenizer.encode(sample, addSpecialTokens: true)
      require(ids.allSatisfy { (0..<Int32(tokenizer.vocabularySize)).contains($0) }, "ids within the vocabulary")
      _ = tokenizer.decode(ids)
    }
  }

  private static let smallTokenizers: [Tokenizer] = ["Tests/Fixtures/tokenizer/trained.json", "pipelines/base/tokenizer.json"].map
  { name in
    do { return try Tokenizer(contentsOf: "\(root)/\(name)") } catch { fatalError("\(error)") }
  }
  /// The project's folder.
  private static let root = #filePath.split(separator: "/").dropLast(4).reduce("") { "\($0)/\($1)" }

  private static func text(_ bytes: UnsafeRawBufferPointer) throws {
    let text = String(decoding: bytes, as: UTF8.self)
    for tokenizer in smallTokenizers {
      let tokens = tokenizer.tokenized(text)
      let ids = tokens.ids
      require(ids == tokenizer.encode(text), "one encoding")
      require(ids.count == tokens.offsets.count, "a place for each token")
      require(tokens.offsets.allSatisfy { $0.upperBound <= text.utf8.count }, "places in the text")
      require(zip(tokens.offsets, tokens.offsets.dropFirst()).allSatisfy { $0.lowerBound <= $1.lowerBound }, "places in order")
      require(ids.allSatisfy { (0..<Int32(tokenizer.vocabularySize)).contains($0) }, "ids within the vocabulary")
      _ = tokenizer.decode(ids)
    }
  }

  private static let conversation: [(name: String, value: JinjaValue)] = [
    (
      "messages",
      .list([
        .dict([.init("role", .string("system")), .init("content", .string(" s "))]),
        .dict([.init("role", .string("user")), .init("content", .list([.dict([.init("type", .string("text"))])]))]),
        .dict([.init("role", .string("assistant")), .init("content", .string("naïve 😀\n")), .init("tool_calls", .none)]),
      ])
    ),
    ("tools", .list([.dict([.init("name", .string("f")), .init("n", .int(3)), .init("x", .float(0.5))])])),
    ("documents", .none), ("add_generation_prompt", .bool(true)), ("bos_token", .string("<s>")), ("eos_token", .string("</s>")),
  ]

  /// A chat template renders within its limits, and twice the same.
  private static func jinja(_ bytes: UnsafeRawBufferPointer) throws {
    var limits = JinjaLimits()
    (limits.steps, limits.output, limits.memory) = (20_000, 1 << 20, 16 << 20)
    let template = try JinjaTemplate(String(decoding: bytes, as: UTF8.self), name: "chat_template.jinja")
    let rendered = try template.render(conversation, now: 0, limits: limits)
    require(rendered.text.count <= limits.output, "a bounded text")
    require(rendered.generations.allSatisfy { $0.upperBound <= rendered.text.count }, "marks in the text")
    let again = try template.render(conversation, now: 0, limits: limits)
    require(again.text == rendered.text, "the same text")
  }

  /// Any file that gora-report may meet, such as a log of metrics: read, and its figures made.
  private static func metrics(_ bytes: UnsafeRawBufferPointer) throws { try report(bytes, .text, dryRun: true) }

  /// The same, drawn as a page and as text.
  private static func report(_ bytes: UnsafeRawBufferPointer) throws {
    for format in [ReportStage.Format.html, .text] { try report(bytes, format, dryRun: false) }
  }

  private static func report(_ bytes: UnsafeRawBufferPointer, _ format: ReportStage.Format, dryRun: Bool) throws {
    let configuration = try ReportStage.Configuration(
      inputs: [Scratch.file("input", bytes)], figure: nil, format: format, textStyle: TextStyle(unicode: true, color: false),
      output: .standardOutput, dryRun: dryRun)
    _ = try ReportStage(configuration).run(events: { _ in })
  }
}

/// One token a byte.
private struct ByteEncoder: TextEncoder {
  func isSpecial(_ id: Int32) -> Bool { id >= 256 }
  func addedToken(_ id: Int32) -> [UInt8]? { nil }
  var beginTokens: [Int32] { [256] }
  var endTokens: [Int32] { [] }
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] { text.utf8.map(Int32.init) }
  func tokenized(_ text: String) -> TokenizedText {
    TokenizedText(ids: text.utf8.map(Int32.init), offsets: (0..<text.utf8.count).map { $0..<$0 + 1 })
  }
}

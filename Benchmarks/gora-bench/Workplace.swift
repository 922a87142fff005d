import Glibc
import GoraCore
import GoraFormats
import GoraText

/// Where the tools, the models, the rows and the results of a measurement are.
struct Workplace {
  /// Folder of the tools.
  let tools: String
  /// Folder of models and of what the runs write; models stay for the next time.
  let folder: String
  /// This program, for what has to run in a process of its own.
  let program: String
  let threads: Int
  let children: ChildRunner
  /// Talks to the person who waits.
  let say: (String) -> Void

  /// A model of random weights, made on first use.
  func model(_ preset: ModelPreset, dtype: String, layers: Int? = nil) throws(GoraError) -> String {
    let path = "\(folder)/models/\(preset.name)\(layers.map { "-\($0)-layers" } ?? "")-\(dtype)"
    if access("\(path)/config.json", R_OK) == 0 { return path }
    say("making \(path)")
    let depth = layers.map { ["--layers", "\($0)"] } ?? []
    _ = try children.run([program, "make-model", path, "--preset", preset.name, "--dtype", dtype] + depth)
    return path
  }

  /// Rows of random ids, every one learnt.
  func randomRows(_ count: Int, tokens: Int, vocabulary: Int) throws(GoraError) -> String {
    let path = "\(folder)/random-\(count)x\(tokens)-\(vocabulary).jsonl"
    var random = Random(seed: 0, stream: "gora-bench/rows")
    var text = ""
    for _ in 0..<count {
      // Ids 0 to 2 are special in these vocabularies.
      let ids = JSON.integers((0..<tokens).map { _ in random.integer(in: 3...vocabulary - 1) })
      text += JSON.object(["input_ids": ids, "labels": ids]).compact() + "\n"
    }
    try AtomicFile.write(path: path, text: text)
    return path
  }

  /// Prompts that are exactly `tokens` long under the tokenizer that RandomModel writes: a byte a token, and a line's end.
  func prompts(_ count: Int, tokens: Int) throws(GoraError) -> String {
    let path = "\(folder)/prompts-\(count)x\(tokens).jsonl"
    var random = Random(seed: 0, stream: "gora-bench/prompts")
    var text = ""
    for _ in 0..<count {
      let letters = (1..<tokens).map { _ in Character(UnicodeScalar(UInt8(random.integer(in: 97...122)))) }
      text += JSON.object(["question": JSON(String(letters)), "answer": "#### 0"]).compact() + "\n"
    }
    try AtomicFile.write(path: path, text: text)
    return path
  }

  /// GSM8K's training rows as ids and labels: begin token, question, line's end; learnt: answer, end token.
  /// - Parameter data: a folder with gsm8k/train.jsonl and tokenizers/llama2/tokenizer.json.
  func gsm8kRows(_ count: Int, data: String) throws(GoraError) -> (path: String, lengths: [Operations.Sequence]) {
    let path = "\(folder)/gsm8k-\(count).jsonl"
    let tokenizer = try Tokenizer(contentsOf: "\(data)/tokenizers/llama2/tokenizer.json")
    let source = "\(data)/gsm8k/train.jsonl"
    var (text, lengths): (String, [Operations.Sequence]) = ("", [])
    for (number, line) in try readWholeFile(source).split(separator: 0x0A).prefix(count).enumerated() {
      let row = try JSONDocument(path: source, text: Array(line), firstLine: number + 1).root
      let question = [1] + tokenizer.encode(try row.required("question").string + "\n").map { Int($0) }
      let answer = tokenizer.encode(try row.required("answer").string).map { Int($0) } + [2]
      lengths.append(Operations.Sequence(tokens: question.count + answer.count, labelled: answer.count))
      let labels = [Int](repeating: -100, count: question.count) + answer
      text += JSON.object(["input_ids": .integers(question + answer), "labels": .integers(labels)]).compact() + "\n"
    }
    guard lengths.count == count else { throw GoraError(.data, at: .file(source), "\(lengths.count) rows; expected \(count)") }
    try AtomicFile.write(path: path, text: text)
    return (path, lengths)
  }

  /// A plain LoRA of rank 8 for a model, to train from.
  func adapter(_ model: String) throws(GoraError) -> String {
    let (plan, adapter) = ("\(folder)/plan.json", "\(folder)/adapter")
    _ = try children.run(tool("plan", ["--uniform", "--model", model, "--rank", "\(Row.rank)", "-o", plan]))
    _ = try children.run(tool("init", [plan, "--model", model, "--method", "lora", "-o", adapter]))
    return adapter
  }

  /// A quiet command line of one of the tools.
  func tool(_ stage: String, _ arguments: [String], threads: Int? = nil) -> [String] {
    ["\(tools)/gora-\(stage)"] + arguments + ["--quiet", "--threads", "\(threads ?? self.threads)"]
  }
}

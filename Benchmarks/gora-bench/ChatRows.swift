import GoraCore
import GoraFormats
import GoraText

/// How long a checkpoint's chat template takes to write a row and to find what is learnt of it, without tokenising.
struct ChatRows {
  /// Holds chat_templates/*.jinja.
  let data: String

  private static let runs = 200

  func run() throws(GoraError) -> Measured {
    let folder = "\(data)/chat_templates"
    let one = row("How many bears are there in the wood behind the house?", "There are three of them, and a girl.", turns: 1)
    let four = row("And how many in winter?", "They sleep then, so it is hard to say.", turns: 4)
    var table = TextTable(["a row of a chat, \u{B5}s, \(Self.runs) runs", "1 answer", "+-", "4 answers", "+-"])
    var json: [JSON] = []
    for name in try FileProbe.names(in: folder).filter({ $0.hasSuffix(".jinja") }).sorted() {
      let text = String(decoding: try readWholeFile("\(folder)/\(name)"), as: UTF8.self)
      let template = ChatTemplate(text, name: name, specialTokens: [("bos_token", "<s>"), ("eos_token", "</s>")])
      let encoder = RowEncoder(
        encoder: NoTokens(), bos: nil, eos: 0, template: .tokenizer(ChatTemplates(template)), maxLength: 1)
      let samples = [one, four].map { row in sample(encoder, row) }
      table.append(
        [name] + samples.flatMap { [$0.map { fixed($0.median * 1e6, 0) } ?? "-", $0.map { percent($0.spread) } ?? "-"] })
      json.append(.object(["template": JSON(name), "one": samples[0]?.json ?? nil, "four": samples[1]?.json ?? nil]))
    }
    return Measured(name: "chat", text: "Chat templates (-: the template refuses the row)\n\n" + table.text, json: JSON(json))
  }

  private func row(_ request: String, _ answer: String, turns: Int) -> DataRow {
    .chat(Conversation((0..<turns).flatMap { _ in [ChatTurn(.user, request), ChatTurn(.assistant, answer)] }))
  }

  private func sample(_ encoder: RowEncoder, _ row: DataRow) -> Sample? {
    var sample = Sample()
    for _ in 0..<Self.runs {
      let start = ContinuousClock.now
      do { _ = try encoder.encode(row) } catch { return nil }
      sample.append((ContinuousClock.now - start) / .seconds(1))
    }
    return sample
  }
}

private struct NoTokens: TextEncoder {
  var beginTokens: [Int32] { [] }
  var endTokens: [Int32] { [] }
  func isSpecial(_ id: Int32) -> Bool { false }
  func addedToken(_ id: Int32) -> [UInt8]? { nil }
  func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] { [] }
  func tokenized(_ text: String) -> TokenizedText { TokenizedText(ids: [], offsets: []) }
}

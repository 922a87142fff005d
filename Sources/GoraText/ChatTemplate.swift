import GoraCore
import GoraFormats

extension Template {
  /// The checkpoint's own chat template (`--template tokenizer`), told by what its Jinja text contains.
  ///
  /// - Parameter config: tokenizer_config.json; nil where the checkpoint has none.
  /// - Returns: nil where it has no `chat_template`.
  /// - Throws: `GoraError` (exit 65) where the template is none of the known ones.
  package static func ofTokenizer(_ config: JSONDocument?) throws(GoraError) -> Template? {
    guard let field = try config?.root.optional("chat_template") else { return nil }
    let text: String
    if case .array = field.value.content {
      text = try namedDefault(field)
    } else {
      text = try field.string
    }
    if text.contains("<|im_start|>") {
      return .chatml(system: defaultSystem(in: text), startsWithBOS: text.contains("bos_token"))
    }
    if text.contains("<|start_header_id|>") {
      // Llama 3.1 and later put two dates first; theirs is the clock's only where the caller asks for it.
      let isDated = text.contains("Cutting Knowledge Date: December 2023")
      return .llama3(preamble: isDated ? "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n" : nil)
    }
    if text.contains("[INST]") { return .inst }
    throw field.error(
      "the chat template is none that is known: \(excerpt(text))",
      hint: "known are ChatML, Llama 3 and [INST]; choose another --template or write a template file")
  }

  /// A list of named templates: the one called `default`.
  private static func namedDefault(_ list: JSONField) throws(GoraError) -> String {
    for element in try list.elements where try element.required("name").string == "default" {
      return try element.required("template").string
    }
    throw list.error("\(list.name) has no template named \"default\"")
  }

  /// The system message that a ChatML template spells out for chats that have none (Qwen 2, SmolLM).
  private static func defaultSystem(in text: String) -> String? {
    let opening = "<|im_start|>system"
    var rest = Substring(text)
    while let start = rest.firstRange(of: opening) {
      rest = rest[start.upperBound...]
      // Jinja text has the newline itself or its escape.
      guard let newline = ["\\n", "\n"].first(where: rest.hasPrefix) else { continue }
      let line = rest.dropFirst(newline.count)
      guard let end = line.firstRange(of: "<|im_end|>") else { return nil }
      let message = line[..<end.lowerBound]
      if !message.isEmpty, !message.contains(where: { "'\"{}+".contains($0) }) { return String(message) }
    }
    return nil
  }

  private static func excerpt(_ text: String) -> String {
    let line = text.prefix(60).map { $0.isNewline ? " " : String($0) }.joined()
    return "\"\(line)\(text.count > 60 ? "…" : "")\""
  }
}

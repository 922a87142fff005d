import GoraCore
import GoraFormats
import GoraText

extension ChatTemplates {
  /// The chat templates of a checkpoint, as Transformers 5.23 finds them: chat_template.jinja and additional_chat_templates/, else
  /// chat_template.json, else `chat_template` of tokenizer_config.json, a text or a list of named ones; nil where there is none.
  ///
  /// - Parameters:
  ///   - specialTokens: by name, for the templates.
  ///   - date: what they take for the present, as `ChatTemplate.present` has it.
  init?(of files: CheckpointFiles, specialTokens: [(name: String, text: String)], date: Int) throws(GoraError) {
    func template(_ text: String, _ name: String) -> ChatTemplate {
      ChatTemplate(text, name: name, specialTokens: specialTokens, date: date)
    }
    func file(_ name: String) throws(GoraError) -> ChatTemplate? {
      try files.text(name).map { template(String(decoding: $0, as: UTF8.self), files.place(name)) }
    }
    func setting(_ name: String) throws(GoraError) -> JSONField? { try files.document(name)?.root.optional("chat_template") }
    let standard = try file("chat_template.jinja")
    let toolUse = try file("additional_chat_templates/tool_use.jinja")
    if standard != nil || toolUse != nil {
      self.init(standard, toolUse: toolUse)
      return
    }
    var field = try setting("chat_template.json")
    if field == nil { field = try setting("tokenizer_config.json") }
    guard let field else { return nil }
    let place = "\(field.document.path) (chat_template)"
    guard case .array = field.value.content else {
      self.init(template(try field.string, place))
      return
    }
    var named: [String: ChatTemplate] = [:]
    for element in try field.elements {
      let name = try element.required("name").string
      named[name] = template(try element.required("template").string, "\(place) \(name)")
    }
    self.init(named["default"], toolUse: named["tool_use"])
  }
}

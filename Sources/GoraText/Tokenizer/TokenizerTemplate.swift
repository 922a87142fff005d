/// The ids that a TemplateProcessing puts before and behind a text.
struct TokenizerTemplate: Sendable {
  var before: [Int32]
  var after: [Int32]
}

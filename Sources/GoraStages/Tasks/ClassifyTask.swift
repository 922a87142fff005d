import GoraText

/// Texts whose answers are labels, such as GLUE's: by the answer that the model writes, and by the label whose first token it holds for the
/// likeliest.
package struct ClassifyTask: LabelsTask {
  package static let name = "classify"
  package static let metrics = [
    "accuracy", "matthews", "f1", "pearson", "spearman", "first_token_accuracy", "first_token_matthews", "first_token_f1",
  ]
  package static let options: Set<TaskOption> = [.samples, .template, .glue, .maxNewTokens, .batchSize]
  package static var answering: Answering {
    var answering = Answering()
    answering.maxNewTokens = 32
    return answering
  }

  package init(_ answering: Answering) {}
}

import GoraText

/// Questions with several answers, of which the likeliest is the model's (lm-evaluation-harness' rules).
package struct ChooseTask: ChoicesTask {
  package static let name = "choose"
  package static let metrics = ["acc", "acc_norm"]
  package static let options: Set<TaskOption> = [.samples, .batchSize]

  package init(_ answering: Answering) {}
}

import GoraText

/// Chats of two turns, rated by a judge from 1 to 10 (Zheng et al. 2023).
package struct MTBenchTask: TurnsTask {
  package static let name = "mt-bench"
  package static let metrics = ["score"]
  package static let options = TaskOption.ofAnswers.union([
    .judgePrompts, .references, .judgeRequests, .judgeReplies, .judgeCommand, .judgeModel,
  ])
  package static var answering: Answering {
    var answering = Answering()
    answering.maxNewTokens = 1024
    return answering
  }

  package init(_ answering: Answering) {}
}

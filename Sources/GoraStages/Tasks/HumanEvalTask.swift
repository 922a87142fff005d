import GoraText

/// Functions in Python, right where they pass their tests (Chen et al. 2021).
package struct HumanEvalTask: ProgramsTask {
  package static let name = "humaneval"
  package static let ks = [1, 10, 100]
  package static let metrics = ks.map { "pass@\($0)" }
  package static let options = TaskOption.ofAnswers.union([.attempts, .style, .noSandbox, .timeLimit])
  package static var answering: Answering {
    var answering = Answering()
    answering.maxNewTokens = 512
    return answering
  }

  package init(_ answering: Answering) {}
}

import Glibc
import GoraCore
import GoraFormats

/// The mean loss over the learnt tokens, and its exponential.
package struct LossTask: RowsTask {
  package static let name = "loss"
  package static let metrics = ["loss", "perplexity"]

  package init(_ answering: Answering) {}

  package func outcome(loss: Double, tokens: Int, rows: Int) -> TaskOutcome {
    let perplexity = exp(loss)
    var members: [JSON.Member] = [.init("loss", JSON(loss)), .init("tokens", JSON(tokens))]
    if perplexity.isFinite { members.append(.init("perplexity", JSON(perplexity))) }
    return TaskOutcome(
      values: [("loss", loss), ("perplexity", perplexity)], members: members,
      line: "loss \(NumberText.fixed(loss, 4)), perplexity \(NumberText.fixed(perplexity, 3)) "
        + "(\(rows) rows, \(NumberText.count(tokens)) learnt tokens)")
  }
}

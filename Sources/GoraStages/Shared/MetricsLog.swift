import GoraCore
import GoraFormats
import GoraTraining

/// `--log`: one JSON object a line, each written at once; a resumed run continues it at its own step.
final class MetricsLog {
  private let path: String
  private var file: AtomicFile

  /// - Parameter keepingSteps: lines of later steps, which the resumed run takes again, are dropped; 0 starts anew.
  /// - Throws: status 73 where it cannot be made, also where another run is writing it.
  init(path: String, keepingSteps: Int) throws(GoraError) {
    self.path = path
    try AtomicFile.requireUnlocked(path)
    file = try AtomicFile(path: path)
    // What went to a pipe or a terminal cannot be taken back.
    if keepingSteps > 0, (try? FileProbe(path)) == .regular {
      for line in try readWholeFile(path, limit: FileLimit.companion).split(separator: 0x0A, omittingEmptySubsequences: true) {
        guard let document = try? JSONDocument(path: path, text: Array(line)),
          let step = try? document.root.required("step").int, step <= keepingSteps
        else { break }
        try file.write(Array(line) + [0x0A])
      }
    }
    try file.publish()
  }

  /// Drops what was written; what went to a pipe or a terminal stays there.
  func startOver() throws(GoraError) {
    guard (try? FileProbe(path)) == .regular else { return }
    file = try AtomicFile(path: path)
    try file.publish()
  }

  func append(_ report: StepReport) throws(GoraError) {
    try append([
      "step": JSON(report.step), "loss": JSON(report.loss), "lr": JSON(report.lr), "tokens": JSON(report.tokens),
      "grad_norm": JSON(report.gradientNorm),
    ])
  }

  func append(validationLoss: Double, step: Int) throws(GoraError) {
    try append(["step": JSON(step), "validation_loss": JSON(validationLoss)])
  }

  /// - Parameter ranks: of each module, in the adapter's order.
  func append(ranks: [(module: String, rank: Int)], step: Int) throws(GoraError) {
    try append(["step": JSON(step), "ranks": JSON(.object(ranks.map { JSON.Member($0.module, JSON($0.rank)) }))])
  }

  /// - Parameter trial: of the search for the rate, before the first step.
  func append(trial: JSON) throws(GoraError) { try append(["step": 0, "trial": trial]) }

  /// What the trials found.
  func append(found: RateSearch.Choice) throws(GoraError) {
    var members = [JSON.Member("lr", JSON(found.lr))]
    if let ratio = found.ratio { members.append(JSON.Member("lr_ratio", JSON(ratio))) }
    try append(["step": 0, "found": JSON(.object(members))])
  }

  private func append(_ members: KeyValuePairs<String, JSON>) throws(GoraError) {
    try file.write(Array((JSON.object(members).compact() + "\n").utf8))
  }
}

import GoraCore
import GoraFormats
import GoraTraining

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `--log`: one JSON object a line, flushed per line; a resumed run continues it at its own step.
final class MetricsLog {
  private let path: String
  private let file: UnsafeMutablePointer<FILE>

  /// - Parameter keepingSteps: lines of later steps, which the resumed run takes again, are dropped; 0 starts anew.
  init(path: String, keepingSteps: Int) throws(GoraError) {
    self.path = path
    var kept: [UInt8] = []
    if keepingSteps > 0, exists(path) {
      let text = try readWholeFile(path)
      for line in text.split(separator: 0x0A, omittingEmptySubsequences: true) {
        guard let document = try? JSONDocument(path: path, text: Array(line)),
          let step = try? document.root.required("step").int, step <= keepingSteps
        else { break }
        kept += line
        kept.append(0x0A)
      }
    }
    try AtomicFile.write(path: path, bytes: kept)
    guard let file = fopen(path, "ae") else {
      throw GoraError(.cannotCreate, at: .file(path), "cannot append: \(String(cString: strerror(errno)))")
    }
    self.file = file
  }

  deinit { fclose(file) }

  func append(_ report: StepReport) throws(GoraError) {
    try append([
      "step": JSON(report.step), "loss": JSON(report.loss), "lr": JSON(report.lr), "tokens": JSON(report.tokens),
      "grad_norm": JSON(report.gradientNorm),
    ])
  }

  func append(validationLoss: Double, step: Int) throws(GoraError) {
    try append(["step": JSON(step), "validation_loss": JSON(validationLoss)])
  }

  private func append(_ members: KeyValuePairs<String, JSON>) throws(GoraError) {
    let line = JSON.object(members).compact() + "\n"
    guard fputs(line, file) >= 0, fflush(file) == 0 else {
      throw GoraError(.io, at: .file(path), "cannot write: \(String(cString: strerror(errno)))")
    }
  }
}

import GoraCore
import GoraModels

/// The least validation loss of a run so far, the values that had it, and how long ago that was.
package final class ValidationRecord {
  /// The least loss and the step after which it was measured; nil before the first.
  package private(set) var best: (loss: Double, step: Int)?
  /// Measurements since then.
  package private(set) var misses = 0
  private let parameters: [Parameter]
  /// The best values, where they are kept.
  private let kept: [FloatBuffer]

  /// - Parameters:
  ///   - parameters: what learns.
  ///   - keepsBest: whether the values of the least loss are kept beside the last ones.
  package init(_ parameters: [Parameter], keepsBest: Bool) {
    self.parameters = parameters
    kept = keepsBest ? parameters.map { FloatBuffer(zeros: $0.count) } : []
  }

  /// Takes in a measurement.
  package func add(loss: Double, step: Int) {
    if let best, loss >= best.loss {
      misses += 1
      return
    }
    best = (loss, step)
    misses = 0
    for (parameter, buffer) in zip(parameters, kept) {
      if let values = parameter.values { buffer.pointer.update(from: values.pointer, count: parameter.count) }
    }
  }

  /// Forgets what was taken in.
  package func reset() { (best, misses) = (nil, 0) }

  /// Puts the best values in the place of the last ones, where they are kept and there are any.
  package func restoreBest() {
    guard best != nil else { return }
    for (parameter, buffer) in zip(parameters, kept) {
      parameter.values?.pointer.update(from: buffer.pointer, count: parameter.count)
    }
  }

  // MARK: Checkpoints

  /// The best values, for a checkpoint.
  package var state: [OptimizerTensor] {
    zip(parameters, kept).map { OptimizerTensor(name: "best/\($0.name)", shape: $0.shape, buffer: $1) }
  }

  /// The rest of it as text; empty before the first measurement.
  package var description: String { best.map { "\($0.step) \(misses) \($0.loss.bitPattern)" } ?? "" }

  /// - Returns: false where the text is none that `description` gives.
  package func restore(_ description: String) -> Bool {
    if description.isEmpty { return true }
    let parts = description.split(separator: " ")
    guard parts.count == 3, let step = Int(parts[0]), let misses = Int(parts[1]), let bits = UInt64(parts[2]), step > 0,
      misses >= 0,
      Double(bitPattern: bits).isFinite
    else { return false }
    (best, self.misses) = ((Double(bitPattern: bits), step), misses)
    return true
  }
}

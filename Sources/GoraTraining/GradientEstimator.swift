import CGoraKernels
import GoraCore
import GoraModels
import GoraText

/// G: the mean over N micro-batches of the gradient of each one's mean loss, with no update in between
/// (GoRA section 3.1; accumulated in f32, all N counted).
package final class GradientEstimator {
  package struct Step: Sendable, Equatable {
    package var loss: Double
    package var tokens: Int
    package var rows: Int
    /// avg|W⊙Ḡ| of each target after this step, Ḡ the mean so far; in the order of `targets`.
    package var importance: [Double]
  }

  package let targets: [Linear]
  private let model: Llama
  private let steps: Int
  private let microBatchTokens: Int
  private let sums: GradientSums
  private var done = 0

  /// - Parameter steps: N; the sums hold the mean once all have been added.
  package init(model: Llama, targets: [Linear], steps: Int, microBatchTokens: Int) {
    self.model = model
    self.targets = targets
    self.steps = steps
    self.microBatchTokens = microBatchTokens
    sums = GradientSums(of: targets.map(\.weight))
  }

  /// Adds one micro-batch.
  /// - Throws: exit 1 where its loss is not finite.
  package func add(_ rows: [EncodedRow]) throws(GoraError) -> Step {
    let pieces = microBatches(rows, maxTokens: microBatchTokens)
    let labelled = pieces.reduce(0) { $0 + $1.targets.count }
    var loss = 0.0
    for piece in pieces { loss += model.accumulateGradient(piece, scale: 1 / Float(labelled * steps)) }
    loss /= Double(labelled)
    done += 1
    guard loss.isFinite else { throw GoraError(.negative, "micro-batch \(done): the loss is \(loss)") }
    let importance = targets.map { linear in
      meanAbsoluteProduct(linear.weight) * Double(steps) / Double(done)
    }
    return Step(loss: loss, tokens: pieces.reduce(0) { $0 + $1.tokens }, rows: rows.count, importance: importance)
  }

  /// avg|W⊙G| of a weight and its sum.
  private func meanAbsoluteProduct(_ weight: Parameter) -> Double {
    guard let gradient = weight.gradient else { return 0 }
    let matrix = weight.matrix
    // Blocks of whole rows, summed in order: the same bits for any thread count.
    let block = max(1, 65_536 / matrix.columns)
    let blocks = (matrix.rows + block - 1) / block
    var partial = [Double](repeating: 0, count: blocks)
    partial.withUnsafeMutableBufferPointer { partial in
      nonisolated(unsafe) let partial = partial
      parallelParts(blocks) { index in
        let range = index * block..<min(matrix.rows, (index + 1) * block)
        let count = range.count * matrix.columns
        let offset = range.lowerBound * matrix.columns
        if case .f32(let values) = matrix.storage {
          partial[index] = gora_abs_product_sum(values + offset, gradient.pointer + offset, count)
        } else {
          withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { wide in
            matrix.widen(range, into: wide.baseAddress!)
            partial[index] = gora_abs_product_sum(wide.baseAddress!, gradient.pointer + offset, count)
          }
        }
      }
    }
    return partial.reduce(0, +) / Double(weight.count)
  }
}

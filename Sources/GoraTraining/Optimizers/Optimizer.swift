import CGoraKernels
import GoraCore
import GoraModels

/// What turns gradients into an update, with the state that it keeps from step to step.
package protocol Optimizer: AnyObject {
  /// What it updates: each owns its values and has a gradient when `update` is called.
  var parameters: [Parameter] { get }
  /// Steps taken.
  var step: Int { get set }
  /// Adds the gradient of what is in the loss besides its rows, before the gradients are looked at; by default there is nothing.
  func addPenalty()
  /// Components that each adapter has still, in the adapters' order, where the last update may have left some out; else nil.
  var ranks: [Int]? { get }
  /// One update at rate `lr` with gradients multiplied by `gradientScale`.
  func update(lr: Double, gradientScale: Float)
  /// All that a run needs to go on, values among it, in the order in which a checkpoint keeps it.
  var state: [OptimizerTensor] { get }
}

/// A part of an optimizer's state.
package struct OptimizerTensor {
  /// As a checkpoint names it: `value/…`, `first_moment/…`.
  package var name: String
  package var shape: [Int]
  package var buffer: FloatBuffer
  /// Never below 0, as a mean of squares.
  package var isNonNegative = false

  package var count: Int { shape.reduce(1, *) }
  package var isFinite: Bool { gora_all_finite(buffer.pointer, count) }
}

extension Optimizer {
  package func addPenalty() {}
  package var ranks: [Int]? { nil }

  /// Whether all values and moments are finite: an update may take them out of range after the last loss that was.
  package var isFinite: Bool { state.allSatisfy(\.isFinite) }

  /// - Throws: status 1 where they are not.
  package func requireFinite() throws(GoraError) {
    guard isFinite else {
      throw GoraError(
        .negative, "step \(step): the updated weights or their moments are not finite",
        hint: "lower --lr or set --max-grad-norm 1")
    }
  }
}

/// β to the power of a step.
func power(_ base: Double, _ exponent: Int) -> Double {
  var result = 1.0
  for _ in 0..<exponent { result *= base }
  return result
}

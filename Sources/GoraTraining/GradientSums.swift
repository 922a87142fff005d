import CGoraKernels
import GoraCore
import GoraModels

/// The sums into which backward adds the gradients of chosen parameters.
///
/// In training every gradient passes here before it is used (in gora-grad, through GradientEstimator's `sums`): where several
/// workers share a batch, this is the place to add theirs.
package struct GradientSums {
  package let parameters: [Parameter]

  /// Gives every parameter that has none a zeroed f32 sum.
  package init(of parameters: [Parameter]) {
    self.parameters = parameters
    for parameter in parameters where parameter.gradient == nil { parameter.gradient = FloatBuffer(zeros: parameter.count) }
  }

  package func zero() {
    for parameter in parameters { parameter.gradient?.zero() }
  }

  /// ‖g‖₂ over all sums; NaN or infinite where any gradient is.
  package func norm() -> Double {
    var total = 0.0
    for parameter in parameters {
      guard let gradient = parameter.gradient else { continue }
      total += gora_sum_squares(gradient.pointer, gradient.count)
    }
    return total.squareRoot()
  }
}

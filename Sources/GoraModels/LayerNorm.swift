import CGoraKernels
import GoraCore

/// Norm of each row with a bias (Ba et al. 2016): y = w ⊙ (x − mean x) / √(var x + ε) + b.
struct LayerNorm {
  /// [width]
  let weight: Parameter
  let bias: Parameter
  let epsilon: Float

  /// - Parameter name: the module's path.
  init(_ name: String, width: Int, epsilon: Float, from source: any ParameterSource) throws(GoraError) {
    weight = try source.parameter("\(name).weight", shape: [width])
    bias = try source.parameter("\(name).bias", shape: [width])
    self.epsilon = epsilon
  }

  var parameters: [Parameter] { [weight, bias] }
  var learns: Bool { weight.gradient != nil || bias.gradient != nil }
  private var width: Int { weight.shape[0] }

  /// - Parameters:
  ///   - x, y: [rows, width]
  ///   - statistics: [rows, 2], mean and 1/deviation, filled for backward
  func forward(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, statistics: UnsafeMutablePointer<Float>, rows: Int
  ) {
    parallelRanges(rows, grain: max(1, 16_384 / width)) { range in
      let from = range.lowerBound * width
      gora_layer_norm(
        x + from, weight.vector, bias.vector, y + from, statistics + 2 * range.lowerBound, range.count, width, epsilon)
    }
  }

  /// Adds the gradients of weight and bias to their sums where they learn; the input's overwrites `dx`, which may be `dy`, or is
  /// added to it.
  func backward(
    _ dy: UnsafePointer<Float>, x: UnsafePointer<Float>, statistics: UnsafePointer<Float>, rows: Int,
    dx: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    if let gradient = weight.gradient {
      parallelRanges(width, grain: 64, alignment: 16) {
        gora_layer_norm_weight(dy, x, statistics, gradient.pointer, rows, width, $0.lowerBound, $0.upperBound)
      }
    }
    if let gradient = bias.gradient {
      parallelRanges(width, grain: 64, alignment: 16) {
        gora_column_sums(dy, gradient.pointer, rows, width, $0.lowerBound, $0.upperBound)
      }
    }
    parallelRanges(rows, grain: max(1, 16_384 / width)) { range in
      let from = range.lowerBound * width
      gora_layer_norm_backward(
        dy + from, x + from, weight.vector, statistics + 2 * range.lowerBound, dx + from, range.count, width, accumulates)
    }
  }
}

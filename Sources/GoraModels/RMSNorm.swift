import CGoraKernels
import GoraCore

/// Norm by the root mean square of each row (Zhang & Sennrich 2019): y = (w + offset) ⊙ x / √(mean x² + ε).
struct RMSNorm {
  /// [width]
  let weight: Parameter
  let epsilon: Float
  /// 1 where the checkpoint holds what a weight exceeds 1 by, as Gemma's do.
  let offset: Float

  init(_ name: String, width: Int, _ config: DecoderConfig, from source: any ParameterSource) throws(GoraError) {
    weight = try source.parameter(name, shape: [width])
    epsilon = config.normEpsilon
    offset = config.normOffset
  }

  private var width: Int { weight.shape[0] }

  /// - Parameters:
  ///   - x, y: [rows, width]
  ///   - rstd: [rows], filled for backward
  func forward(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, rstd: UnsafeMutablePointer<Float>, rows: Int
  ) {
    parallelRanges(rows, grain: max(1, 16_384 / width)) { range in
      let from = range.lowerBound * width
      gora_rms_norm(x + from, weight.vector, offset, y + from, rstd + range.lowerBound, range.count, width, epsilon)
    }
  }

  /// Adds the weight's gradient to its sum where it learns; the input's overwrites `dx`, which may be `dy`, or is added to it.
  func backward(
    _ dy: UnsafePointer<Float>, x: UnsafePointer<Float>, rstd: UnsafePointer<Float>, rows: Int,
    dx: UnsafeMutablePointer<Float>, accumulates: Bool
  ) {
    if let gradient = weight.gradient {
      parallelRanges(width, grain: 64, alignment: 16) {
        gora_rms_norm_weight(dy, x, rstd, gradient.pointer, rows, width, $0.lowerBound, $0.upperBound)
      }
    }
    parallelRanges(rows, grain: max(1, 16_384 / width)) { range in
      let from = range.lowerBound * width
      gora_rms_norm_backward(
        dy + from, x + from, weight.vector, offset, rstd + range.lowerBound, dx + from, range.count, width, accumulates)
    }
  }
}

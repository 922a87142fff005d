import CGoraKernels
import GoraCore
import GoraFormats

/// The function of an MLP without a gate.
package enum GELUActivation: String, Sendable {
  /// x·Φ(x).
  case exact = "gelu"
  /// x·σ(1.702x).
  case quick = "quick_gelu"

  /// - Throws: `.data` where it is another.
  init(reading field: JSONField) throws(GoraError) {
    guard let known = GELUActivation(rawValue: try field.string) else {
      throw field.error("\(field.name) \"\(try field.string)\" is not supported; expected \"quick_gelu\" or \"gelu\"")
    }
    self = known
  }

  func forward(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      switch self {
      case .exact: gora_gelu(x + i, y + i, $0.count)
      case .quick: gora_quick_gelu(x + i, y + i, $0.count)
      }
    }
  }

  /// - Parameter dx: may be `dy`.
  func backward(_ dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      switch self {
      case .exact: gora_gelu_backward(dy + i, x + i, dx + i, $0.count)
      case .quick: gora_quick_gelu_backward(dy + i, x + i, dx + i, $0.count)
      }
    }
  }
}

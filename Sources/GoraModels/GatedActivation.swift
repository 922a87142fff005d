import CGoraKernels
import GoraCore
import GoraFormats

/// The function of a gated MLP, y = act(gate) ⊙ up.
package enum GatedActivation: String, Sendable {
  case silu
  /// GELU in its tanh form.
  case geluTanh

  /// Its spellings in config.json.
  private static let names: [(String, GatedActivation)] = [
    ("silu", .silu), ("swish", .silu), ("gelu_pytorch_tanh", .geluTanh),
  ]

  /// - Throws: `.data` where it is another.
  init(reading field: JSONField) throws(GoraError) {
    let name = try field.string
    guard let found = Self.names.first(where: { $0.0 == name }) else {
      let names = Self.names.map { "\"\($0.0)\"" }.joined(separator: ", ")
      throw field.error("\(field.name) \"\(name)\" is not supported; expected one of \(names)")
    }
    self = found.1
  }

  func forward(_ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    parallelRanges(count, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      switch self {
      case .silu: gora_swiglu(gate + i, up + i, y + i, $0.count)
      case .geluTanh: gora_geglu(gate + i, up + i, y + i, $0.count)
      }
    }
  }

  func backward(
    _ dy: UnsafePointer<Float>, _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
    into dGate: UnsafeMutablePointer<Float>, _ dUp: UnsafeMutablePointer<Float>, count: Int
  ) {
    parallelRanges(count, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      switch self {
      case .silu: gora_swiglu_backward(dy + i, gate + i, up + i, dGate + i, dUp + i, $0.count)
      case .geluTanh: gora_geglu_backward(dy + i, gate + i, up + i, dGate + i, dUp + i, $0.count)
      }
    }
  }
}

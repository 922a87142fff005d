import CGoraKernels
import GoraCore
import GoraFormats

/// What the feed-forward part of a T5 block does between its linears (`feed_forward_proj`): max(0, gate), or act(gate) ⊙ up.
package enum T5Activation: Sendable, Equatable {
  case relu
  case gated(GatedActivation)

  var isGated: Bool { self != .relu }

  /// For records.
  var name: String {
    switch self {
    case .relu: "relu"
    case .gated(let function): "gated \(function.rawValue)"
    }
  }

  /// `gated-gelu` stands for GELU's tanh form, as in Transformers.
  private static let names: [(String, T5Activation)] = [
    ("relu", .relu), ("gated-gelu", .gated(.geluTanh)), ("gated-gelu_new", .gated(.geluTanh)), ("gated-silu", .gated(.silu)),
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

  /// Of the function, as `dense_act_fn` spells it.
  private var function: String {
    switch self {
    case .relu: "relu"
    case .gated(.geluTanh): "gelu_new"
    case .gated(let function): function.rawValue
    }
  }

  /// Refuses what `dense_act_fn` and `is_gated_act`, which go before `feed_forward_proj`, say against it, or against its default.
  func refuseContradiction(_ root: JSONField) throws(GoraError) {
    if let field = try root.optional("is_gated_act"), try field.bool != isGated {
      throw field.error("\(field.name) is \(field.value.compact()), and by \"feed_forward_proj\" the function is \(name)")
    }
    if let field = try root.optional("dense_act_fn"), try field.string != function {
      throw field.error("\(field.name) is \(field.value.compact()), and by \"feed_forward_proj\" the function is \(name)")
    }
  }

  func forward(_ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    switch self {
    case .relu:
      parallelRanges(count, grain: 65_536, alignment: 16) { gora_relu(gate + $0.lowerBound, y + $0.lowerBound, $0.count) }
    case .gated(let function): function.forward(gate, up, into: y, count: count)
    }
  }

  /// - Parameter dUp: left as it is where there is no `up`.
  func backward(
    _ dy: UnsafePointer<Float>, _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>,
    into dGate: UnsafeMutablePointer<Float>, _ dUp: UnsafeMutablePointer<Float>, count: Int
  ) {
    switch self {
    case .relu:
      parallelRanges(count, grain: 65_536, alignment: 16) {
        gora_relu_backward(dy + $0.lowerBound, gate + $0.lowerBound, dGate + $0.lowerBound, $0.count)
      }
    case .gated(let function): function.backward(dy, gate, up, into: dGate, dUp, count: count)
    }
  }
}

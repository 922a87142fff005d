import GoraCore

/// Scratch that all blocks of a T5 model share, for as many tokens as the longer side of a batch has.
final class T5Scratch {
  enum Buffer: Int, CaseIterable {
    case normalised, activated
    case dActivated, dGate, dUp, dNormalised, dAttention, dq, dk, dv

    /// Floats a token.
    fileprivate func width(_ config: T5Config) -> Int {
      switch self {
      case .normalised, .dNormalised: config.hiddenSize
      case .activated, .dActivated, .dGate: config.intermediateSize
      case .dUp: config.activation.isGated ? config.intermediateSize : 0
      case .dAttention, .dq, .dk, .dv: config.innerSize
      }
    }
    /// Whether forward uses it too.
    fileprivate var isOfForward: Bool { rawValue <= Self.activated.rawValue }
  }

  private let buffers = Buffer.allCases.map { _ in FloatBuffer() }

  subscript(_ buffer: Buffer) -> UnsafeMutablePointer<Float> { buffers[buffer.rawValue].pointer }

  /// Makes room for a batch.
  func reserve(_ config: T5Config, tokens: Int, backward: Bool) {
    for buffer in Buffer.allCases where backward || buffer.isOfForward {
      buffers[buffer.rawValue].reserve(tokens * buffer.width(config))
    }
  }

  /// Floats that it holds.
  var floats: Int { buffers.reduce(0) { $0 + $1.count } }

  /// Floats that it comes to hold.
  static func floats(_ config: T5Config, tokens: Int, backward: Bool) -> Int {
    Buffer.allCases.reduce(0) { $0 + (backward || $1.isOfForward ? tokens * $1.width(config) : 0) }
  }
}

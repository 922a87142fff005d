import CGoraKernels
import GoraCore

/// Scratch that all layers of a tower share.
final class CLIPScratch {
  enum Buffer: Int, CaseIterable {
    case normalised, active
    case product, dq, dk, dv, dAttention, dNormalised

    /// Floats a token.
    fileprivate func width(_ tower: CLIPConfig.Tower) -> Int {
      switch self {
      case .active, .product: tower.intermediateSize
      case .normalised, .dq, .dk, .dv, .dAttention, .dNormalised: tower.hiddenSize
      }
    }
    /// Whether forward uses it too.
    fileprivate var isOfForward: Bool { rawValue <= Self.active.rawValue }
  }

  private let buffers = Buffer.allCases.map { _ in FloatBuffer() }

  subscript(_ buffer: Buffer) -> UnsafeMutablePointer<Float> { buffers[buffer.rawValue].pointer }

  fileprivate func reserve(_ tower: CLIPConfig.Tower, tokens: Int, backward: Bool) {
    for buffer in Buffer.allCases where backward || buffer.isOfForward {
      buffers[buffer.rawValue].reserve(tokens * buffer.width(tower))
    }
  }

  /// Floats that it comes to hold.
  static func floats(_ tower: CLIPConfig.Tower, tokens: Int, backward: Bool) -> Int {
    Buffer.allCases.reduce(0) { $0 + (backward || $1.isOfForward ? tokens * $1.width(tower) : 0) }
  }
}

/// One layer of either tower (`CLIPEncoderLayer`): x + attention(norm(x)), then + mlp(norm(·)); backward stands below forward.
package final class CLIPLayer {
  private let firstNorm: LayerNorm
  private let secondNorm: LayerNorm
  package let linears: [Linear]
  private let attention: Attention
  private let tower: CLIPConfig.Tower

  /// What forward keeps for backward. T tokens, H hidden, F intermediate.
  enum Kept: Int, CaseIterable {
    case input  // [T, H]
    case firstStatistics  // [T, 2]
    case q, k, v, attention  // [T, H]
    case logSumExp  // [T, heads]
    case middle  // [T, H] after attention
    case secondStatistics
    case up  // [T, F]

    fileprivate func buffer(_ tower: CLIPConfig.Tower) -> ActivationBuffer {
      switch self {
      case .input: ActivationBuffer(tower.hiddenSize, .input)
      case .middle: ActivationBuffer(tower.hiddenSize, .single)
      case .firstStatistics, .secondStatistics: ActivationBuffer(2, .single)
      case .logSumExp: ActivationBuffer(tower.heads, .single)
      case .q, .k, .v, .attention: ActivationBuffer(tower.hiddenSize, .half)
      case .up: ActivationBuffer(tower.intermediateSize, .half)
      }
    }
  }

  /// The buffers of a layer without adapters.
  static func kept(_ tower: CLIPConfig.Tower) -> [ActivationBuffer] { Kept.allCases.map { $0.buffer(tower) } }
  /// This layer's: behind those of `Kept` what each linear's adapter keeps.
  var kept: [ActivationBuffer] {
    Self.kept(tower)
      + linears.map { linear in ActivationBuffer(linear.adapter.map { $0.rank > 0 ? $0.keptFloats : 0 } ?? 0, .single) }
  }

  /// - Parameters:
  ///   - prefix: of its tower.
  ///   - isCausal: tokens see those before them alone.
  init(
    _ prefix: String, index: Int, tower: CLIPConfig.Tower, isCausal: Bool, from source: any ParameterSource
  ) throws(GoraError) {
    self.tower = tower
    let name = "\(prefix).encoder.layers.\(index)"
    firstNorm = try LayerNorm("\(name).layer_norm1", width: tower.hiddenSize, epsilon: tower.epsilon, from: source)
    secondNorm = try LayerNorm("\(name).layer_norm2", width: tower.hiddenSize, epsilon: tower.epsilon, from: source)
    var linears: [Linear] = []
    for kind in CLIPLinearKind.allCases {
      let shape = tower.shape(of: kind)
      linears.append(
        try Linear(name: "\(name).\(kind.rawValue)", outputSize: shape.out, inputSize: shape.in, hasBias: true, from: source))
    }
    self.linears = linears
    attention = Attention(
      heads: tower.heads, keyValueHeads: tower.heads, headSize: tower.headSize, isCausal: isCausal,
      scale: 1 / Float(tower.headSize).squareRoot(),
      isMultipliedInBFloat16: linears.contains(where: \.weight.roundsInputs) && Matmul.hasBFloat16)
  }

  /// The linears, those that see the same inputs together.
  var linearsByInput: [[Linear]] { [[.q, .k, .v], [.out], [.up], [.down]].map { $0.map(linear) } }

  private func linear(_ kind: CLIPLinearKind) -> Linear { linears[CLIPLinearKind.allCases.firstIndex(of: kind)!] }

  var parameters: [Parameter] {
    firstNorm.parameters + linears.flatMap { [$0.weight] + ($0.bias.map { [$0] } ?? []) } + secondNorm.parameters
  }
  var learns: Bool { linears.contains(where: \.learns) || firstNorm.learns || secondNorm.learns }

  /// Whether the products round to bf16; a working copy of a weight changes nothing in that.
  var roundsToBFloat16: Bool { linears.contains(where: \.weight.roundsInputs) }

  /// Takes the mapped weights out of the process; the next pass brings them back.
  func releaseWeights() { for linear in linears { linear.weight.releasePages() } }

  /// - Parameters:
  ///   - activations: has room for `kept`; `input` holds x, the rest is filled
  ///   - starts: first token of each row, and the number of all
  ///   - output: [T, H]; may not be `input`
  func forward(
    _ activations: ActivationSet, starts: [Int], scratch: CLIPScratch, workspace: Workspace, output: UnsafeMutablePointer<Float>
  ) {
    let activations = KeptActivations(buffers: activations)
    let (tokens, h, f) = (starts.last!, tower.hiddenSize, tower.intermediateSize)
    scratch.reserve(tower, tokens: tokens, backward: false)
    let normalised = scratch[.normalised]
    firstNorm.forward(activations[.input], into: normalised, statistics: activations[.firstStatistics], rows: tokens)
    let qkv = [(CLIPLinearKind.q, activations[.q]), (.k, activations[.k]), (.v, activations[.v])]
    Linear.forward(
      normalised, tokens: tokens, by: qkv.map { (linear($0), $1, activations.down($0)) }, workspace: workspace)
    if roundsToBFloat16 {
      // Scores are then the same where queries and keys come back from 16 bits.
      for x in [activations[.q], activations[.k]] { gora_round_bf16(x, x, tokens * h) }
    }
    attention.forward(
      q: activations[.q], k: activations[.k], v: activations[.v], starts: starts, o: activations[.attention],
      lse: activations[.logSumExp])
    let middle = activations[.middle]
    linear(.out).forward(
      activations[.attention], tokens: tokens, into: middle, down: activations.down(.out), workspace: workspace)
    Elementwise.add(activations[.input], to: middle, count: tokens * h)

    secondNorm.forward(middle, into: normalised, statistics: activations[.secondStatistics], rows: tokens)
    let up = activations[.up]
    linear(.up).forward(normalised, tokens: tokens, into: up, down: activations.down(.up), workspace: workspace)
    let active = scratch[.active]
    tower.activation.forward(up, into: active, count: tokens * f)
    linear(.down).forward(active, tokens: tokens, into: output, down: activations.down(.down), workspace: workspace)
    Elementwise.add(middle, to: output, count: tokens * h)
  }

  /// Adds this layer's gradients to their sums; `gradient` [T, H] enters as ∂L/∂output and leaves as ∂L/∂input.
  /// - Parameter needsInputGradient: false for the lowest layer that learns: `gradient` is then left undefined.
  func backward(
    _ activations: ActivationSet, starts: [Int], scratch: CLIPScratch, workspace: Workspace,
    gradient: UnsafeMutablePointer<Float>, needsInputGradient: Bool
  ) {
    let activations = KeptActivations(buffers: activations)
    let (tokens, f) = (starts.last!, tower.intermediateSize)
    scratch.reserve(tower, tokens: tokens, backward: true)
    let (middle, up) = (activations[.middle], activations[.up])
    let (normalised, dNormalised) = (scratch[.normalised], scratch[.dNormalised])

    // The MLP: output = middle + down(act(up)).
    var active: UnsafePointer<Float>?
    if linear(.down).needsInput {
      tower.activation.forward(up, into: scratch[.active], count: tokens * f)
      active = UnsafePointer(scratch[.active])
    }
    let product = scratch[.product]
    linear(.down).backward(
      gradient, x: active, down: activations.down(.down), tokens: tokens, dx: product, workspace: workspace)
    tower.activation.backward(product, up, into: product, count: tokens * f)
    if linear(.up).needsInput {
      secondNorm.forward(middle, into: normalised, statistics: activations[.secondStatistics], rows: tokens)
    }
    linear(.up).backward(
      product, x: normalised, down: activations.down(.up), tokens: tokens, dx: dNormalised, workspace: workspace)
    secondNorm.backward(
      dNormalised, x: middle, statistics: activations[.secondStatistics], rows: tokens, dx: gradient, accumulates: true)

    // Attention: middle = input + out(attention(q, k, v)).
    let dAttention = scratch[.dAttention]
    linear(.out).backward(
      gradient, x: activations[.attention], down: activations.down(.out), tokens: tokens, dx: dAttention, workspace: workspace)
    let (dq, dk, dv) = (scratch[.dq], scratch[.dk], scratch[.dv])
    attention.backward(
      q: activations[.q], k: activations[.k], v: activations[.v], o: activations[.attention], lse: activations[.logSumExp],
      starts: starts, gradient: dAttention, dq: dq, dk: dk, dv: dv)
    let qkv = [(CLIPLinearKind.q, dq), (.k, dk), (.v, dv)]
    if qkv.contains(where: { linear($0.0).needsInput }) {
      firstNorm.forward(activations[.input], into: normalised, statistics: activations[.firstStatistics], rows: tokens)
    }
    let needsNormGradient = needsInputGradient || firstNorm.learns
    for (i, (kind, dy)) in qkv.enumerated() {
      linear(kind).backward(
        dy, x: normalised, down: activations.down(kind), tokens: tokens, dx: needsNormGradient ? dNormalised : nil,
        accumulates: i > 0, workspace: workspace)
    }
    if needsNormGradient {
      firstNorm.backward(
        dNormalised, x: activations[.input], statistics: activations[.firstStatistics], rows: tokens, dx: gradient,
        accumulates: true)
    }
  }
}

/// What a layer keeps, by name.
private struct KeptActivations {
  let buffers: ActivationSet

  subscript(_ kept: CLIPLayer.Kept) -> UnsafeMutablePointer<Float> { buffers[kept.rawValue].pointer }

  /// What a linear's adapter keeps.
  func down(_ kind: CLIPLinearKind) -> FloatBuffer {
    buffers[CLIPLayer.Kept.allCases.count + CLIPLinearKind.allCases.firstIndex(of: kind)!]
  }
}

extension CLIPLayer {
  /// The input [T, H] among a layer's activations.
  static func input(of buffers: ActivationSet) -> UnsafeMutablePointer<Float> { KeptActivations(buffers: buffers)[.input] }
}

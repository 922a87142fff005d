import CGoraKernels
import GoraCore

/// Scratch that all layers of a model share.
final class LayerScratch {
  enum Buffer: Int, CaseIterable {
    case normalised, swiglu
    case product, dq, dk, dv, dAttention, dGate, dUp, dNormalised

    /// Floats a token.
    fileprivate func width(_ config: ModelConfig) -> Int {
      switch self {
      case .normalised, .dNormalised: config.hiddenSize
      case .product: max(config.hiddenSize, config.intermediateSize)
      case .swiglu, .dGate, .dUp: config.intermediateSize
      case .dq, .dAttention: config.querySize
      case .dk, .dv: config.keyValueSize
      }
    }
    /// Whether forward uses it too.
    fileprivate var isOfForward: Bool { rawValue <= Self.swiglu.rawValue }
  }

  private let buffers = Buffer.allCases.map { _ in FloatBuffer() }

  subscript(_ buffer: Buffer) -> UnsafeMutablePointer<Float> { buffers[buffer.rawValue].pointer }

  fileprivate func reserve(_ config: ModelConfig, tokens: Int, backward: Bool) {
    for buffer in Buffer.allCases where backward || buffer.isOfForward {
      buffers[buffer.rawValue].reserve(tokens * buffer.width(config))
    }
  }

  /// Floats that it holds.
  var floats: Int { buffers.reduce(0) { $0 + $1.count } }

  /// Floats that it comes to hold.
  static func floats(_ config: ModelConfig, tokens: Int, backward: Bool) -> Int {
    Buffer.allCases.reduce(0) { $0 + (backward || $1.isOfForward ? tokens * $1.width(config) : 0) }
  }
}

/// One decoder layer: x + attention(norm(x)), then + mlp(norm(·)); backward stands below forward.
package final class DecoderLayer {
  let inputNorm: Parameter
  let middleNorm: Parameter
  package let linears: [Linear]
  private let attention: Attention
  let config: ModelConfig

  /// What forward keeps for backward. T tokens, H hidden, F intermediate.
  enum Kept: Int, CaseIterable {
    case input  // [T, H]
    case inputDeviation  // [T] 1/rms
    case q  // [T, heads·d], rotated
    case k  // [T, kvHeads·d], rotated
    case v
    case attention  // [T, heads·d]
    case logSumExp  // [T, heads]
    case middle  // [T, H] after attention
    case middleDeviation
    case gate  // [T, F]
    case up

    fileprivate func buffer(_ config: ModelConfig) -> ActivationBuffer {
      switch self {
      case .input: ActivationBuffer(config.hiddenSize, .input)
      case .middle: ActivationBuffer(config.hiddenSize, .single)
      case .inputDeviation, .middleDeviation: ActivationBuffer(1, .single)
      case .logSumExp: ActivationBuffer(config.heads, .single)
      case .q, .attention: ActivationBuffer(config.querySize, .half)
      case .k, .v: ActivationBuffer(config.keyValueSize, .half)
      case .gate, .up: ActivationBuffer(config.intermediateSize, .half)
      }
    }
  }

  /// The buffers of a layer without adapters.
  static func kept(_ config: ModelConfig) -> [ActivationBuffer] { Kept.allCases.map { $0.buffer(config) } }
  /// This layer's: behind those of `Kept` what each linear's adapter keeps.
  var kept: [ActivationBuffer] {
    Self.kept(config)
      + linears.map { linear in ActivationBuffer(linear.adapter.map { $0.rank > 0 ? $0.keptFloats : 0 } ?? 0, .single) }
  }

  init(index: Int, config: ModelConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let prefix = "model.layers.\(index)"
    inputNorm = try source.parameter("\(prefix).input_layernorm.weight", shape: [config.hiddenSize])
    middleNorm = try source.parameter("\(prefix).post_attention_layernorm.weight", shape: [config.hiddenSize])
    var linears: [Linear] = []
    for kind in LinearKind.allCases {
      let shape = config.shape(of: kind)
      linears.append(
        try Linear(
          name: "\(prefix).\(kind.rawValue)", outputSize: shape.out, inputSize: shape.in, hasBias: config.hasBias(kind),
          from: source))
    }
    self.linears = linears
    attention = Attention(
      heads: config.heads, keyValueHeads: config.keyValueHeads, headSize: config.headSize,
      window: config.windows[index])
  }

  /// The linears, those that see the same inputs together.
  var linearsByInput: [[Linear]] { [[.q, .k, .v], [.o], [.gate, .up], [.down]].map { $0.map(linear) } }

  package func linear(_ kind: LinearKind) -> Linear { linears[LinearKind.allCases.firstIndex(of: kind)!] }
  var parameters: [Parameter] {
    [inputNorm] + linears.flatMap { [$0.weight] + ($0.bias.map { [$0] } ?? []) } + [middleNorm]
  }
  var learns: Bool { linears.contains(where: \.learns) || inputNorm.gradient != nil || middleNorm.gradient != nil }

  /// Whether the products round to bf16; a working copy of a weight changes nothing in that.
  var roundsToBFloat16: Bool { linears.contains(where: \.weight.roundsInputs) }

  /// Takes the mapped weights out of the process; the next pass brings them back.
  func releaseWeights() { for linear in linears { linear.weight.releasePages() } }

  private func norm(
    _ x: UnsafePointer<Float>, _ weight: Parameter, into y: UnsafeMutablePointer<Float>, _ rstd: UnsafeMutablePointer<Float>,
    _ tokens: Int
  ) {
    let h = config.hiddenSize
    parallelRanges(tokens, grain: max(1, 16_384 / h)) { range in
      gora_rms_norm(
        x + range.lowerBound * h, weight.vector, y + range.lowerBound * h, rstd + range.lowerBound, range.count, h,
        config.normEpsilon)
    }
  }

  /// - Parameters:
  ///   - activations: has room for `kept`; `input` holds x, the rest is filled
  ///   - output: [T, H]; may not be `input`
  ///   - attend: computes `attention` from q, k and v
  private func forward(
    _ activations: ActivationSet, tokens: Int, rotary: RotaryTable, scratch: LayerScratch,
    workspace: Workspace, output: UnsafeMutablePointer<Float>, attend: (ActivationSet) -> Void
  ) {
    let (h, f) = (config.hiddenSize, config.intermediateSize)
    scratch.reserve(config, tokens: tokens, backward: false)
    let normalised = scratch[.normalised]
    norm(activations[.input], inputNorm, into: normalised, activations[.inputDeviation], tokens)
    for (kind, out) in [(LinearKind.q, activations[.q]), (.k, activations[.k]), (.v, activations[.v])] {
      let linear = linear(kind)
      linear.forward(normalised, tokens: tokens, into: out, down: activations.down(kind), workspace: workspace)
    }
    rotary.rotate(activations[.q], heads: config.heads)
    rotary.rotate(activations[.k], heads: config.keyValueHeads)
    if roundsToBFloat16 {
      // Scores are then the same where queries and keys come back from 16 bits.
      round(activations[.q], count: tokens * config.querySize)
      round(activations[.k], count: tokens * config.keyValueSize)
    }
    attend(activations)
    let middle = activations[.middle]
    linear(.o).forward(
      activations[.attention], tokens: tokens, into: middle, down: activations.down(.o), workspace: workspace)
    add(activations[.input], to: middle, count: tokens * h)

    norm(middle, middleNorm, into: normalised, activations[.middleDeviation], tokens)
    let gate = activations[.gate]
    let up = activations[.up]
    linear(.gate).forward(normalised, tokens: tokens, into: gate, down: activations.down(.gate), workspace: workspace)
    linear(.up).forward(normalised, tokens: tokens, into: up, down: activations.down(.up), workspace: workspace)
    let product = scratch[.swiglu]
    swiglu(gate, up, into: product, count: tokens * f)
    linear(.down).forward(product, tokens: tokens, into: output, down: activations.down(.down), workspace: workspace)
    add(middle, to: output, count: tokens * h)
  }

  /// Whole rows, as in training.
  func forward(
    _ activations: ActivationSet, batch: PackedBatch, rotary: RotaryTable, scratch: LayerScratch, workspace: Workspace,
    output: UnsafeMutablePointer<Float>
  ) {
    forward(
      activations, tokens: batch.tokens, rotary: rotary, scratch: scratch, workspace: workspace, output: output
    ) { kept in
      attention.forward(q: kept[.q], k: kept[.k], v: kept[.v], starts: batch.starts, o: kept[.attention], lse: kept[.logSumExp])
    }
  }

  /// New tokens of rows whose earlier keys and values are in a cache.
  func forward(
    _ activations: ActivationSet, step: CachedStep, layer: Int, rotary: RotaryTable, scratch: LayerScratch,
    workspace: Workspace, output: UnsafeMutablePointer<Float>
  ) {
    forward(
      activations, tokens: step.ids.count, rotary: rotary, scratch: scratch, workspace: workspace, output: output
    ) { kept in
      step.store(k: kept[.k], v: kept[.v], layer: layer, width: config.keyValueSize)
      attention.forward(q: kept[.q], k: kept[.k], v: kept[.v], step: step, layer: layer, o: kept[.attention])
    }
  }

  /// Adds this layer's gradients to their sums; `gradient` [T, H] enters as ∂L/∂output and leaves as ∂L/∂input.
  /// - Parameter needsInputGradient: false for the lowest layer that learns: `gradient` is then left undefined.
  func backward(
    _ activations: ActivationSet, batch: PackedBatch, rotary: RotaryTable, scratch: LayerScratch, workspace: Workspace,
    gradient: UnsafeMutablePointer<Float>, needsInputGradient: Bool
  ) {
    let tokens = batch.tokens
    let f = config.intermediateSize
    scratch.reserve(config, tokens: tokens, backward: true)
    let middle = activations[.middle]
    let normalised = scratch[.normalised]
    let dNormalised = scratch[.dNormalised]

    // The MLP: output = middle + down(swiglu(gate, up)).
    let (gate, up) = (activations[.gate], activations[.up])
    var product: UnsafePointer<Float>?
    if linear(.down).needsInput {
      let again = scratch[.swiglu]
      swiglu(gate, up, into: again, count: tokens * f)
      product = UnsafePointer(again)
    }
    let dProduct = scratch[.product]
    linear(.down).backward(
      gradient, x: product, down: activations.down(.down), tokens: tokens, dx: dProduct, workspace: workspace)
    let dGate = scratch[.dGate]
    let dUp = scratch[.dUp]
    parallelRanges(tokens * f, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      gora_swiglu_backward(dProduct + i, gate + i, up + i, dGate + i, dUp + i, $0.count)
    }
    if linear(.gate).needsInput || linear(.up).needsInput {
      norm(middle, middleNorm, into: normalised, activations[.middleDeviation], tokens)
    }
    linear(.gate).backward(
      dGate, x: normalised, down: activations.down(.gate), tokens: tokens, dx: dNormalised, workspace: workspace)
    linear(.up).backward(
      dUp, x: normalised, down: activations.down(.up), tokens: tokens, dx: dNormalised, accumulates: true, workspace: workspace)
    normBackward(dNormalised, middle, middleNorm, activations[.middleDeviation], tokens, into: gradient)

    // Attention: middle = input + o(attention(q, k, v)).
    let dAttention = scratch[.dAttention]
    linear(.o).backward(
      gradient, x: activations[.attention], down: activations.down(.o), tokens: tokens, dx: dAttention, workspace: workspace
    )
    let (dq, dk, dv) = (scratch[.dq], scratch[.dk], scratch[.dv])
    attention.backward(
      q: activations[.q], k: activations[.k], v: activations[.v], o: activations[.attention], lse: activations[.logSumExp],
      starts: batch.starts, gradient: dAttention, dq: dq, dk: dk, dv: dv)
    rotary.rotate(dq, heads: config.heads, inverse: true)
    rotary.rotate(dk, heads: config.keyValueHeads, inverse: true)
    let qkv = [(LinearKind.q, dq), (.k, dk), (.v, dv)]
    if qkv.contains(where: { linear($0.0).needsInput }) {
      norm(activations[.input], inputNorm, into: normalised, activations[.inputDeviation], tokens)
    }
    let needsNormGradient = needsInputGradient || inputNorm.gradient != nil
    for (i, (kind, dy)) in qkv.enumerated() {
      linear(kind).backward(
        dy, x: normalised, down: activations.down(kind), tokens: tokens, dx: needsNormGradient ? dNormalised : nil,
        accumulates: i > 0, workspace: workspace)
    }
    if needsNormGradient {
      normBackward(dNormalised, activations[.input], inputNorm, activations[.inputDeviation], tokens, into: gradient)
    }
  }

  private func normBackward(
    _ dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, _ weight: Parameter, _ rstd: UnsafePointer<Float>, _ tokens: Int,
    into dx: UnsafeMutablePointer<Float>
  ) {
    let h = config.hiddenSize
    if let gradient = weight.gradient {
      parallelRanges(h, grain: 64, alignment: 16) {
        gora_rms_norm_weight(dy, x, rstd, gradient.pointer, tokens, h, $0.lowerBound, $0.upperBound)
      }
    }
    parallelRanges(tokens, grain: max(1, 16_384 / h)) { range in
      let offset = range.lowerBound * h
      gora_rms_norm_backward(
        dy + offset, x + offset, weight.vector, rstd + range.lowerBound, dx + offset, range.count, h)
    }
  }
}

private func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
  parallelRanges(count, grain: 65_536, alignment: 16) { gora_add(y + $0.lowerBound, x + $0.lowerBound, $0.count) }
}

/// To the values that bf16 holds.
private func round(_ x: UnsafeMutablePointer<Float>, count: Int) {
  parallelRanges(count, grain: 65_536, alignment: 16) { gora_round_bf16(x + $0.lowerBound, x + $0.lowerBound, $0.count) }
}

private func swiglu(
  _ gate: UnsafePointer<Float>, _ up: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int
) {
  parallelRanges(count, grain: 16_384, alignment: 16) {
    gora_swiglu(gate + $0.lowerBound, up + $0.lowerBound, y + $0.lowerBound, $0.count)
  }
}

extension ActivationSet {
  subscript(_ kept: DecoderLayer.Kept) -> UnsafeMutablePointer<Float> { self[kept.rawValue].pointer }

  /// What a linear's adapter keeps.
  fileprivate func down(_ kind: LinearKind) -> FloatBuffer {
    self[DecoderLayer.Kept.allCases.count + LinearKind.allCases.firstIndex(of: kind)!]
  }
}

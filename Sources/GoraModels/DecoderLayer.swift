import CGoraKernels
import GoraCore

/// Scratch that all layers of a model share.
final class LayerScratch {
  enum Buffer: Int, CaseIterable {
    case normalised, gated
    case product, dq, dk, dv, dAttention, dGate, dUp, dNormalised

    /// Floats a token.
    fileprivate func width(_ config: DecoderConfig) -> Int {
      switch self {
      case .normalised, .dNormalised: config.hiddenSize
      case .product: max(config.hiddenSize, config.intermediateSize)
      case .gated, .dGate, .dUp: config.intermediateSize
      case .dq, .dAttention: config.querySize
      case .dk, .dv: config.keyValueSize
      }
    }
    /// Whether forward uses it too.
    fileprivate var isOfForward: Bool { rawValue <= Self.gated.rawValue }
  }

  private let buffers = Buffer.allCases.map { _ in FloatBuffer() }

  subscript(_ buffer: Buffer) -> UnsafeMutablePointer<Float> { buffers[buffer.rawValue].pointer }

  fileprivate func reserve(_ config: DecoderConfig, tokens: Int, backward: Bool) {
    for buffer in Buffer.allCases where backward || buffer.isOfForward {
      buffers[buffer.rawValue].reserve(tokens * buffer.width(config))
    }
  }

  /// Floats that it holds.
  var floats: Int { buffers.reduce(0) { $0 + $1.count } }

  /// Floats that it comes to hold.
  static func floats(_ config: DecoderConfig, tokens: Int, backward: Bool) -> Int {
    Buffer.allCases.reduce(0) { $0 + (backward || $1.isOfForward ? tokens * $1.width(config) : 0) }
  }
}

/// One decoder layer: x + attention(norm(x)), then + mlp(norm(·)); backward stands below forward. Where the configuration says so,
/// heads of queries and keys pass a norm before they are rotated, and what attention and MLP give passes one before it is added.
package final class DecoderLayer {
  let inputNorm: RMSNorm
  let middleNorm: RMSNorm
  /// Of each head [d].
  private let headNorms: (q: RMSNorm, k: RMSNorm)?
  /// Of what is added to the residual stream [H].
  private let branchNorms: (attention: RMSNorm, mlp: RMSNorm)?
  package let linears: [Linear]
  private let attention: Attention
  let config: DecoderConfig

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
    // Where heads have norms: what these see, and 1/rms [T, heads].
    case headNormQ, headNormK, headDeviationQ, headDeviationK
    // Where branches have norms: what these see [T, H], and 1/rms.
    case branchAttention, branchMLP, branchDeviationAttention, branchDeviationMLP

    fileprivate func buffer(_ config: DecoderConfig) -> ActivationBuffer {
      switch self {
      case .input: ActivationBuffer(config.hiddenSize, .input)
      case .middle: ActivationBuffer(config.hiddenSize, .single)
      case .inputDeviation, .middleDeviation: ActivationBuffer(1, .single)
      case .logSumExp: ActivationBuffer(config.heads, .single)
      case .q, .attention: ActivationBuffer(config.querySize, .half)
      case .k, .v: ActivationBuffer(config.keyValueSize, .half)
      case .gate, .up: ActivationBuffer(config.intermediateSize, .half)
      case .headNormQ: ActivationBuffer(config.hasHeadNorms ? config.querySize : 0, .half)
      case .headNormK: ActivationBuffer(config.hasHeadNorms ? config.keyValueSize : 0, .half)
      case .headDeviationQ: ActivationBuffer(config.hasHeadNorms ? config.heads : 0, .single)
      case .headDeviationK: ActivationBuffer(config.hasHeadNorms ? config.keyValueHeads : 0, .single)
      case .branchAttention, .branchMLP: ActivationBuffer(config.hasBranchNorms ? config.hiddenSize : 0, .half)
      case .branchDeviationAttention, .branchDeviationMLP: ActivationBuffer(config.hasBranchNorms ? 1 : 0, .single)
      }
    }
  }

  /// The buffers of a layer without adapters.
  static func kept(_ config: DecoderConfig) -> [ActivationBuffer] { Kept.allCases.map { $0.buffer(config) } }
  /// This layer's: behind those of `Kept` what each linear's adapter keeps.
  var kept: [ActivationBuffer] {
    Self.kept(config)
      + linears.map { linear in ActivationBuffer(linear.adapter.map { $0.rank > 0 ? $0.keptFloats : 0 } ?? 0, .single) }
  }

  init(index: Int, config: DecoderConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let prefix = "model.layers.\(index)"
    func norm(_ name: String, _ width: Int) throws(GoraError) -> RMSNorm {
      try RMSNorm("\(prefix).\(name).weight", width: width, config, from: source)
    }
    let h = config.hiddenSize
    inputNorm = try norm("input_layernorm", h)
    // Gemma's name for the norm of what attention gives is the others' for that before the MLP.
    middleNorm = try norm(config.hasBranchNorms ? "pre_feedforward_layernorm" : "post_attention_layernorm", h)
    branchNorms =
      config.hasBranchNorms ? (try norm("post_attention_layernorm", h), try norm("post_feedforward_layernorm", h)) : nil
    headNorms =
      config.hasHeadNorms
      ? (try norm("self_attn.q_norm", config.headSize), try norm("self_attn.k_norm", config.headSize)) : nil
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
      heads: config.heads, keyValueHeads: config.keyValueHeads, headSize: config.headSize, window: config.windows[index],
      scale: config.attentionScale, softCap: config.attentionSoftCap,
      isMultipliedInBFloat16: linears.contains(where: \.weight.roundsInputs) && Matmul.hasBFloat16)
  }

  /// The linears, those that see the same inputs together.
  var linearsByInput: [[Linear]] { [[.q, .k, .v], [.o], [.gate, .up], [.down]].map { $0.map(linear) } }

  package func linear(_ kind: LinearKind) -> Linear { linears[LinearKind.allCases.firstIndex(of: kind)!] }
  /// The norms, those that each layer of any model has first.
  private var norms: [RMSNorm] {
    [inputNorm, middleNorm] + (headNorms.map { [$0.q, $0.k] } ?? []) + (branchNorms.map { [$0.attention, $0.mlp] } ?? [])
  }
  var parameters: [Parameter] {
    [inputNorm.weight] + linears.flatMap { [$0.weight] + ($0.bias.map { [$0] } ?? []) } + norms.dropFirst().map(\.weight)
  }
  var learns: Bool { linears.contains(where: \.learns) || norms.contains { $0.weight.gradient != nil } }

  /// Whether the products round to bf16; a working copy of a weight changes nothing in that.
  var roundsToBFloat16: Bool { linears.contains(where: \.weight.roundsInputs) }

  /// Takes the mapped weights out of the process; the next pass brings them back.
  func releaseWeights() { for linear in linears { linear.weight.releasePages() } }

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
    inputNorm.forward(activations[.input], into: normalised, rstd: activations[.inputDeviation], rows: tokens)
    let (q, k) = headNorms == nil ? (activations[.q], activations[.k]) : (activations[.headNormQ], activations[.headNormK])
    Linear.forward(
      normalised, tokens: tokens,
      by: [(LinearKind.q, q), (.k, k), (.v, activations[.v])].map { (linear($0), $1, activations.down($0)) }, workspace: workspace
    )
    if let headNorms {
      headNorms.q.forward(q, into: activations[.q], rstd: activations[.headDeviationQ], rows: tokens * config.heads)
      headNorms.k.forward(k, into: activations[.k], rstd: activations[.headDeviationK], rows: tokens * config.keyValueHeads)
    }
    rotary.rotate(activations[.q], heads: config.heads)
    rotary.rotate(activations[.k], heads: config.keyValueHeads)
    if roundsToBFloat16 {
      // Scores are then the same where queries and keys come back from 16 bits.
      Elementwise.round(activations[.q], count: tokens * config.querySize)
      Elementwise.round(activations[.k], count: tokens * config.keyValueSize)
    }
    attend(activations)
    let middle = activations[.middle]
    let attended = branchNorms == nil ? middle : activations[.branchAttention]
    linear(.o).forward(
      activations[.attention], tokens: tokens, into: attended, down: activations.down(.o), workspace: workspace)
    branchNorms?.attention.forward(attended, into: middle, rstd: activations[.branchDeviationAttention], rows: tokens)
    Elementwise.add(activations[.input], to: middle, count: tokens * h)

    middleNorm.forward(middle, into: normalised, rstd: activations[.middleDeviation], rows: tokens)
    let gate = activations[.gate]
    let up = activations[.up]
    Linear.forward(
      normalised, tokens: tokens, by: [(LinearKind.gate, gate), (.up, up)].map { (linear($0), $1, activations.down($0)) },
      workspace: workspace)
    let product = scratch[.gated]
    config.activation.forward(gate, up, into: product, count: tokens * f)
    let added = branchNorms == nil ? output : activations[.branchMLP]
    linear(.down).forward(product, tokens: tokens, into: added, down: activations.down(.down), workspace: workspace)
    branchNorms?.mlp.forward(added, into: output, rstd: activations[.branchDeviationMLP], rows: tokens)
    Elementwise.add(middle, to: output, count: tokens * h)
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

    // The MLP: output = middle + down(act(gate) ⊙ up), which a norm may see first.
    let (gate, up) = (activations[.gate], activations[.up])
    var product: UnsafePointer<Float>?
    if linear(.down).needsInput {
      let again = scratch[.gated]
      config.activation.forward(gate, up, into: again, count: tokens * f)
      product = UnsafePointer(again)
    }
    var dBranch = gradient
    if let norm = branchNorms?.mlp {
      dBranch = dNormalised
      norm.backward(
        gradient, x: activations[.branchMLP], rstd: activations[.branchDeviationMLP], rows: tokens, dx: dBranch,
        accumulates: false)
    }
    let dProduct = scratch[.product]
    linear(.down).backward(
      dBranch, x: product, down: activations.down(.down), tokens: tokens, dx: dProduct, workspace: workspace)
    let dGate = scratch[.dGate]
    let dUp = scratch[.dUp]
    config.activation.backward(dProduct, gate, up, into: dGate, dUp, count: tokens * f)
    if linear(.gate).needsInput || linear(.up).needsInput {
      middleNorm.forward(middle, into: normalised, rstd: activations[.middleDeviation], rows: tokens)
    }
    linear(.gate).backward(
      dGate, x: normalised, down: activations.down(.gate), tokens: tokens, dx: dNormalised, workspace: workspace)
    linear(.up).backward(
      dUp, x: normalised, down: activations.down(.up), tokens: tokens, dx: dNormalised, accumulates: true, workspace: workspace)
    middleNorm.backward(
      dNormalised, x: middle, rstd: activations[.middleDeviation], rows: tokens, dx: gradient, accumulates: true)

    // Attention: middle = input + o(attention(q, k, v)), which a norm may see first.
    dBranch = gradient
    if let norm = branchNorms?.attention {
      dBranch = dNormalised
      norm.backward(
        gradient, x: activations[.branchAttention], rstd: activations[.branchDeviationAttention], rows: tokens, dx: dBranch,
        accumulates: false)
    }
    let dAttention = scratch[.dAttention]
    linear(.o).backward(
      dBranch, x: activations[.attention], down: activations.down(.o), tokens: tokens, dx: dAttention, workspace: workspace)
    let (dq, dk, dv) = (scratch[.dq], scratch[.dk], scratch[.dv])
    attention.backward(
      q: activations[.q], k: activations[.k], v: activations[.v], o: activations[.attention], lse: activations[.logSumExp],
      starts: batch.starts, gradient: dAttention, dq: dq, dk: dk, dv: dv)
    rotary.rotate(dq, heads: config.heads, inverse: true)
    rotary.rotate(dk, heads: config.keyValueHeads, inverse: true)
    if let headNorms {
      headNorms.q.backward(
        dq, x: activations[.headNormQ], rstd: activations[.headDeviationQ], rows: tokens * config.heads, dx: dq,
        accumulates: false)
      headNorms.k.backward(
        dk, x: activations[.headNormK], rstd: activations[.headDeviationK], rows: tokens * config.keyValueHeads, dx: dk,
        accumulates: false)
    }
    let qkv = [(LinearKind.q, dq), (.k, dk), (.v, dv)]
    if qkv.contains(where: { linear($0.0).needsInput }) {
      inputNorm.forward(activations[.input], into: normalised, rstd: activations[.inputDeviation], rows: tokens)
    }
    let needsNormGradient = needsInputGradient || inputNorm.weight.gradient != nil
    for (i, (kind, dy)) in qkv.enumerated() {
      linear(kind).backward(
        dy, x: normalised, down: activations.down(kind), tokens: tokens, dx: needsNormGradient ? dNormalised : nil,
        accumulates: i > 0, workspace: workspace)
    }
    if needsNormGradient {
      inputNorm.backward(
        dNormalised, x: activations[.input], rstd: activations[.inputDeviation], rows: tokens, dx: gradient, accumulates: true)
    }
  }
}

extension ActivationSet {
  subscript(_ kept: DecoderLayer.Kept) -> UnsafeMutablePointer<Float> { self[kept.rawValue].pointer }

  /// What a linear's adapter keeps.
  fileprivate func down(_ kind: LinearKind) -> FloatBuffer {
    self[DecoderLayer.Kept.allCases.count + LinearKind.allCases.firstIndex(of: kind)!]
  }
}

import CGoraKernels
import GoraCore

/// What a layer's forward pass keeps for its backward pass. T tokens, H hidden, F intermediate.
final class LayerActivations {
  let input = FloatBuffer()  // [T, H]
  let inputDeviation = FloatBuffer()  // [T] 1/rms
  let q = FloatBuffer()  // [T, heads·d], rotated
  let k = FloatBuffer()  // [T, kvHeads·d], rotated
  let v = FloatBuffer()
  let attention = FloatBuffer()  // [T, heads·d]
  let logSumExp = FloatBuffer()  // [T, heads]
  let middle = FloatBuffer()  // [T, H] after attention
  let middleDeviation = FloatBuffer()
  let gate = FloatBuffer()  // [T, F]
  let up = FloatBuffer()
  let down = LinearKind.allCases.map { _ in FloatBuffer() }  // x·Aᵀ of each adapter

  func down(_ kind: LinearKind) -> FloatBuffer { down[LinearKind.allCases.firstIndex(of: kind)!] }
}

/// Scratch that all layers of a model share.
final class LayerScratch {
  let normalised = FloatBuffer()  // [T, H]
  let product = FloatBuffer()  // [T, H] or [T, F]
  let swiglu = FloatBuffer()  // [T, F]
  let dq = FloatBuffer()
  let dk = FloatBuffer()
  let dv = FloatBuffer()
  let dAttention = FloatBuffer()
  let dGate = FloatBuffer()
  let dUp = FloatBuffer()
  let dNormalised = FloatBuffer()
}

/// One Llama decoder layer: x + attention(norm(x)), then + mlp(norm(·)); backward stands below forward.
package final class DecoderLayer {
  let inputNorm: Parameter
  let middleNorm: Parameter
  package let linears: [Linear]
  private let attention: Attention
  let config: ModelConfig

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
  package var linearsByInput: [[Linear]] { [[.q, .k, .v], [.o], [.gate, .up], [.down]].map { $0.map(linear) } }

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
    _ x: UnsafePointer<Float>, _ weight: Parameter, into y: UnsafeMutablePointer<Float>, _ deviation: FloatBuffer, _ tokens: Int
  ) {
    let h = config.hiddenSize
    let rstd = deviation.reserve(tokens)
    parallelRanges(tokens, grain: max(1, 16_384 / h)) { range in
      gora_rms_norm(
        x + range.lowerBound * h, weight.vector, y + range.lowerBound * h, rstd + range.lowerBound, range.count, h,
        config.normEpsilon)
    }
  }

  /// - Parameters:
  ///   - activations: `input` holds x; the rest is filled
  ///   - output: [T, H]; may not be `activations.input`
  ///   - attend: computes `attention` from q, k and v
  private func forward(
    _ activations: LayerActivations, tokens: Int, rotary: RotaryTable, scratch: LayerScratch,
    workspace: Workspace, output: UnsafeMutablePointer<Float>, attend: (LayerActivations) -> Void
  ) {
    let (h, f) = (config.hiddenSize, config.intermediateSize)
    let normalised = scratch.normalised.reserve(tokens * h)
    norm(activations.input.pointer, inputNorm, into: normalised, activations.inputDeviation, tokens)
    for (kind, buffer) in [(LinearKind.q, activations.q), (.k, activations.k), (.v, activations.v)] {
      let linear = linear(kind)
      let out = buffer.reserve(tokens * linear.outputSize)
      linear.forward(normalised, tokens: tokens, into: out, down: activations.down(kind), workspace: workspace)
    }
    rotary.rotate(activations.q.pointer, heads: config.heads)
    rotary.rotate(activations.k.pointer, heads: config.keyValueHeads)
    if roundsToBFloat16 {
      // Scores are then the same where queries and keys come back from 16 bits.
      round(activations.q.pointer, count: tokens * config.querySize)
      round(activations.k.pointer, count: tokens * config.keyValueSize)
    }
    activations.attention.reserve(tokens * config.querySize)
    attend(activations)
    let middle = activations.middle.reserve(tokens * h)
    linear(.o).forward(
      activations.attention.pointer, tokens: tokens, into: middle, down: activations.down(.o), workspace: workspace)
    add(activations.input.pointer, to: middle, count: tokens * h)

    norm(middle, middleNorm, into: normalised, activations.middleDeviation, tokens)
    let gate = activations.gate.reserve(tokens * f)
    let up = activations.up.reserve(tokens * f)
    linear(.gate).forward(normalised, tokens: tokens, into: gate, down: activations.down(.gate), workspace: workspace)
    linear(.up).forward(normalised, tokens: tokens, into: up, down: activations.down(.up), workspace: workspace)
    let product = scratch.swiglu.reserve(tokens * f)
    swiglu(gate, up, into: product, count: tokens * f)
    linear(.down).forward(product, tokens: tokens, into: output, down: activations.down(.down), workspace: workspace)
    add(middle, to: output, count: tokens * h)
  }

  /// Whole rows, as in training.
  func forward(
    _ activations: LayerActivations, batch: PackedBatch, rotary: RotaryTable, scratch: LayerScratch, workspace: Workspace,
    output: UnsafeMutablePointer<Float>
  ) {
    forward(
      activations, tokens: batch.tokens, rotary: rotary, scratch: scratch, workspace: workspace, output: output
    ) { kept in
      kept.logSumExp.reserve(batch.tokens * config.heads)
      attention.forward(q: kept.q, k: kept.k, v: kept.v, starts: batch.starts, o: kept.attention, lse: kept.logSumExp)
    }
  }

  /// New tokens of rows whose earlier keys and values are in a cache.
  func forward(
    _ activations: LayerActivations, step: CachedStep, layer: Int, rotary: RotaryTable, scratch: LayerScratch,
    workspace: Workspace, output: UnsafeMutablePointer<Float>
  ) {
    forward(
      activations, tokens: step.ids.count, rotary: rotary, scratch: scratch, workspace: workspace, output: output
    ) { kept in
      step.store(k: kept.k, v: kept.v, layer: layer, width: config.keyValueSize)
      attention.forward(q: kept.q, k: kept.k, v: kept.v, step: step, layer: layer, o: kept.attention)
    }
  }

  /// Adds this layer's gradients to their sums; `gradient` [T, H] enters as ∂L/∂output and leaves as ∂L/∂input.
  /// - Parameter needsInputGradient: false for the lowest layer that learns: `gradient` is then left undefined.
  func backward(
    _ activations: LayerActivations, batch: PackedBatch, rotary: RotaryTable, scratch: LayerScratch, workspace: Workspace,
    gradient: UnsafeMutablePointer<Float>, needsInputGradient: Bool
  ) {
    let tokens = batch.tokens
    let (h, f) = (config.hiddenSize, config.intermediateSize)
    let middle = activations.middle.pointer
    let normalised = scratch.normalised.reserve(tokens * h)
    let dNormalised = scratch.dNormalised.reserve(tokens * h)

    // The MLP: output = middle + down(swiglu(gate, up)).
    let (gate, up) = (activations.gate.pointer, activations.up.pointer)
    var product: UnsafePointer<Float>?
    if linear(.down).needsInput {
      let again = scratch.swiglu.reserve(tokens * f)
      swiglu(gate, up, into: again, count: tokens * f)
      product = UnsafePointer(again)
    }
    let dProduct = scratch.product.reserve(tokens * max(f, h))
    linear(.down).backward(
      gradient, x: product, down: activations.down(.down), tokens: tokens, dx: dProduct, workspace: workspace)
    let dGate = scratch.dGate.reserve(tokens * f)
    let dUp = scratch.dUp.reserve(tokens * f)
    parallelRanges(tokens * f, grain: 16_384, alignment: 16) {
      let i = $0.lowerBound
      gora_swiglu_backward(dProduct + i, gate + i, up + i, dGate + i, dUp + i, $0.count)
    }
    if linear(.gate).needsInput || linear(.up).needsInput {
      norm(middle, middleNorm, into: normalised, activations.middleDeviation, tokens)
    }
    linear(.gate).backward(
      dGate, x: normalised, down: activations.down(.gate), tokens: tokens, dx: dNormalised, workspace: workspace)
    linear(.up).backward(
      dUp, x: normalised, down: activations.down(.up), tokens: tokens, dx: dNormalised, accumulates: true, workspace: workspace)
    normBackward(dNormalised, middle, middleNorm, activations.middleDeviation, tokens, into: gradient)

    // Attention: middle = input + o(attention(q, k, v)).
    let dAttention = scratch.dAttention.reserve(tokens * config.querySize)
    linear(.o).backward(
      gradient, x: activations.attention.pointer, down: activations.down(.o), tokens: tokens, dx: dAttention, workspace: workspace
    )
    scratch.dq.reserve(tokens * config.querySize)
    scratch.dk.reserve(tokens * config.keyValueSize)
    scratch.dv.reserve(tokens * config.keyValueSize)
    attention.backward(
      q: activations.q, k: activations.k, v: activations.v, o: activations.attention, lse: activations.logSumExp,
      starts: batch.starts, gradient: dAttention, dq: scratch.dq, dk: scratch.dk, dv: scratch.dv)
    rotary.rotate(scratch.dq.pointer, heads: config.heads, inverse: true)
    rotary.rotate(scratch.dk.pointer, heads: config.keyValueHeads, inverse: true)
    let qkv: [(LinearKind, FloatBuffer)] = [(.q, scratch.dq), (.k, scratch.dk), (.v, scratch.dv)]
    if qkv.contains(where: { linear($0.0).needsInput }) {
      norm(activations.input.pointer, inputNorm, into: normalised, activations.inputDeviation, tokens)
    }
    let needsNormGradient = needsInputGradient || inputNorm.gradient != nil
    for (i, (kind, dy)) in qkv.enumerated() {
      linear(kind).backward(
        dy.pointer, x: normalised, down: activations.down(kind), tokens: tokens, dx: needsNormGradient ? dNormalised : nil,
        accumulates: i > 0, workspace: workspace)
    }
    if needsNormGradient {
      normBackward(dNormalised, activations.input.pointer, inputNorm, activations.inputDeviation, tokens, into: gradient)
    }
  }

  private func normBackward(
    _ dy: UnsafePointer<Float>, _ x: UnsafePointer<Float>, _ weight: Parameter, _ deviation: FloatBuffer, _ tokens: Int,
    into dx: UnsafeMutablePointer<Float>
  ) {
    let h = config.hiddenSize
    if let gradient = weight.gradient {
      parallelRanges(h, grain: 64, alignment: 16) {
        gora_rms_norm_weight(dy, x, deviation.pointer, gradient.pointer, tokens, h, $0.lowerBound, $0.upperBound)
      }
    }
    parallelRanges(tokens, grain: max(1, 16_384 / h)) { range in
      let offset = range.lowerBound * h
      gora_rms_norm_backward(
        dy + offset, x + offset, weight.vector, deviation.pointer + range.lowerBound, dx + offset, range.count, h)
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

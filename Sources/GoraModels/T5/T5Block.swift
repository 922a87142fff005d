import CGoraKernels
import GoraCore
import GoraFormats

/// What the encoder gives a batch's rows, as the decoder's blocks see it. S tokens, H hidden.
struct T5Memory {
  /// [S, H]
  let states: UnsafePointer<Float>
  /// First token of each row, and S at the end.
  let starts: [Int]
  /// Where ∂L/∂states is summed; nil where nothing of the encoder learns.
  var gradient: UnsafeMutablePointer<Float>?

  var tokens: Int { starts.last ?? 0 }
}

/// One block of a T5 stack: x + attention(norm(x)), in the decoder + attention to the encoder's states, then + the feed-forward part;
/// each sees its own norm of the sum. Backward stands below forward. Dropout is not applied.
final class T5Block {
  let kinds: [T5LinearKind]
  let linears: [Linear]
  private let attentionNorm: RMSNorm
  private let crossNorm: RMSNorm?
  private let feedForwardNorm: RMSNorm
  private let attention: Attention
  private let crossAttention: Attention
  private let config: T5Config

  private var isDecoder: Bool { crossNorm != nil }

  /// What forward keeps of the block's own tokens. T tokens, H hidden, F intermediate, I heads·d.
  enum Kept: Int, CaseIterable {
    case input  // [T, H]
    case inputDeviation  // [T] 1/rms
    case q, k, v  // [T, I]
    case attention  // [T, I]
    case logSumExp  // [T, heads]
    case middle  // [T, H] before the feed-forward part
    case middleDeviation
    case gate, up  // [T, F]
    // The decoder's alone: the sum before its second attention, and what that makes.
    case attended, attendedDeviation
    case crossQ, crossAttention, crossLogSumExp

    fileprivate func buffer(_ config: T5Config, isDecoder: Bool) -> ActivationBuffer {
      switch self {
      case .input: ActivationBuffer(config.hiddenSize, .input)
      case .middle: ActivationBuffer(config.hiddenSize, .single)
      case .inputDeviation, .middleDeviation: ActivationBuffer(1, .single)
      case .logSumExp: ActivationBuffer(config.heads, .single)
      case .q, .k, .v, .attention: ActivationBuffer(config.innerSize, .half)
      case .gate: ActivationBuffer(config.intermediateSize, .half)
      case .up: ActivationBuffer(config.activation.isGated ? config.intermediateSize : 0, .half)
      case .attended: ActivationBuffer(isDecoder ? config.hiddenSize : 0, .single)
      case .attendedDeviation: ActivationBuffer(isDecoder ? 1 : 0, .single)
      case .crossQ, .crossAttention: ActivationBuffer(isDecoder ? config.innerSize : 0, .half)
      case .crossLogSumExp: ActivationBuffer(isDecoder ? config.heads : 0, .single)
      }
    }
  }

  /// What the decoder's forward keeps of the encoder's tokens: keys and values [S, I] of their states.
  enum KeptOfMemory: Int, CaseIterable {
    case k, v
  }

  /// The linears whose inputs are the encoder's states.
  private static let ofMemory: [T5LinearKind] = [.crossK, .crossV]
  /// What a linear's adapter keeps of a token.
  private static func adapterBuffer(_ linear: Linear) -> ActivationBuffer {
    ActivationBuffer(linear.adapter.map { $0.rank > 0 ? $0.keptFloats : 0 } ?? 0, .single)
  }

  /// The buffers of a block without adapters.
  static func kept(_ config: T5Config, isDecoder: Bool) -> [ActivationBuffer] {
    Kept.allCases.map { $0.buffer(config, isDecoder: isDecoder) }
  }
  static func keptOfMemory(_ config: T5Config) -> [ActivationBuffer] {
    KeptOfMemory.allCases.map { _ in ActivationBuffer(config.innerSize, .half) }
  }
  /// This block's: behind them what each linear's adapter keeps.
  var kept: [ActivationBuffer] {
    Self.kept(config, isDecoder: isDecoder)
      + zip(kinds, linears).filter { !Self.ofMemory.contains($0.0) }.map { Self.adapterBuffer($0.1) }
  }
  var keptOfMemory: [ActivationBuffer] {
    isDecoder ? Self.keptOfMemory(config) + Self.ofMemory.map { Self.adapterBuffer(linear($0)) } : []
  }

  /// The buffers at work: the block's own, and in the decoder those of the encoder's tokens.
  struct Buffers {
    let own: Own
    let ofMemory: OfMemory?
  }

  struct Own {
    let all: ActivationSet
    subscript(_ kept: Kept) -> UnsafeMutablePointer<Float> { all[kept.rawValue].pointer }
  }

  struct OfMemory {
    let all: ActivationSet
    subscript(_ kept: KeptOfMemory) -> UnsafeMutablePointer<Float> { all[kept.rawValue].pointer }
  }

  init(index: Int, isDecoder: Bool, config: T5Config, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let prefix = T5Config.blockName(index, isDecoder: isDecoder)
    func norm(_ layer: Int) throws(GoraError) -> RMSNorm {
      try RMSNorm(
        "\(prefix).layer.\(layer).layer_norm.weight", width: config.hiddenSize, epsilon: config.normEpsilon, from: source)
    }
    attentionNorm = try norm(0)
    crossNorm = isDecoder ? try norm(1) : nil
    feedForwardNorm = try norm(isDecoder ? 2 : 1)
    kinds = config.kinds(isDecoder: isDecoder)
    var linears: [Linear] = []
    for kind in kinds {
      let shape = config.shape(of: kind)
      linears.append(
        try Linear(
          name: "\(prefix).\(config.name(of: kind, isDecoder: isDecoder))", outputSize: shape[0], inputSize: shape[1],
          hasBias: false, from: source))
    }
    self.linears = linears
    let inBFloat16 = linears.contains(where: \.weight.roundsInputs) && Matmul.hasBFloat16
    // No factor on the scores: it is folded into the weights of the queries.
    func attention(isCausal: Bool) -> Attention {
      Attention(
        heads: config.heads, keyValueHeads: config.heads, headSize: config.headSize, isCausal: isCausal, scale: 1,
        isMultipliedInBFloat16: inBFloat16)
    }
    self.attention = attention(isCausal: isDecoder)
    crossAttention = attention(isCausal: false)
  }

  /// The linears, those that see the same inputs together.
  var linearsByInput: [[Linear]] {
    let groups: [[T5LinearKind]] = [[.q, .k, .v], [.o], [.crossQ], Self.ofMemory, [.crossO], [.gate, .up], [.down]]
    return groups.map { group in group.filter(kinds.contains).map(linear) }.filter { !$0.isEmpty }
  }

  /// Whether a linear sees the encoder's states in a decoder's block.
  func seesMemory(_ linear: Linear) -> Bool { isDecoder && Self.ofMemory.contains { self.linear($0) === linear } }

  func linear(_ kind: T5LinearKind) -> Linear { linears[kinds.firstIndex(of: kind)!] }
  private var norms: [RMSNorm] { [attentionNorm] + (crossNorm.map { [$0] } ?? []) + [feedForwardNorm] }
  var parameters: [Parameter] { norms.map(\.weight) + linears.map(\.weight) }
  var learns: Bool { linears.contains(where: \.learns) || norms.contains { $0.weight.gradient != nil } }

  /// Whether the products round to bf16; a working copy of a weight changes nothing in that.
  var roundsToBFloat16: Bool { linears.contains(where: \.weight.roundsInputs) }

  /// Takes the mapped weights out of the process; the next pass brings them back.
  func releaseWeights() { for linear in linears { linear.weight.releasePages() } }

  /// What a linear's adapter keeps.
  private func down(_ kind: T5LinearKind, _ buffers: Buffers) -> FloatBuffer {
    if let place = Self.ofMemory.firstIndex(of: kind), let ofMemory = buffers.ofMemory {
      return ofMemory.all[KeptOfMemory.allCases.count + place]
    }
    let own = kinds.filter { !Self.ofMemory.contains($0) }
    return buffers.own.all[Kept.allCases.count + own.firstIndex(of: kind)!]
  }

  // MARK: Forward

  /// - Parameters:
  ///   - buffers: have room for what is kept; `input` holds x, the rest is filled
  ///   - output: [T, H]; may not be `input`
  ///   - attend: computes `attention` from q, k and v
  ///   - attendToMemory: computes `crossAttention` from `crossQ`
  private func forward(
    _ buffers: Buffers, tokens: Int, scratch: T5Scratch, workspace: Workspace, output: UnsafeMutablePointer<Float>,
    attend: () -> Void, attendToMemory: () -> Void
  ) {
    let own = buffers.own
    let size = tokens * config.hiddenSize
    func run(_ kinds: [(T5LinearKind, into: UnsafeMutablePointer<Float>)], _ x: UnsafePointer<Float>) {
      Linear.forward(x, tokens: tokens, by: kinds.map { (linear($0), $1, down($0, buffers)) }, workspace: workspace)
    }
    let normalised = scratch[.normalised]
    attentionNorm.forward(own[.input], into: normalised, rstd: own[.inputDeviation], rows: tokens)
    run([(.q, into: own[.q]), (.k, into: own[.k]), (.v, into: own[.v])], normalised)
    if roundsToBFloat16 {
      // Scores are then the same where queries and keys come back from 16 bits.
      for part in [own[.q], own[.k]] { Elementwise.round(part, count: tokens * config.innerSize) }
    }
    attend()
    let attended = isDecoder ? own[.attended] : own[.middle]
    run([(.o, into: attended)], own[.attention])
    Elementwise.add(own[.input], to: attended, count: size)

    if let crossNorm {
      crossNorm.forward(attended, into: normalised, rstd: own[.attendedDeviation], rows: tokens)
      run([(.crossQ, into: own[.crossQ])], normalised)
      if roundsToBFloat16 { Elementwise.round(own[.crossQ], count: tokens * config.innerSize) }
      attendToMemory()
      run([(.crossO, into: own[.middle])], own[.crossAttention])
      Elementwise.add(attended, to: own[.middle], count: size)
    }

    feedForwardNorm.forward(own[.middle], into: normalised, rstd: own[.middleDeviation], rows: tokens)
    run([(.gate, into: own[.gate])] + (config.activation.isGated ? [(.up, into: own[.up])] : []), normalised)
    config.activation.forward(own[.gate], own[.up], into: scratch[.activated], count: tokens * config.intermediateSize)
    run([(.down, into: output)], scratch[.activated])
    Elementwise.add(own[.middle], to: output, count: size)
  }

  /// Keys and values of the encoder's states.
  func forward(_ memory: T5Memory, _ buffers: Buffers, workspace: Workspace) {
    guard let kept = buffers.ofMemory else { return }
    Linear.forward(
      memory.states, tokens: memory.tokens,
      by: [(T5LinearKind.crossK, kept[.k]), (.crossV, kept[.v])].map { (linear($0), $1, down($0, buffers)) }, workspace: workspace
    )
    if roundsToBFloat16 { Elementwise.round(kept[.k], count: memory.tokens * config.innerSize) }
  }

  /// Whole rows, as in training.
  func forward(
    _ buffers: Buffers, starts: [Int], bias: AttentionBias, memory: T5Memory?, scratch: T5Scratch, workspace: Workspace,
    output: UnsafeMutablePointer<Float>
  ) {
    let own = buffers.own
    forward(
      buffers, tokens: starts.last ?? 0, scratch: scratch, workspace: workspace, output: output,
      attend: {
        attention.forward(
          q: own[.q], k: own[.k], v: own[.v], starts: starts, bias: bias, o: own[.attention], lse: own[.logSumExp])
      },
      attendToMemory: {
        guard let memory, let kept = buffers.ofMemory else { return }
        forward(memory, buffers, workspace: workspace)
        crossAttention.forward(
          q: own[.crossQ], k: kept[.k], v: kept[.v], starts: starts, keyStarts: memory.starts, o: own[.crossAttention],
          lse: own[.crossLogSumExp])
      })
  }

  /// New tokens of rows whose earlier keys and values, and those of their sources, are in a cache.
  func forward(
    _ buffers: Buffers, step: CachedStep, layer: Int, bias: AttentionBias, scratch: T5Scratch, workspace: Workspace,
    output: UnsafeMutablePointer<Float>
  ) {
    let own = buffers.own
    forward(
      buffers, tokens: step.ids.count, scratch: scratch, workspace: workspace, output: output,
      attend: {
        step.store(k: own[.k], v: own[.v], layer: layer, width: config.innerSize)
        attention.forward(q: own[.q], k: own[.k], v: own[.v], step: step, layer: layer, bias: bias, o: own[.attention])
      },
      attendToMemory: {
        crossAttention.forward(q: own[.crossQ], sourceOf: step, layer: layer, o: own[.crossAttention])
      })
  }

  // MARK: Backward

  /// Adds this block's gradients to their sums; `gradient` [T, H] enters as ∂L/∂output and leaves as ∂L/∂input. The bias's is left in
  /// its own sums where it is asked for.
  /// - Parameter needsInputGradient: false for the lowest block that learns: `gradient` is then left undefined.
  func backward(
    _ buffers: Buffers, starts: [Int], bias: AttentionBias, memory: T5Memory?, scratch: T5Scratch, workspace: Workspace,
    gradient: UnsafeMutablePointer<Float>, needsInputGradient: Bool
  ) {
    let own = buffers.own
    let tokens = starts.last ?? 0
    let (normalised, dNormalised) = (scratch[.normalised], scratch[.dNormalised])
    func run(
      _ kind: T5LinearKind, _ dy: UnsafePointer<Float>, x: UnsafePointer<Float>?, dx: UnsafeMutablePointer<Float>?,
      accumulates: Bool = false
    ) {
      linear(kind).backward(
        dy, x: x, down: down(kind, buffers), tokens: tokens, dx: dx, accumulates: accumulates, workspace: workspace)
    }

    // output = middle + down(activation(gate, up))
    var activated: UnsafePointer<Float>?
    if linear(.down).needsInput {
      config.activation.forward(own[.gate], own[.up], into: scratch[.activated], count: tokens * config.intermediateSize)
      activated = UnsafePointer(scratch[.activated])
    }
    run(.down, gradient, x: activated, dx: scratch[.dActivated])
    config.activation.backward(
      scratch[.dActivated], own[.gate], own[.up], into: scratch[.dGate], scratch[.dUp],
      count: tokens * config.intermediateSize)
    let inner =
      config.activation.isGated ? [(T5LinearKind.gate, scratch[.dGate]), (.up, scratch[.dUp])] : [(.gate, scratch[.dGate])]
    if inner.contains(where: { linear($0.0).needsInput }) {
      feedForwardNorm.forward(own[.middle], into: normalised, rstd: own[.middleDeviation], rows: tokens)
    }
    for (i, (kind, dy)) in inner.enumerated() { run(kind, dy, x: normalised, dx: dNormalised, accumulates: i > 0) }
    feedForwardNorm.backward(
      dNormalised, x: own[.middle], rstd: own[.middleDeviation], rows: tokens, dx: gradient, accumulates: true)

    // middle = attended + crossO(attention(crossQ, keys and values of the encoder's states))
    if let crossNorm, let memory, let kept = buffers.ofMemory {
      run(.crossO, gradient, x: own[.crossAttention], dx: scratch[.dAttention])
      crossAttention.backward(
        q: own[.crossQ], k: kept[.k], v: kept[.v], o: own[.crossAttention], lse: own[.crossLogSumExp], starts: starts,
        keyStarts: memory.starts, gradient: scratch[.dAttention], dq: scratch[.dq], dk: scratch[.dk], dv: scratch[.dv])
      for (kind, dy) in [(T5LinearKind.crossK, scratch[.dk]), (.crossV, scratch[.dv])] {
        linear(kind).backward(
          dy, x: memory.states, down: down(kind, buffers), tokens: memory.tokens, dx: memory.gradient, accumulates: true,
          workspace: workspace)
      }
      if linear(.crossQ).needsInput {
        crossNorm.forward(own[.attended], into: normalised, rstd: own[.attendedDeviation], rows: tokens)
      }
      run(.crossQ, scratch[.dq], x: normalised, dx: dNormalised)
      crossNorm.backward(
        dNormalised, x: own[.attended], rstd: own[.attendedDeviation], rows: tokens, dx: gradient, accumulates: true)
    }

    // attended = input + o(attention(q, k, v))
    run(.o, gradient, x: own[.attention], dx: scratch[.dAttention])
    attention.backward(
      q: own[.q], k: own[.k], v: own[.v], o: own[.attention], lse: own[.logSumExp], starts: starts, bias: bias,
      gradient: scratch[.dAttention], dq: scratch[.dq], dk: scratch[.dk], dv: scratch[.dv])
    let qkv = [(T5LinearKind.q, scratch[.dq]), (.k, scratch[.dk]), (.v, scratch[.dv])]
    if qkv.contains(where: { linear($0.0).needsInput }) {
      attentionNorm.forward(own[.input], into: normalised, rstd: own[.inputDeviation], rows: tokens)
    }
    let needsNormGradient = needsInputGradient || attentionNorm.weight.gradient != nil
    for (i, (kind, dy)) in qkv.enumerated() {
      run(kind, dy, x: normalised, dx: needsNormGradient ? dNormalised : nil, accumulates: i > 0)
    }
    if needsNormGradient {
      attentionNorm.backward(
        dNormalised, x: own[.input], rstd: own[.inputDeviation], rows: tokens, dx: gradient, accumulates: true)
    }
  }
}

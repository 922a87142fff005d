import GoraCore
import GoraFormats

/// The encoder's blocks of a T5 model, or the decoder's, with the bias that they share and the norm behind the last.
final class T5Stack {
  let blocks: [T5Block]
  let bias: RelativePositionBias
  let finalNorm: RMSNorm
  let isDecoder: Bool
  /// Of the stack's own tokens, and in the decoder of the encoder's.
  let activations = ActivationStore()
  let activationsOfMemory = ActivationStore()
  /// The residual stream [T, H], after a pass that behind the last block.
  let stream = FloatBuffer()

  init(isDecoder: Bool, config: T5Config, from source: any ParameterSource) throws(GoraError) {
    self.isDecoder = isDecoder
    let stack = isDecoder ? "decoder" : "encoder"
    bias = try RelativePositionBias(
      "\(stack).block.0.layer.0.SelfAttention.relative_attention_bias.weight", config: config, isBidirectional: !isDecoder,
      from: source)
    var blocks: [T5Block] = []
    for index in 0..<(isDecoder ? config.decoderLayers : config.encoderLayers) {
      blocks.append(try T5Block(index: index, isDecoder: isDecoder, config: config, from: source))
    }
    self.blocks = blocks
    finalNorm = try RMSNorm(
      "\(stack).final_layer_norm.weight", width: config.hiddenSize, epsilon: config.normEpsilon, from: source)
  }

  var parameters: [Parameter] { [bias.weight] + blocks.flatMap(\.parameters) + [finalNorm.weight] }

  /// The lowest block that learns, itself or its bias; one beyond the last where none does.
  var lowestLearner: Int { bias.weight.gradient != nil ? 0 : blocks.firstIndex(where: \.learns) ?? blocks.count }

  private func buffers(
    _ block: T5Block, slot: Int, _ keeping: ActivationStore.Keeping, tokens: Int, memoryTokens: Int
  ) -> T5Block.Buffers {
    T5Block.Buffers(
      own: .init(all: activations.buffers(slot: slot, keeping, block.kept, tokens: tokens)),
      ofMemory: isDecoder
        ? .init(all: activationsOfMemory.buffers(slot: slot, keeping, block.keptOfMemory, tokens: memoryTokens)) : nil)
  }

  private func longest(_ starts: [Int]) -> Int { zip(starts, starts.dropFirst()).map { $1 - $0 }.max() ?? 0 }

  /// Runs all blocks on whole rows, from the embeddings in `stream` on; activations are kept from block `lowest` on.
  func forward(
    starts: [Int], memory: T5Memory?, lowest: Int, _ keeping: ActivationStore.Keeping, scratch: T5Scratch, workspace: Workspace
  ) {
    let tokens = starts.last ?? 0
    let memoryTokens = memory?.tokens ?? 0
    let bias = bias.prepare(longest: longest(starts))
    for (index, block) in blocks.enumerated() {
      let slot = index - lowest
      let work = buffers(block, slot: slot, keeping, tokens: tokens, memoryTokens: memoryTokens)
      Elementwise.copy(stream.pointer, to: work.own[.input], count: tokens * finalNorm.weight.count)
      block.forward(
        work, starts: starts, bias: bias, memory: memory, scratch: scratch, workspace: workspace, output: stream.pointer)
      activations.keep(slot: slot, keeping, block.kept, tokens: tokens)
      if isDecoder { activationsOfMemory.keep(slot: slot, keeping, block.keptOfMemory, tokens: memoryTokens) }
      // The decoder's last weights are the first that backward needs.
      if !isDecoder || index < blocks.count - 1 { block.releaseWeights() }
    }
  }

  /// - Parameters:
  ///   - gradient: [T, H] enters as the gradient of what `forward` gave and leaves as that of the embeddings, if these need one
  ///   - finished: called with a block's index when its gradients are complete and its weights are not needed any more
  func backward(
    starts: [Int], memory: T5Memory?, lowest: Int, _ keeping: ActivationStore.Keeping, scratch: T5Scratch, workspace: Workspace,
    gradient: UnsafeMutablePointer<Float>, needsInputGradient: Bool, finished: (Int) -> Void
  ) {
    let tokens = starts.last ?? 0
    let memoryTokens = memory?.tokens ?? 0
    let shared = bias.prepare(longest: longest(starts), gradientOf: starts)
    for index in stride(from: blocks.count - 1, through: lowest, by: -1) {
      let block = blocks[index]
      let slot = index - lowest
      let work = T5Block.Buffers(
        own: .init(all: activations.recall(slot: slot, keeping, block.kept, tokens: tokens)),
        ofMemory: isDecoder
          ? .init(all: activationsOfMemory.recall(slot: slot, keeping, block.keptOfMemory, tokens: memoryTokens)) : nil)
      if keeping == .input {
        block.forward(
          work, starts: starts, bias: shared, memory: memory, scratch: scratch, workspace: workspace, output: stream.pointer)
        if block.roundsToBFloat16 {
          work.own.all.round(block.kept, tokens: tokens)
          work.ofMemory?.all.round(block.keptOfMemory, tokens: memoryTokens)
        }
      }
      block.backward(
        work, starts: starts, bias: shared, memory: memory, scratch: scratch, workspace: workspace, gradient: gradient,
        needsInputGradient: index > lowest || needsInputGradient)
      bias.addGradient(starts)
      finished(index)
      block.releaseWeights()
    }
  }

  // MARK: Generation

  /// Keys and values of the sources of rows that begin, for their cache.
  func store(_ memory: T5Memory, in step: CachedStep, width: Int, _ keeping: ActivationStore.Keeping, workspace: Workspace) {
    for (layer, block) in blocks.enumerated() {
      let work = buffers(block, slot: -1, keeping, tokens: 0, memoryTokens: memory.tokens)
      block.forward(memory, work, workspace: workspace)
      guard let kept = work.ofMemory else { continue }
      step.store(k: kept[.k], v: kept[.v], layer: layer, width: width)
    }
  }

  /// Runs all blocks on new tokens of cached rows, from the embeddings in `stream` on.
  func forward(_ step: CachedStep, _ keeping: ActivationStore.Keeping, scratch: T5Scratch, workspace: Workspace) {
    let bias = bias.prepare(longest: step.lengths.max() ?? 0)
    for (index, block) in blocks.enumerated() {
      let work = buffers(block, slot: -1, keeping, tokens: step.ids.count, memoryTokens: 0)
      Elementwise.copy(stream.pointer, to: work.own[.input], count: step.ids.count * finalNorm.weight.count)
      block.forward(
        work, step: step, layer: index, bias: bias, scratch: scratch, workspace: workspace, output: stream.pointer)
    }
  }
}

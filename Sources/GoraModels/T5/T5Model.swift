import CGoraKernels
import GoraCore
import GoraFormats

/// An encoder-decoder of the T5 kind (Raffel et al. 2020; reference: Transformers' T5ForConditionalGeneration and
/// MT5ForConditionalGeneration): the encoder's tokens see each other whole, the decoder's what precedes them and all of the encoder's.
/// Rows are packed on both sides, so that there are no pads. Blocks count from the encoder's first to the decoder's last.
package final class T5Model: GenerativeModel {
  package let config: T5Config
  let encoder: T5Stack
  let decoder: T5Stack
  let embedding: Parameter
  /// The vocabulary projection; the embedding itself where they are tied.
  private let projection: Parameter
  private let head: OutputHead
  private let workspace = Workspace()
  let scratch = T5Scratch()
  /// What the encoder gives [S, H], 1/rms of what it is made of [S], and its gradient [S, H].
  private let memory = FloatBuffer()
  private let memoryDeviation = FloatBuffer()
  private let memoryGradient = FloatBuffer()
  private let gradient = FloatBuffer()
  package var recomputesActivations = false

  /// What blocks keep from forward to backward.
  var keeping: ActivationStore.Keeping { keeping(recomputes: recomputesActivations) }
  func keeping(recomputes: Bool) -> ActivationStore.Keeping { recomputes ? .input : roundsToBFloat16 ? .packed : .whole }
  /// Whether the products round to bf16, as in PyTorch with a bf16 model.
  package var roundsToBFloat16: Bool { stacks.contains { $0.blocks.contains(where: \.roundsToBFloat16) } }

  package init(config: T5Config, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let (name, shape) = config.embedding
    embedding = try source.parameter(name, shape: shape)
    encoder = try T5Stack(isDecoder: false, config: config, from: source)
    decoder = try T5Stack(isDecoder: true, config: config, from: source)
    projection = config.tiesEmbeddings ? embedding : try source.parameter(T5Config.headName, shape: shape)
    head = OutputHead(
      norm: decoder.finalNorm, projection: projection, scale: config.scalesOutput ? 1 / Float(config.hiddenSize).squareRoot() : 1)
  }

  private var stacks: [T5Stack] { [encoder, decoder] }
  package var parameters: [Parameter] {
    [embedding] + stacks.flatMap(\.parameters) + (projection === embedding ? [] : [projection])
  }
  package var blocks: [[Linear]] { stacks.flatMap { $0.blocks.map(\.linears) } }
  package var linearsByInput: [[Linear]] { stacks.flatMap { $0.blocks.flatMap(\.linearsByInput) } }
  package func seesSource(_ linear: Linear) -> Bool {
    encoder.blocks.contains { $0.linears.contains { $0 === linear } } || decoder.blocks.contains { $0.seesMemory(linear) }
  }
  var vocabularyProjection: WeightMatrix { projection.matrix }
  package var vocabularySize: Int { config.vocabularySize }
  package var cachedWidth: KeyValueCache.Width {
    KeyValueCache.Width(layers: config.decoderLayers, heads: config.heads, headSize: config.headSize)
  }

  // MARK: Forward

  /// The last line before memory is read at a token id or a label, whatever let it come so far.
  private func check(_ ids: some Sequence<Int32>) {
    for id in ids where id < 0 || id >= config.vocabularySize {
      Failure.end(
        GoraError(.data, "token id \(id) is not in the model's vocabulary, which has 0 to \(config.vocabularySize - 1)"))
    }
  }

  /// A batch's rows for the encoder, none of which is empty.
  private func source(of batch: PackedBatch) -> PackedTokens {
    guard let source = batch.source, zip(source.starts, source.starts.dropFirst()).allSatisfy({ $0 < $1 }) else {
      Failure.end(GoraError(.data, "a row has nothing for the model's encoder to read"))
    }
    return source
  }

  package func refreshAdapters() { for linear in linears { linear.refresh(workspace: workspace) } }

  private func embed(_ ids: [Int32], in stack: T5Stack) {
    check(ids)
    let x = stack.stream.reserve(ids.count * config.hiddenSize)
    for (t, id) in ids.enumerated() { embedding.matrix.widen(Int(id)..<Int(id) + 1, into: x + t * config.hiddenSize) }
  }

  /// What the encoder makes of its tokens; blocks keep their activations from `lowest` on.
  private func encode(_ source: PackedTokens, lowest: Int) -> T5Memory {
    embed(source.ids, in: encoder)
    encoder.forward(
      starts: source.starts, memory: nil, lowest: lowest, keeping, scratch: scratch, workspace: workspace)
    let states = memory.reserve(source.ids.count * config.hiddenSize)
    encoder.finalNorm.forward(
      encoder.stream.pointer, into: states, rstd: memoryDeviation.reserve(source.ids.count), rows: source.ids.count)
    return T5Memory(states: states, starts: source.starts)
  }

  /// Runs all blocks on whole rows; leaves the last one's output [T, H] in the decoder's stream.
  /// - Parameters:
  ///   - lowest: the lowest block of each stack that keeps its activations.
  private func run(_ batch: PackedBatch, lowest: (encoder: Int, decoder: Int), backward: Bool) -> T5Memory {
    let source = source(of: batch)
    scratch.reserve(config, tokens: max(source.ids.count, batch.ids.count), backward: backward)
    refreshAdapters()
    let memory = encode(source, lowest: lowest.encoder)
    embed(batch.ids, in: decoder)
    decoder.forward(
      starts: batch.starts, memory: memory, lowest: lowest.decoder, keeping, scratch: scratch, workspace: workspace)
    return memory
  }

  private var none: (encoder: Int, decoder: Int) { (config.encoderLayers, config.decoderLayers) }

  /// Logits [T, vocabulary] of every token of the decoder, for tests and small inputs.
  package func logits(_ batch: PackedBatch) -> [Float] {
    _ = run(batch, lowest: none, backward: false)
    let out = head.logits(decoder.stream.pointer, tokens: Array(batch.ids.indices), workspace: workspace)
    return Array(UnsafeBufferPointer(start: out, count: batch.ids.count * config.vocabularySize))
  }

  package func loss(_ batch: PackedBatch, each: ((Int, Double) -> Void)?) -> Double {
    check(batch.targets.lazy.map(\.label))
    _ = run(batch, lowest: none, backward: false)
    return head.loss(
      decoder.stream.pointer, targets: batch.targets, scale: 0, hiddenGradient: nil, each: each, workspace: workspace)
  }

  // MARK: Backward

  /// The lowest block of each stack that backward comes to, and whether it passes the encoder's end.
  private var learning: (encoder: Int, decoder: Int, reachesEncoder: Bool) {
    if embedding.gradient != nil { return (0, 0, true) }
    let lowest = encoder.lowestLearner
    if lowest < config.encoderLayers || encoder.finalNorm.weight.gradient != nil { return (lowest, 0, true) }
    return (lowest, decoder.lowestLearner, false)
  }

  package func accumulateGradient(_ batch: PackedBatch, scale: Float, finished: ((Int) -> Void)?) -> Double {
    check(batch.targets.lazy.map(\.label))
    let (learning, keeping, h) = (learning, keeping, config.hiddenSize)
    var memory = run(batch, lowest: (learning.encoder, learning.decoder), backward: true)
    let dx = zeroed(gradient, batch.ids.count * h)
    if learning.reachesEncoder { memory.gradient = zeroed(memoryGradient, memory.tokens * h) }
    let loss = head.loss(
      decoder.stream.pointer, targets: batch.targets, scale: scale, hiddenGradient: dx, workspace: workspace)
    projection.releasePages()
    decoder.backward(
      starts: batch.starts, memory: memory, lowest: learning.decoder, keeping, scratch: scratch, workspace: workspace,
      gradient: dx, needsInputGradient: embedding.gradient != nil
    ) { finished?(config.encoderLayers + $0) }
    addEmbeddingGradient(batch.ids, dx)
    guard let dMemory = memory.gradient, let source = batch.source else { return loss }
    encoder.finalNorm.backward(
      dMemory, x: encoder.stream.pointer, rstd: memoryDeviation.pointer, rows: memory.tokens, dx: dMemory, accumulates: false)
    encoder.backward(
      starts: memory.starts, memory: nil, lowest: learning.encoder, keeping, scratch: scratch, workspace: workspace,
      gradient: dMemory, needsInputGradient: embedding.gradient != nil
    ) { finished?($0) }
    addEmbeddingGradient(source.ids, dMemory)
    return loss
  }

  private func zeroed(_ buffer: FloatBuffer, _ count: Int) -> UnsafeMutablePointer<Float> {
    let start = buffer.reserve(count)
    start.update(repeating: 0, count: count)
    return start
  }

  private func addEmbeddingGradient(_ ids: [Int32], _ dx: UnsafePointer<Float>) {
    guard let sum = embedding.gradient else { return }
    let h = config.hiddenSize
    for (t, id) in ids.enumerated() { gora_add(sum.pointer + Int(id) * h, dx + t * h, h) }
  }

  // MARK: Generation

  package func next(_ step: CachedStep) -> UnsafeMutablePointer<Float> {
    scratch.reserve(config, tokens: max(step.source?.ids.count ?? 0, step.ids.count), backward: false)
    if let begun = step.source {
      let memory = encode(PackedTokens(ids: begun.ids, starts: begun.starts), lowest: config.encoderLayers)
      decoder.store(memory, in: begun, width: config.innerSize, keeping, workspace: workspace)
    }
    embed(step.ids, in: decoder)
    decoder.forward(step, keeping, scratch: scratch, workspace: workspace)
    return head.logits(decoder.stream.pointer, tokens: step.starts.dropFirst().map { $0 - 1 }, workspace: workspace)
  }
}

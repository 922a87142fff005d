import CGoraKernels
import GoraCore
import GoraFormats

/// A decoder-only transformer: embedding, layers, final norm and head. What families of them differ in is said by `config`.
package final class Decoder: ScoringModel {
  package let config: DecoderConfig
  package let layers: [DecoderLayer]
  let embedding: Parameter
  private let finalNorm: RMSNorm
  /// The vocabulary projection; the embedding itself where they are tied.
  private let projection: Parameter
  private let head: OutputHead
  private let rotary: RotaryTable
  /// Of the layers with windows; the same where they have no settings of their own.
  private let slidingRotary: RotaryTable
  private let workspace = Workspace()
  let scratch = LayerScratch()
  let activations = ActivationStore()
  private let output = FloatBuffer()
  private let gradient = FloatBuffer()
  package var recomputesActivations = false

  /// What layers keep from forward to backward.
  var keeping: ActivationStore.Keeping { keeping(recomputes: recomputesActivations) }
  func keeping(recomputes: Bool) -> ActivationStore.Keeping { recomputes ? .input : roundsToBFloat16 ? .packed : .whole }
  /// Whether the products round to bf16, as in PyTorch with a bf16 model.
  package var roundsToBFloat16: Bool { layers.contains(where: \.roundsToBFloat16) }

  package init(config: DecoderConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    embedding = try source.parameter(DecoderConfig.embeddingName, shape: [config.vocabularySize, config.hiddenSize])
    var layers: [DecoderLayer] = []
    for index in 0..<config.layers { layers.append(try DecoderLayer(index: index, config: config, from: source)) }
    self.layers = layers
    finalNorm = try RMSNorm("model.norm.weight", width: config.hiddenSize, config, from: source)
    projection =
      config.tiesEmbeddings
      ? embedding : try source.parameter(DecoderConfig.headName, shape: [config.vocabularySize, config.hiddenSize])
    head = OutputHead(norm: finalNorm, projection: projection, softCap: config.logitSoftCap)
    rotary = RotaryTable(config.rotary, headSize: config.headSize)
    slidingRotary = config.slidingRotary.map { RotaryTable($0, headSize: config.headSize) } ?? rotary
  }

  package var parameters: [Parameter] {
    [embedding] + layers.flatMap(\.parameters) + [finalNorm.weight] + (projection === embedding ? [] : [projection])
  }

  var vocabularyProjection: WeightMatrix { projection.matrix }
  package var vocabularySize: Int { config.vocabularySize }
  package var cachedWidth: KeyValueCache.Width {
    KeyValueCache.Width(layers: config.layers, heads: config.keyValueHeads, headSize: config.headSize)
  }

  package var blocks: [[Linear]] { layers.map(\.linears) }
  package var linearsByInput: [[Linear]] { layers.flatMap(\.linearsByInput) }

  // MARK: Forward

  /// The last line before memory is read at a token id or a label, whatever let it come so far.
  private func check(_ ids: some Sequence<Int32>) {
    for id in ids where id < 0 || id >= config.vocabularySize {
      Failure.end(
        GoraError(.data, "token id \(id) is not in the model's vocabulary, which has 0 to \(config.vocabularySize - 1)"))
    }
  }

  package func refreshAdapters() { for linear in linears { linear.refresh(workspace: workspace) } }

  /// The factor of the embeddings, which takes their precision as in Transformers.
  private var embeddingScale: Float {
    embedding.roundsInputs ? Float(BFloat16(config.embeddingScale)) : config.embeddingScale
  }

  func embed(_ ids: [Int32], into x: UnsafeMutablePointer<Float>) {
    let h = config.hiddenSize
    check(ids)
    for (t, id) in ids.enumerated() { embedding.matrix.widen(Int(id)..<Int(id) + 1, into: x + t * h) }
    if config.embeddingScale != 1 {
      gora_scale(x, embeddingScale, ids.count * h)
      if embedding.roundsInputs { gora_round_bf16(x, x, ids.count * h) }
    }
  }

  /// Makes the angles of new tokens.
  private func prepareRotary(positions: [Int32], starts: [Int]) {
    rotary.prepare(positions: positions, starts: starts)
    if slidingRotary !== rotary { slidingRotary.prepare(positions: positions, starts: starts) }
  }

  private func rotary(of layer: Int) -> RotaryTable { config.windows[layer] == nil ? rotary : slidingRotary }

  /// Runs all layers on whole rows; returns the last layer's output [T, H], valid until the next call.
  ///
  /// Activations are kept from layer `keepFrom` on.
  private func hidden(_ batch: PackedBatch, keepFrom: Int) -> UnsafeMutablePointer<Float> {
    let size = batch.tokens * config.hiddenSize
    prepareRotary(positions: batch.positions, starts: batch.starts)
    refreshAdapters()
    let keeping = keeping
    let out = output.reserve(size)
    embed(batch.ids, into: out)
    for (index, layer) in layers.enumerated() {
      let (slot, declared) = (index - keepFrom, layer.kept)
      let work = activations.buffers(slot: slot, keeping, declared, tokens: batch.tokens)
      Elementwise.copy(out, to: work[.input], count: size)
      layer.forward(work, batch: batch, rotary: rotary(of: index), scratch: scratch, workspace: workspace, output: out)
      activations.keep(slot: slot, keeping, declared, tokens: batch.tokens)
      // The last layer's weights are the first that backward needs.
      if index < layers.count - 1 { layer.releaseWeights() }
    }
    return out
  }

  /// Logits [T, vocabulary] of every token, for tests and small inputs.
  package func logits(_ batch: PackedBatch) -> [Float] {
    let x = hidden(batch, keepFrom: config.layers)
    let out = head.logits(x, tokens: Array(0..<batch.tokens), workspace: workspace)
    return Array(UnsafeBufferPointer(start: out, count: batch.tokens * config.vocabularySize))
  }

  package func loss(_ batch: PackedBatch, each: ((Int, Double) -> Void)?) -> Double {
    check(batch.targets.lazy.map(\.label))
    let x = hidden(batch, keepFrom: config.layers)
    return head.loss(x, targets: batch.targets, scale: 0, hiddenGradient: nil, each: each, workspace: workspace)
  }

  // MARK: Backward

  /// The lowest layer that learns; nothing below it is back-propagated.
  private var lowestLearner: Int {
    if embedding.gradient != nil { return 0 }
    return layers.firstIndex(where: \.learns) ?? config.layers
  }

  package func accumulateGradient(_ batch: PackedBatch, scale: Float, finished: ((Int) -> Void)?) -> Double {
    let (lowest, keeping) = (lowestLearner, keeping)
    let size = batch.tokens * config.hiddenSize
    check(batch.targets.lazy.map(\.label))
    let x = hidden(batch, keepFrom: lowest)
    let dx = gradient.reserve(size)
    dx.update(repeating: 0, count: size)
    let loss = head.loss(x, targets: batch.targets, scale: scale, hiddenGradient: dx, workspace: workspace)
    projection.releasePages()
    for index in stride(from: config.layers - 1, through: lowest, by: -1) {
      let (layer, declared) = (layers[index], layers[index].kept)
      let own = activations.recall(slot: index - lowest, keeping, declared, tokens: batch.tokens)
      if keeping == .input {
        layer.forward(
          own, batch: batch, rotary: rotary(of: index), scratch: scratch, workspace: workspace, output: output.pointer)
        if roundsToBFloat16 { own.round(declared, tokens: batch.tokens) }
      }
      layer.backward(
        own, batch: batch, rotary: rotary(of: index), scratch: scratch, workspace: workspace, gradient: dx,
        needsInputGradient: index > lowest || embedding.gradient != nil)
      finished?(index)
      layer.releaseWeights()
    }
    if let sum = embedding.gradient {
      let h = config.hiddenSize
      for (t, id) in batch.ids.enumerated() { gora_add_scaled(sum.pointer + Int(id) * h, dx + t * h, embeddingScale, h) }
    }
    return loss
  }

  // MARK: Generation

  package func next(_ step: CachedStep) -> UnsafeMutablePointer<Float> {
    head.logits(hidden(step), tokens: step.starts.dropFirst().map { $0 - 1 }, workspace: workspace)
  }

  package func losses(_ step: CachedStep, targets: [(token: Int, label: Int32)]) -> [Double] {
    check(targets.lazy.map(\.label))
    var losses = [Double](repeating: 0, count: targets.count)
    let x = hidden(step)
    _ = head.loss(x, targets: targets, scale: 0, hiddenGradient: nil, each: { losses[$0] = $1 }, workspace: workspace)
    return losses
  }

  /// Runs all layers on new tokens; returns the last layer's output [T, H], valid until the next call.
  private func hidden(_ step: CachedStep) -> UnsafeMutablePointer<Float> {
    let size = step.ids.count * config.hiddenSize
    prepareRotary(positions: step.positions, starts: step.starts)
    let out = output.reserve(size)
    embed(step.ids, into: out)
    for (index, layer) in layers.enumerated() {
      let work = activations.buffers(slot: -1, keeping, layer.kept, tokens: step.ids.count)
      Elementwise.copy(out, to: work[.input], count: size)
      layer.forward(
        work, step: step, layer: index, rotary: rotary(of: index), scratch: scratch, workspace: workspace, output: out)
    }
    return out
  }
}

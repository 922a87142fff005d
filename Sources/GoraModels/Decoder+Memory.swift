import GoraCore

extension Decoder {
  package var activationBytesPerToken: Int { 4 * layers.count * DecoderLayer.kept(config).reduce(0) { $0 + $1.width } }

  package func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    // Scratch of the adapter at work: dy·B, inputs that are left, scaled dy.
    let adapters = linears.compactMap(\.adapter)
    let low = adapters.map(\.rank).max() ?? 0
    let dropped = adapters.filter { $0.dropoutRate > 0 }.map { $0.a.shape[1] }.max() ?? 0
    let scaled = adapters.filter { $0.outputScale != nil }.map { $0.b.shape[0] }.max() ?? 0
    let rows = OutputHead.rows(labelled, vocabulary: config.vocabularySize)
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: lowest, keeping(recomputes: recomputes), tokens: tokens)
      + LayerScratch.floats(config, tokens: tokens, backward: true)
      + tokens * (2 * config.hiddenSize + low + dropped + scaled)
      + OutputHead.floats(config.embedding.shape, rows: rows, backward: true)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows, rowWidth: max(config.vocabularySize, config.hiddenSize)))
  }

  package func lossBytes(tokens: Int, labelled: Int) -> Int {
    forwardBytes(tokens: tokens, rows: OutputHead.rows(labelled, vocabulary: config.vocabularySize))
  }

  /// Bytes that a forward pass takes which keeps nothing: one layer's activations are shared among all.
  /// - Parameter rows: of logits at a time.
  package func forwardBytes(tokens: Int, rows: Int) -> Int {
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: layers.count, keeping, tokens: tokens)
      + LayerScratch.floats(config, tokens: tokens, backward: false)
      + tokens * config.hiddenSize
      + OutputHead.floats(config.embedding.shape, rows: rows, backward: false)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows, rowWidth: config.hiddenSize))
  }

  /// Attention's two tiles a thread, and what products widen and round.
  private func scratchFloats(tokens: Int, rows: Int, rowWidth: Int) -> Int {
    let widest = max(config.intermediateSize, config.hiddenSize, config.querySize)
    let threads = ThreadPool.threads
    let matrices = linears.map(\.weight.matrix) + [vocabularyProjection]
    var floats = threads * (2 * 128 * 256 + 2 * 128)
    floats += matrices.map { $0.scratchCount(threads: threads) }.max() ?? 0
    if matrices.contains(where: \.roundsInputs) { floats += max(tokens * widest, rows * rowWidth) }
    return floats
  }

  package func mappedBytes(distinctTokens: Int, releases: Bool) -> Int {
    var all = parameters.reduce(0) { $0 + $1.mappedBytes }
    if releases {
      let ofLayers = layers.map { layer in layer.linears.reduce(0) { $0 + $1.weight.releasableBytes } }
      all += (ofLayers.max() ?? 0) - ofLayers.reduce(0, +)
    }
    return config.tiesEmbeddings ? all : all - embedding.mappedBytes + min(embedding.mappedBytes, distinctTokens << 16)
  }
}

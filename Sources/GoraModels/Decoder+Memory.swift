import GoraCore

extension Decoder {
  package var activationBytesPerToken: Int { 4 * layers.count * DecoderLayer.kept(config).reduce(0) { $0 + $1.width } }

  package func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    let rows = OutputHead.rows(labelled, vocabularyProjection)
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: lowest, keeping(recomputes: recomputes), tokens: tokens)
      + LayerScratch.floats(config, tokens: tokens, backward: true)
      + tokens * (2 * config.hiddenSize + adapterScratchWidth)
      + OutputHead.floats(config.embedding.shape, rows: rows, backward: true)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows))
  }

  package func lossBytes(tokens: Int, labelled: Int) -> Int {
    forwardBytes(tokens: tokens, rows: OutputHead.rows(labelled, vocabularyProjection))
  }

  /// Bytes that a forward pass takes which keeps nothing: one layer's activations are shared among all.
  /// - Parameter rows: of logits at a time.
  package func forwardBytes(tokens: Int, rows: Int) -> Int {
    let floats =
      ActivationStore.floats(layers.map(\.kept), lowest: layers.count, keeping, tokens: tokens)
      + LayerScratch.floats(config, tokens: tokens, backward: false)
      + tokens * config.hiddenSize
      + OutputHead.floats(config.embedding.shape, rows: rows, backward: false)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows))
  }

  /// Attention's tiles a thread, and what products widen and round.
  private func scratchFloats(tokens: Int, rows: Int) -> Int {
    let widest = max(config.intermediateSize, config.hiddenSize, config.querySize)
    return productScratchFloats(
      headSize: config.headSize, last: vocabularyProjection, rounded: max(tokens * widest, rows * config.hiddenSize))
  }

  package func mappedBytes(distinctTokens: Int, releases: Bool) -> Int {
    let all = residentBytes(of: parameters, releases: releases)
    return config.tiesEmbeddings ? all : all - embedding.mappedBytes + min(embedding.mappedBytes, distinctTokens << 16)
  }
}

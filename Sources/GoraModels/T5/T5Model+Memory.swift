import GoraCore

extension T5Model {
  package var activationBytesPerToken: Int {
    func width(_ declared: [ActivationBuffer]) -> Int { declared.reduce(0) { $0 + $1.width } }
    let ofSource =
      config.encoderLayers * width(T5Block.kept(config, isDecoder: false))
      + config.decoderLayers * width(T5Block.keptOfMemory(config))
    return 4 * max(ofSource, config.decoderLayers * width(T5Block.kept(config, isDecoder: true)))
  }

  /// How the tokens of a batch are shared out between encoder and decoder is not asked for: what is counted grows with either, and the
  /// sum of what grows so is largest where all are on one side.
  package func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    max(
      activationBytes(source: tokens, target: 0, labelled: labelled, lowest: lowest, recomputes: recomputes),
      activationBytes(source: 0, target: tokens, labelled: labelled, lowest: lowest, recomputes: recomputes))
  }

  package func lossBytes(tokens: Int, labelled: Int) -> Int {
    forwardBytes(tokens: tokens, rows: OutputHead.rows(labelled, vocabularyProjection))
  }

  package func forwardBytes(tokens: Int, rows: Int) -> Int {
    max(forwardBytes(source: tokens, target: 0, rows: rows), forwardBytes(source: 0, target: tokens, rows: rows))
  }

  /// Bytes that `accumulateGradient` takes at most of a batch with so many tokens for the encoder and for the decoder.
  func activationBytes(source: Int, target: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    let keeping = keeping(recomputes: recomputes)
    let ofEncoder = min(lowest, config.encoderLayers)
    let reachesEncoder = ofEncoder < config.encoderLayers
    let ofDecoder = reachesEncoder ? 0 : lowest - config.encoderLayers
    let rows = OutputHead.rows(labelled, vocabularyProjection)
    let tokens = max(source, target)
    let floats =
      ofStacks(source: source, target: target, lowest: (ofEncoder, ofDecoder), keeping)
      + T5Scratch.floats(config, tokens: tokens, backward: true) + biases(source: source, target: target, backward: true)
      + target * 2 * config.hiddenSize + source * ((reachesEncoder ? 3 : 2) * config.hiddenSize + 1)
      + tokens * (adapterScratchWidth) + OutputHead.floats(projectionShape, rows: rows, backward: true)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows))
  }

  /// Bytes that a forward pass takes which keeps nothing.
  func forwardBytes(source: Int, target: Int, rows: Int) -> Int {
    let tokens = max(source, target)
    let floats =
      ofStacks(source: source, target: target, lowest: (config.encoderLayers, config.decoderLayers), keeping)
      + T5Scratch.floats(config, tokens: tokens, backward: false) + biases(source: source, target: target, backward: false)
      + target * config.hiddenSize + source * (2 * config.hiddenSize + 1)
      + OutputHead.floats(projectionShape, rows: rows, backward: false)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows))
  }

  private var projectionShape: [Int] { config.embedding.shape }

  /// Floats that both stacks keep.
  func ofStacks(
    source: Int, target: Int, lowest: (encoder: Int, decoder: Int), _ keeping: ActivationStore.Keeping
  ) -> Int {
    ActivationStore.floats(encoder.blocks.map(\.kept), lowest: lowest.encoder, keeping, tokens: source)
      + ActivationStore.floats(decoder.blocks.map(\.kept), lowest: lowest.decoder, keeping, tokens: target)
      + ActivationStore.floats(decoder.blocks.map(\.keptOfMemory), lowest: lowest.decoder, keeping, tokens: source)
  }

  /// Floats of the biases by distance, where one row has all tokens.
  private func biases(source: Int, target: Int, backward: Bool) -> Int {
    encoder.bias.floats(longest: source, tokens: source, backward: backward)
      + decoder.bias.floats(longest: target, tokens: target, backward: backward)
  }

  /// Attention's tiles a thread, and what products widen and round.
  private func scratchFloats(tokens: Int, rows: Int) -> Int {
    let widest = max(config.intermediateSize, config.hiddenSize, config.innerSize)
    return productScratchFloats(
      headSize: config.headSize, last: vocabularyProjection, rounded: max(tokens * widest, rows * config.hiddenSize))
  }

  package func mappedBytes(distinctTokens: Int, releases: Bool) -> Int {
    let all = residentBytes(of: parameters, releases: releases)
    return config.tiesEmbeddings ? all : all - embedding.mappedBytes + min(embedding.mappedBytes, distinctTokens << 16)
  }
}

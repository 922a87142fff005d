import GoraCore

extension Llama {
  /// Bytes that `accumulateGradient` takes for activations and scratch: the buffers of LayerActivations, LayerScratch, OutputHead,
  /// Workspace and Llama itself, one by one.
  /// - Parameters:
  ///   - tokens: of the largest batch.
  ///   - labelled: most labelled tokens of a batch.
  ///   - lowest: the lowest layer that learns.
  package func activationBytes(tokens: Int, labelled: Int, lowest: Int, recomputes: Bool) -> Int {
    let (h, f, q, kv, v) = (
      config.hiddenSize, config.intermediateSize, config.querySize, config.keyValueSize, config.vocabularySize
    )
    let threads = ThreadPool.threads
    // LayerActivations: a full set, and what recomputation keeps of one.
    let set = 2 * h + 2 * q + 2 * kv + 2 * f + config.heads + 2
    let slots = config.layers - lowest
    // One set is shared by the layers whose activations are not kept as they are.
    let sets =
      if recomputes { slots * h + set } else if keeping == .packed {
        slots * PackedActivations.floatsPerToken(config) + set
      } else { slots * set + (lowest > 0 ? set : 0) }
    let scratch = 2 * h + max(f, h) + 3 * f + 2 * q + 2 * kv
    let adapters = linears.compactMap { $0.adapter?.rank }
    var floats = tokens * (sets + scratch + 2 * h + adapters.reduce(0, +) + (adapters.max() ?? 0))
    // OutputHead: a chunk of labelled rows.
    let rows = min(labelled, OutputHead.chunk(vocabulary: v))
    floats += rows * (v + 4 * h + 1)
    // Attention: two tiles a thread.
    floats += threads * (2 * 128 * 256 + 2 * 128)
    let matrices = linears.map(\.weight.matrix) + [vocabularyProjection]
    floats += matrices.map { $0.scratchCount(threads: threads) }.max() ?? 0
    if matrices.contains(where: \.roundsInputs) { floats += max(tokens * max(f, h, q), rows * max(v, h)) }
    return 4 * floats
  }

  /// Bytes of mapped weights that are resident at a time: a layer's, the projection's, and all that are too small to let go.
  /// - Parameter distinctTokens: token ids that the run embeds: of an embedding of its own only their rows are read, and the kernel
  ///   maps about 64 KiB around each.
  package func mappedBytes(distinctTokens: Int) -> Int {
    let ofLayers = layers.map { layer in layer.linears.reduce(0) { $0 + $1.weight.releasableBytes } }
    let all = parameters.reduce(0) { $0 + $1.mappedBytes } - ofLayers.reduce(0, +) + (ofLayers.max() ?? 0)
    return config.tiesEmbeddings ? all : all - embedding.mappedBytes + min(embedding.mappedBytes, distinctTokens << 16)
  }
}

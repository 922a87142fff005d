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
    let set = floatsOfLayer
    let slots = config.layers - lowest
    // One set is shared by the layers whose activations are not kept as they are.
    let sets =
      if recomputes { slots * h + set } else if keeping == .packed {
        slots * PackedActivations.floatsPerToken(config) + set
      } else { slots * set + (lowest > 0 ? set : 0) }
    let scratch = 2 * h + max(f, h) + 3 * f + 2 * q + 2 * kv
    let adapters = linears.compactMap(\.adapter)
    let kept = adapters.reduce(0) { $0 + $1.keptFloats }
    // Scratch of the adapter at work: dy·B, inputs that are left, scaled dy.
    let low = adapters.map(\.rank).max() ?? 0
    let dropped = adapters.filter { $0.dropoutRate > 0 }.map { $0.a.shape[1] }.max() ?? 0
    let scaled = adapters.filter { $0.magnitude != nil }.map { $0.b.shape[0] }.max() ?? 0
    var floats = tokens * (sets + scratch + 2 * h + kept + low + dropped + scaled)
    // OutputHead: a chunk of labelled rows.
    let rows = min(labelled, OutputHead.chunk(vocabulary: v))
    floats += rows * (v + 4 * h + 1)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows, widest: max(f, h, q), rowWidth: max(v, h)))
  }

  /// Bytes that `loss` takes.
  /// - Parameters:
  ///   - tokens: of the largest batch.
  ///   - labelled: most labelled tokens of a batch.
  package func lossBytes(tokens: Int, labelled: Int) -> Int {
    forwardBytes(tokens: tokens, rows: min(labelled, OutputHead.chunk(vocabulary: config.vocabularySize)))
  }

  /// Bytes that a forward pass takes which keeps nothing: one layer's activations are shared among all.
  /// - Parameter rows: of logits at a time.
  func forwardBytes(tokens: Int, rows: Int) -> Int {
    let (h, f, q, v) = (config.hiddenSize, config.intermediateSize, config.querySize, config.vocabularySize)
    let adapters = layers.map { layer in layer.linears.reduce(0) { $0 + ($1.adapter?.keptFloats ?? 0) } }
    let floats = tokens * (floatsOfLayer + 2 * h + f + (adapters.max() ?? 0)) + rows * (v + 2 * h + 1)
    return 4 * (floats + scratchFloats(tokens: tokens, rows: rows, widest: max(f, h, q), rowWidth: h))
  }

  /// LayerActivations of one token.
  private var floatsOfLayer: Int {
    2 * config.hiddenSize + 2 * config.querySize + 2 * config.keyValueSize + 2 * config.intermediateSize + config.heads + 2
  }

  /// Attention's two tiles a thread, and what products widen and round.
  private func scratchFloats(tokens: Int, rows: Int, widest: Int, rowWidth: Int) -> Int {
    let threads = ThreadPool.threads
    let matrices = linears.map(\.weight.matrix) + [vocabularyProjection]
    var floats = threads * (2 * 128 * 256 + 2 * 128)
    floats += matrices.map { $0.scratchCount(threads: threads) }.max() ?? 0
    if matrices.contains(where: \.roundsInputs) { floats += max(tokens * widest, rows * rowWidth) }
    return floats
  }

  /// Bytes of mapped weights that are resident at a time.
  /// - Parameters:
  ///   - distinctTokens: token ids that the run embeds: of an embedding of its own only their rows are read, and the kernel maps
  ///     about 64 KiB around each.
  ///   - releases: whether layers let their weights go, as all but generation do: then a layer's, the projection's, and all that are
  ///     too small to let go.
  package func mappedBytes(distinctTokens: Int, releases: Bool = true) -> Int {
    var all = parameters.reduce(0) { $0 + $1.mappedBytes }
    if releases {
      let ofLayers = layers.map { layer in layer.linears.reduce(0) { $0 + $1.weight.releasableBytes } }
      all += (ofLayers.max() ?? 0) - ofLayers.reduce(0, +)
    }
    return config.tiesEmbeddings ? all : all - embedding.mappedBytes + min(embedding.mappedBytes, distinctTokens << 16)
  }
}

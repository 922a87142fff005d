import CGoraKernels
import GoraCore

/// CLIP's text tower (`CLIPTextModel` and `text_projection`), which is run forward only: its texts are the classes of images.
final class TextTower {
  private let config: CLIPConfig
  private let tokens: Parameter
  private let positions: Parameter
  private let layers: [CLIPLayer]
  private let finalNorm: LayerNorm
  private let projection: Linear

  init(_ config: CLIPConfig, from source: any ParameterSource) throws(GoraError) {
    self.config = config
    let h = config.text.hiddenSize
    tokens = try source.parameter(CLIPConfig.tokenEmbeddingName, shape: [config.vocabularySize, h])
    positions = try source.parameter(
      "\(CLIPConfig.textPrefix).embeddings.position_embedding.weight", shape: [config.textPositions, h])
    var layers: [CLIPLayer] = []
    for index in 0..<config.text.layers {
      layers.append(try CLIPLayer(CLIPConfig.textPrefix, index: index, tower: config.text, isCausal: true, from: source))
    }
    self.layers = layers
    finalNorm = try LayerNorm(
      "\(CLIPConfig.textPrefix).final_layer_norm", width: h, epsilon: config.text.epsilon, from: source)
    projection = try Linear(
      name: "text_projection", outputSize: config.projectionSize, inputSize: h, hasBias: false, from: source)
  }

  var parameters: [Parameter] { [tokens, positions] + layers.flatMap(\.parameters) + finalNorm.parameters + [projection.weight] }

  /// Tokens that run together.
  private static let mostTokens = 4096

  /// The texts in the shared space [n, D], each as long as 1.
  /// - Parameter rows: token ids of the vocabulary, no more than there are positions.
  func features(_ rows: [[Int32]]) -> [Float] {
    var result: [Float] = []
    var part: [[Int32]] = []
    for row in rows {
      if !part.isEmpty, part.reduce(row.count, { $0 + $1.count }) > Self.mostTokens {
        result += run(part)
        part = []
      }
      part.append(row)
    }
    return part.isEmpty ? result : result + run(part)
  }

  private func run(_ rows: [[Int32]]) -> [Float] {
    let packed = PackedTokens(rows)
    let (h, d, count) = (config.text.hiddenSize, config.projectionSize, packed.ids.count)
    let (x, position) = (FloatBuffer(capacity: count * h), FloatBuffer(capacity: h))
    let (pooled, statistics) = (FloatBuffer(capacity: rows.count * h), FloatBuffer(capacity: 2 * rows.count))
    let (out, nothing) = (FloatBuffer(capacity: rows.count * d), FloatBuffer())
    // Their pointers are used beyond the last word of them.
    defer { withExtendedLifetime((x, position, pooled, statistics, out)) {} }
    for row in 0..<rows.count {
      for (place, token) in (packed.starts[row]..<packed.starts[row + 1]).enumerated() {
        let id = Int(packed.ids[token])
        tokens.matrix.widen(id..<id + 1, into: x.pointer + token * h)
        positions.matrix.widen(place..<place + 1, into: position.pointer)
        gora_add(x.pointer + token * h, position.pointer, h)
      }
    }
    let (store, scratch, workspace) = (ActivationStore(), CLIPScratch(), Workspace())
    for layer in layers {
      let work = store.buffers(slot: -1, .whole, layer.kept, tokens: count)
      Elementwise.copy(x.pointer, to: CLIPLayer.input(of: work), count: count * h)
      layer.forward(work, starts: packed.starts, scratch: scratch, workspace: workspace, output: x.pointer)
      layer.releaseWeights()
    }
    for (row, ids) in rows.enumerated() {
      (pooled.pointer + row * h).update(from: x.pointer + (packed.starts[row] + pooledToken(ids)) * h, count: h)
    }
    // Each row has a norm of its own, so that those of the pooled tokens alone are enough.
    finalNorm.forward(pooled.pointer, into: pooled.pointer, statistics: statistics.pointer, rows: rows.count)
    projection.forward(pooled.pointer, tokens: rows.count, into: out.pointer, down: nothing, workspace: workspace)
    for row in 0..<rows.count { _ = normalise(out.pointer + row * d, count: d) }
    return Array(UnsafeBufferPointer(start: out.pointer, count: rows.count * d))
  }

  /// Which token of a text stands for it: the first end token, in older files that of the largest id; the first where there is none.
  private func pooledToken(_ ids: [Int32]) -> Int {
    let wanted = config.largestIdPools ? ids.max() : config.eosToken
    return ids.firstIndex { $0 == wanted } ?? 0
  }
}

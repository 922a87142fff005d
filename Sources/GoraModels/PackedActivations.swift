import CGoraKernels
import GoraCore

/// A layer's kept activations with the large ones in bf16, as PyTorch keeps all of them for a model in bf16: a little more than half
/// the memory. The residual stream, norms' factors and what adapters keep stay in f32.
final class PackedActivations {
  private let whole = FloatBuffer()
  private let half = FloatBuffer()

  /// What is kept of `activations`, with the floats of each.
  private static func buffers(
    _ activations: LayerActivations, of layer: DecoderLayer, tokens: Int
  ) -> (whole: [(FloatBuffer, Int)], half: [(FloatBuffer, Int)]) {
    let config = layer.config
    let (h, f, q, kv) = (config.hiddenSize, config.intermediateSize, config.querySize, config.keyValueSize)
    var whole = [
      (activations.input, tokens * h), (activations.middle, tokens * h), (activations.inputDeviation, tokens),
      (activations.middleDeviation, tokens), (activations.logSumExp, tokens * config.heads),
    ]
    for kind in LinearKind.allCases {
      if let adapter = layer.linear(kind).adapter, adapter.rank > 0 {
        whole.append((activations.down(kind), tokens * adapter.keptFloats))
      }
    }
    let half = [
      (activations.q, tokens * q), (activations.k, tokens * kv), (activations.v, tokens * kv),
      (activations.attention, tokens * q), (activations.gate, tokens * f), (activations.up, tokens * f),
    ]
    return (whole, half)
  }

  /// Rounds what is kept in 16 bits where it lies: recomputed activations are then those that come back from being kept.
  static func round(_ activations: LayerActivations, of layer: DecoderLayer, tokens: Int) {
    for (buffer, count) in buffers(activations, of: layer, tokens: tokens).half {
      let x = buffer.pointer
      parallelRanges(count, grain: 65_536, alignment: 32) { gora_round_bf16(x + $0.lowerBound, x + $0.lowerBound, $0.count) }
    }
  }

  /// Floats that a layer's packed activations take for each token, adapters left out.
  static func floatsPerToken(_ config: ModelConfig) -> Int {
    2 * config.hiddenSize + 2 + config.heads + config.querySize + config.keyValueSize + config.intermediateSize
  }

  /// Takes in what `layer` left in `activations`.
  func store(_ activations: LayerActivations, of layer: DecoderLayer, tokens: Int) {
    let buffers = Self.buffers(activations, of: layer, tokens: tokens)
    var out = whole.reserve(buffers.whole.reduce(0) { $0 + $1.1 })
    for (buffer, count) in buffers.whole {
      out.update(from: buffer.pointer, count: count)
      out += count
    }
    var narrow = halfWords(buffers.half.reduce(0) { $0 + $1.1 })
    for (buffer, count) in buffers.half {
      let (x, y) = (buffer.pointer, narrow)
      parallelRanges(count, grain: 65_536, alignment: 32) { gora_f32_to_bf16(x + $0.lowerBound, y + $0.lowerBound, $0.count) }
      narrow += count
    }
  }

  /// Puts it back, rounded.
  func load(into activations: LayerActivations, of layer: DecoderLayer, tokens: Int) {
    let buffers = Self.buffers(activations, of: layer, tokens: tokens)
    var from = whole.pointer
    for (buffer, count) in buffers.whole {
      buffer.reserve(count).update(from: from, count: count)
      from += count
    }
    var narrow = halfWords(0)
    for (buffer, count) in buffers.half {
      let (x, y) = (narrow, buffer.reserve(count))
      parallelRanges(count, grain: 65_536, alignment: 32) { gora_bf16_to_f32(x + $0.lowerBound, y + $0.lowerBound, $0.count) }
      narrow += count
    }
  }

  private func halfWords(_ count: Int) -> UnsafeMutablePointer<UInt16> {
    UnsafeMutableRawPointer(half.reserve((count + 1) / 2)).assumingMemoryBound(to: UInt16.self)
  }
}

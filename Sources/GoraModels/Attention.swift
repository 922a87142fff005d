import CGoraKernels
import Glibc
import GoraCore

/// Causal grouped-query attention over packed rows, shared out by row, key/value head and tile of tokens.
struct Attention {
  let heads: Int
  let keyValueHeads: Int
  let headSize: Int
  /// A query sees so many keys, its own included; nil: all before it.
  var window: Int?
  /// Factor of the scores.
  let scale: Float
  /// Scores s become c·tanh(s/c) for such a c.
  var softCap: Float?

  private var group: Int { heads / keyValueHeads }

  private var shape: gora_attention_shape {
    gora_attention_shape(
      window: window.map { Int64($0) } ?? .max, group: Int64(group), d: Int64(headSize),
      q_stride: Int64(heads * headSize), kv_stride: Int64(keyValueHeads * headSize), lse_stride: Int64(heads), scale: scale,
      cap: softCap ?? 0)
  }

  /// Tokens of a row, for one key/value head and its queries; offsets to the row's beginning.
  private struct Part {
    let index: (row: Int, head: Int)
    let tokens: gora_range
    let row: gora_range
    let q: Int
    let kv: Int
    let lse: Int
  }

  /// - Parameter length: rows are cut at its multiples; nil: they stay whole
  private func parts(_ starts: [Int], length: Int? = nil) -> [Part] {
    var parts: [Part] = []
    for row in 0..<starts.count - 1 {
      let (start, tokens) = (starts[row], starts[row + 1] - starts[row])
      let length = length ?? max(1, tokens)
      for head in 0..<keyValueHeads {
        for from in stride(from: 0, to: tokens, by: length) {
          parts.append(
            Part(
              index: (row, head), tokens: gora_range(from: Int64(from), to: Int64(min(tokens, from + length))),
              row: gora_range(from: 0, to: Int64(tokens)), q: (start * heads + head * group) * headSize,
              kv: (start * keyValueHeads + head) * headSize, lse: start * heads + head * group))
        }
      }
    }
    return parts
  }

  /// o = softmax(q·kᵀ·scale)·v within each row, the scores capped where they are.
  /// - Parameters:
  ///   - q: [T, heads·d]; k, v: [T, kvHeads·d]; o: [T, heads·d]
  ///   - lse: [T, heads], kept for backward
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, starts: [Int], o: UnsafeMutablePointer<Float>,
    lse: UnsafeMutablePointer<Float>
  ) {
    let parts = parts(starts, length: Int(GORA_ATTENTION_TILE))
    parallelParts(parts.count) { index in
      let part = parts[index]
      var shape = shape
      gora_attention(&shape, part.tokens, q + part.q, k + part.kv, v + part.kv, o + part.q, lse + part.lse)
    }
  }

  /// dq, dk, dv are overwritten.
  func backward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, o: UnsafePointer<Float>,
    lse: UnsafePointer<Float>, starts: [Int], gradient: UnsafePointer<Float>, dq: UnsafeMutablePointer<Float>,
    dk: UnsafeMutablePointer<Float>, dv: UnsafeMutablePointer<Float>
  ) {
    guard needsSplitBackward(starts) else {
      let parts = parts(starts)
      parallelParts(parts.count) { index in
        let part = parts[index]
        var shape = shape
        gora_attention_backward(
          &shape, part.row, part.row, q + part.q, k + part.kv, v + part.kv, o + part.q, lse + part.lse, gradient + part.q,
          dq + part.q, dk + part.kv, dv + part.kv)
      }
      return
    }
    let queries = parts(starts, length: Int(GORA_ATTENTION_TILE))
    let keys = parts(starts, length: 2 * Int(GORA_ATTENTION_TILE))
    parallelParts(queries.count + keys.count) { index in
      let isQueries = index < queries.count
      let part = isQueries ? queries[index] : keys[index - queries.count]
      var shape = shape
      gora_attention_backward(
        &shape, isQueries ? part.tokens : part.row, isQueries ? part.row : part.tokens, q + part.q, k + part.kv, v + part.kv,
        o + part.q, lse + part.lse, gradient + part.q, isQueries ? dq + part.q : nil, isQueries ? nil : dk + part.kv,
        isQueries ? nil : dv + part.kv)
    }
  }

  /// Whether backward is faster with queries and keys apart: 7 products a tile in place of 5, but in small parts; the same numbers.
  /// So it is where the longest row alone would take longer.
  private func needsSplitBackward(_ starts: [Int]) -> Bool {
    var (longest, total) = (0, 0)
    for row in 0..<starts.count - 1 {
      let tokens = starts[row + 1] - starts[row]
      let pairs = tokens * min(tokens, 2 * (window ?? tokens))
      longest = max(longest, pairs)
      total += pairs * keyValueHeads
    }
    return 5 * longest * ThreadPool.threads > 7 * total
  }

  /// Attention of new tokens to all that a cache holds of their row and the window reaches, themselves included. A whole prompt's
  /// keys and values are read where they have just been made.
  /// - Parameters:
  ///   - q: [T, heads·d] of the new tokens; k, v: [T, kvHeads·d]
  ///   - step: whose cache has k and v already
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, step: CachedStep, layer: Int,
    o: UnsafeMutablePointer<Float>
  ) {
    let parts = parts(step.starts, length: Int(GORA_ATTENTION_TILE))
    parallelParts(parts.count) { index in
      let part = parts[index]
      let keys = step.lengths[part.index.row]
      if part.row.to == keys {
        var shape = shape
        gora_attention(&shape, part.tokens, q + part.q, k + part.kv, v + part.kv, o + part.q, nil)
      } else {
        // What was there before is in the cache alone: a query at a time.
        for token in part.tokens.from..<part.tokens.to {
          let seen = keys - Int(part.row.to - token) + 1
          let visible = min(seen, window ?? seen)
          var shape = gora_cached_attention_shape(
            keys: Int64(visible), group: Int64(group), d: Int64(headSize), scale: scale, cap: softCap ?? 0,
            bf16: step.isBFloat16)
          let (row, head, first, at) = (part.index.row, part.index.head, seen - visible, part.q + Int(token) * heads * headSize)
          gora_attention_cached(
            &shape, q + at, step.keys(layer, row: row, head: head, from: first),
            step.values(layer, row: row, head: head, from: first), o + at)
        }
      }
    }
  }
}

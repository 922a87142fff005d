import CGoraKernels
import Glibc
import GoraCore

/// Grouped-query attention over packed rows, shared out by row, key/value head and tile of tokens. Rows see what precedes in them, or
/// all of themselves, or all of other rows (cross-attention).
struct Attention {
  let heads: Int
  let keyValueHeads: Int
  let headSize: Int
  /// A query sees the keys up to its own; all keys otherwise.
  var isCausal = true
  /// Causal: a query sees so many keys, its own included; nil: all before it.
  var window: Int?
  /// Factor of the scores.
  let scale: Float
  /// Scores s become c·tanh(s/c) for such a c.
  var softCap: Float?
  /// Whether products of whole rows are made by the CPU's bf16 unit, as those of the linears beside it.
  var isMultipliedInBFloat16 = false

  private var group: Int { heads / keyValueHeads }

  private func shape(_ part: Part, _ bias: AttentionBias?) -> gora_attention_shape {
    gora_attention_shape(
      keys: isCausal ? 0 : part.keys.to, window: window.map { Int64($0) } ?? .max, group: Int64(group), d: Int64(headSize),
      q_stride: Int64(heads * headSize), kv_stride: Int64(keyValueHeads * headSize), lse_stride: Int64(heads), scale: scale,
      cap: softCap ?? 0, bias: bias.map { $0.values + part.index.head * group * $0.stride },
      bias_stride: Int64(bias?.stride ?? 0), bf16: isMultipliedInBFloat16)
  }

  /// Tokens of a row, for one key/value head and its queries; offsets to the row's beginning.
  private struct Part {
    let index: (row: Int, head: Int)
    /// Some of the queries, or of the keys.
    let tokens: gora_range
    /// All of the row.
    let queries: gora_range
    let keys: gora_range
    let q: Int
    let kv: Int
    let lse: Int
  }

  /// Which tokens of a row go apart from each other.
  private enum Cut {
    case none
    /// At multiples of so many.
    case queries(Int)
    case keys(Int)
  }

  private func parts(_ starts: [Int], _ keyStarts: [Int], _ cut: Cut) -> [Part] {
    var parts: [Part] = []
    for row in 0..<starts.count - 1 {
      let (start, queries) = (starts[row], starts[row + 1] - starts[row])
      let (keyStart, keys) = (keyStarts[row], keyStarts[row + 1] - keyStarts[row])
      let (tokens, length) =
        switch cut {
        case .none: (min(1, queries), 1)
        case .queries(let length): (queries, length)
        case .keys(let length): (keys, length)
        }
      for head in 0..<keyValueHeads {
        for from in stride(from: 0, to: tokens, by: length) {
          parts.append(
            Part(
              index: (row, head), tokens: gora_range(from: Int64(from), to: Int64(min(tokens, from + length))),
              queries: gora_range(from: 0, to: Int64(queries)), keys: gora_range(from: 0, to: Int64(keys)),
              q: (start * heads + head * group) * headSize, kv: (keyStart * keyValueHeads + head) * headSize,
              lse: start * heads + head * group))
        }
      }
    }
    return parts
  }

  /// o = softmax(q·kᵀ·scale + bias)·v within each row, the scores capped where they are.
  /// - Parameters:
  ///   - q: [T, heads·d]; k, v: [T', kvHeads·d]; o: [T, heads·d]
  ///   - starts: of the rows of queries
  ///   - keyStarts: of the rows of keys, where they are others; not causal then
  ///   - lse: [T, heads], kept for backward
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, starts: [Int], keyStarts: [Int]? = nil,
    bias: AttentionBias? = nil, o: UnsafeMutablePointer<Float>, lse: UnsafeMutablePointer<Float>?
  ) {
    let parts = parts(starts, keyStarts ?? starts, .queries(Int(GORA_ATTENTION_TILE)))
    parallelParts(parts.count) { index in
      let part = parts[index]
      var shape = shape(part, bias)
      gora_attention(&shape, part.tokens, q + part.q, k + part.kv, v + part.kv, o + part.q, lse.map { $0 + part.lse })
    }
  }

  /// dq, dk, dv are overwritten, as is the bias's gradient where it is asked for.
  func backward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, o: UnsafePointer<Float>,
    lse: UnsafePointer<Float>, starts: [Int], keyStarts: [Int]? = nil, bias: AttentionBias? = nil,
    gradient: UnsafePointer<Float>, dq: UnsafeMutablePointer<Float>, dk: UnsafeMutablePointer<Float>,
    dv: UnsafeMutablePointer<Float>
  ) {
    let keyStarts = keyStarts ?? starts
    if bias?.gradient != nil || !needsSplitBackward(starts, keyStarts) {
      let sums = bias?.gradient.map { biasSums($0, starts, keyStarts) }
      let parts = parts(starts, keyStarts, .none)
      parallelParts(parts.count) { index in
        let part = parts[index]
        var shape = shape(part, bias)
        let width = sums.map { $0[part.index.row].width } ?? 0
        gora_attention_backward(
          &shape, part.queries, part.keys, q + part.q, k + part.kv, v + part.kv, o + part.q, lse + part.lse,
          gradient + part.q, dq + part.q, dk + part.kv, dv + part.kv,
          sums.map { $0[part.index.row].zero + part.index.head * group * width }, Int64(width))
      }
      return
    }
    let queries = parts(starts, keyStarts, .queries(Int(GORA_ATTENTION_TILE)))
    let keys = parts(starts, keyStarts, .keys(2 * Int(GORA_ATTENTION_TILE)))
    parallelParts(queries.count + keys.count) { index in
      let isQueries = index < queries.count
      let part = isQueries ? queries[index] : keys[index - queries.count]
      var shape = shape(part, bias)
      gora_attention_backward(
        &shape, isQueries ? part.tokens : part.queries, isQueries ? part.keys : part.tokens, q + part.q, k + part.kv,
        v + part.kv, o + part.q, lse + part.lse, gradient + part.q, isQueries ? dq + part.q : nil,
        isQueries ? nil : dk + part.kv, isQueries ? nil : dv + part.kv, nil, 0)
    }
  }

  /// Each row's place in the bias's gradient, zeroed: that of head 0 and distance 0, and the floats of a head.
  private func biasSums(
    _ gradient: UnsafeMutablePointer<Float>, _ starts: [Int], _ keyStarts: [Int]
  ) -> [(zero: UnsafeMutablePointer<Float>, width: Int)] {
    var next = gradient
    var rows: [(zero: UnsafeMutablePointer<Float>, width: Int)] = []
    for row in 0..<starts.count - 1 {
      let queries = starts[row + 1] - starts[row]
      let width = AttentionBias.distances(queries: queries, keys: keyStarts[row + 1] - keyStarts[row])
      rows.append((next + queries - 1, width))
      next.update(repeating: 0, count: heads * width)
      next += heads * width
    }
    return rows
  }

  /// Whether backward is faster with queries and keys apart: 7 products a tile in place of 5, but in small parts; the same numbers.
  /// So it is where the longest row alone would take longer.
  private func needsSplitBackward(_ starts: [Int], _ keyStarts: [Int]) -> Bool {
    var (longest, total) = (0, 0)
    for row in 0..<starts.count - 1 {
      let (queries, keys) = (starts[row + 1] - starts[row], keyStarts[row + 1] - keyStarts[row])
      let pairs = queries * min(keys, 2 * (window ?? keys))
      longest = max(longest, pairs)
      total += pairs * keyValueHeads
    }
    return 5 * longest * ThreadPool.threads > 7 * total
  }

  /// Attention of new tokens to all that their rows' encoder has read.
  /// - Parameter q: [T, heads·d] of the new tokens
  func forward(q: UnsafePointer<Float>, sourceOf step: CachedStep, layer: Int, o: UnsafeMutablePointer<Float>) {
    let parts = parts(step.starts, step.starts, .queries(1))
    parallelParts(parts.count) { index in
      let part = parts[index]
      let (keys, values, count) = step.ofSource(layer, row: part.index.row, head: part.index.head)
      var shape = gora_cached_attention_shape(
        keys: Int64(count), group: Int64(group), d: Int64(headSize), scale: scale, cap: softCap ?? 0, bias: nil, bias_stride: 0,
        bf16: step.isBFloat16)
      let query = part.q + Int(part.tokens.from) * heads * headSize
      gora_attention_cached(&shape, q + query, keys, values, o + query)
    }
  }

  /// Attention of new tokens to all that a cache holds of their row and the window reaches, themselves included. A whole prompt's
  /// keys and values are read where they have just been made.
  /// - Parameters:
  ///   - q: [T, heads·d] of the new tokens; k, v: [T, kvHeads·d]
  ///   - step: whose cache has k and v already
  func forward(
    q: UnsafePointer<Float>, k: UnsafePointer<Float>, v: UnsafePointer<Float>, step: CachedStep, layer: Int,
    bias: AttentionBias? = nil, o: UnsafeMutablePointer<Float>
  ) {
    let parts = parts(step.starts, step.starts, .queries(Int(GORA_ATTENTION_TILE)))
    // Where few parts would leave a thread without work, each query head goes by itself.
    let isUneven = parts.count < 4 * ThreadPool.threads && parts.count % ThreadPool.threads != 0
    let (shares, heads) = isUneven ? (group, 1) : (1, group)
    parallelParts(parts.count * shares) { index in
      let part = parts[index / shares]
      let (keys, share) = (step.lengths[part.index.row], index % shares)
      let first = part.q + share * headSize
      if part.keys.to == keys {
        var shape = shape(part, bias)
        shape.group = Int64(heads)
        shape.bias = shape.bias.map { $0 + share * Int(shape.bias_stride) }
        gora_attention(&shape, part.tokens, q + first, k + part.kv, v + part.kv, o + first, nil)
      } else {
        // What was there before is in the cache alone: a query at a time.
        for token in part.tokens.from..<part.tokens.to {
          let seen = keys - Int(part.queries.to - token) + 1
          let visible = min(seen, window ?? seen)
          let (row, head, oldest, at) = (
            part.index.row, part.index.head, seen - visible, first + Int(token) * self.heads * headSize
          )
          var shape = gora_cached_attention_shape(
            keys: Int64(visible), group: Int64(heads), d: Int64(headSize), scale: scale, cap: softCap ?? 0,
            bias: bias.map { $0.values + (head * group + share) * $0.stride + oldest - (seen - 1) },
            bias_stride: Int64(bias?.stride ?? 0), bf16: step.isBFloat16)
          gora_attention_cached(
            &shape, q + at, step.keys(layer, row: row, head: head, from: oldest),
            step.values(layer, row: row, head: head, from: oldest), o + at)
        }
      }
    }
  }
}

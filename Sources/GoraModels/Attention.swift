import CGoraKernels
import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Causal grouped-query attention over packed rows; one task a row and key/value head.
struct Attention {
  let heads: Int
  let keyValueHeads: Int
  let headSize: Int

  private var group: Int { heads / keyValueHeads }
  private var scale: Float { 1 / Float(headSize).squareRoot() }

  private func shape(tokens: Int) -> gora_attention_shape {
    gora_attention_shape(
      tokens: Int64(tokens), group: Int64(group), d: Int64(headSize),
      q_stride: Int64(heads * headSize), kv_stride: Int64(keyValueHeads * headSize), lse_stride: Int64(heads), scale: scale)
  }

  /// o = softmax(q·kᵀ/√d)·v within each row.
  /// - Parameters:
  ///   - q: [T, heads·d]; k, v: [T, kvHeads·d]; o: [T, heads·d]
  ///   - lse: [T, heads], kept for backward
  func forward(
    q: FloatBuffer, k: FloatBuffer, v: FloatBuffer, starts: [Int], o: FloatBuffer, lse: FloatBuffer
  ) {
    let (q, k, v, o, lse) = (q.pointer, k.pointer, v.pointer, o.pointer, lse.pointer)
    let (qWidth, kvWidth) = (heads * headSize, keyValueHeads * headSize)
    parallelParts((starts.count - 1) * keyValueHeads) { part in
      let (row, head) = (part / keyValueHeads, part % keyValueHeads)
      let start = starts[row]
      var shape = shape(tokens: starts[row + 1] - start)
      let qOffset = start * qWidth + head * group * headSize
      let kvOffset = start * kvWidth + head * headSize
      gora_attention(
        &shape, q + qOffset, k + kvOffset, v + kvOffset, o + qOffset, lse + start * heads + head * group)
    }
  }

  /// dq, dk, dv are overwritten.
  func backward(
    q: FloatBuffer, k: FloatBuffer, v: FloatBuffer, o: FloatBuffer, lse: FloatBuffer, starts: [Int],
    gradient: UnsafePointer<Float>, dq: FloatBuffer, dk: FloatBuffer, dv: FloatBuffer
  ) {
    let (q, k, v, o, lse, dq, dk, dv) = (
      q.pointer, k.pointer, v.pointer, o.pointer, lse.pointer, dq.pointer, dk.pointer, dv.pointer
    )
    let (qWidth, kvWidth) = (heads * headSize, keyValueHeads * headSize)
    parallelParts((starts.count - 1) * keyValueHeads) { part in
      let (row, head) = (part / keyValueHeads, part % keyValueHeads)
      let start = starts[row]
      var shape = shape(tokens: starts[row + 1] - start)
      let qOffset = start * qWidth + head * group * headSize
      let kvOffset = start * kvWidth + head * headSize
      gora_attention_backward(
        &shape, q + qOffset, k + kvOffset, v + kvOffset, o + qOffset, lse + start * heads + head * group,
        gradient + qOffset, dq + qOffset, dk + kvOffset, dv + kvOffset)
    }
  }

  /// Attention of new tokens to all that a cache holds of their row, themselves included. A whole prompt's keys and values are
  /// read where they have just been made.
  /// - Parameters:
  ///   - q: [T, heads·d] of the new tokens; k, v: [T, kvHeads·d]
  ///   - step: whose cache has k and v already
  func forward(q: FloatBuffer, k: FloatBuffer, v: FloatBuffer, step: CachedStep, layer: Int, o: FloatBuffer) {
    let (q, k, v, o) = (q.pointer, k.pointer, v.pointer, o.pointer)
    let (qWidth, kvWidth) = (heads * headSize, keyValueHeads * headSize)
    parallelParts((step.starts.count - 1) * keyValueHeads) { part in
      let (row, head) = (part / keyValueHeads, part % keyValueHeads)
      let start = step.starts[row]
      let count = step.starts[row + 1] - start
      let qOffset = start * qWidth + head * group * headSize
      if count == step.lengths[row] {
        var shape = shape(tokens: count)
        let kvOffset = start * kvWidth + head * headSize
        gora_attention(&shape, q + qOffset, k + kvOffset, v + kvOffset, o + qOffset, nil)
      } else {
        var shape = gora_cached_attention_shape(
          keys: Int64(step.lengths[row]), group: Int64(group), d: Int64(headSize), scale: scale, bf16: step.isBFloat16)
        gora_attention_cached(
          &shape, q + qOffset, step.keys(layer, row: row, head: head), step.values(layer, row: row, head: head), o + qOffset)
      }
    }
  }
}

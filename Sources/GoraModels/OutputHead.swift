import CGoraKernels
import GoraCore

/// Final norm, vocabulary projection, factor or cap of the logits and cross-entropy, on labelled tokens only and a chunk of rows at a time:
/// [T, vocabulary] never exists.
final class OutputHead {
  private let norm: RMSNorm
  private let projection: Parameter
  /// Logits z become c·tanh(z/c) for such a c.
  private let softCap: Float?
  /// Of what the norm gives.
  private let scale: Float
  private let hiddenSize: Int
  private let gathered = FloatBuffer()
  private let normalised = FloatBuffer()
  private let deviation = FloatBuffer()
  private let logits = FloatBuffer()
  private let normalisedGradient = FloatBuffer()
  private let gatheredGradient = FloatBuffer()

  init(norm: RMSNorm, projection: Parameter, softCap: Float? = nil, scale: Float = 1) {
    self.norm = norm
    self.projection = projection
    self.softCap = softCap
    self.scale = scale
    hiddenSize = projection.shape[1]
  }

  private var vocabulary: Int { projection.shape[0] }
  /// Rows of logits at a time: about 16 MiB of them, 24 where products round, as their gradient then takes no room of its own, and more
  /// for large vocabularies, as each chunk reads the whole projection.
  private static func chunk(_ projection: WeightMatrix) -> Int {
    let unit = projection.roundsInputs ? 96 : 64
    return max(unit, min(16 * unit, 65_536 * unit / projection.rows))
  }
  private var chunk: Int { Self.chunk(projection.matrix) }
  /// The most rows of logits at a time for so many labelled tokens.
  static func rows(_ labelled: Int, _ projection: WeightMatrix) -> Int { min(labelled, chunk(projection)) }

  /// Floats that its buffers come to hold: per row logits, norm's factor, two of the hidden size, and two gradients of theirs.
  /// - Parameter projection: its shape, [vocabulary, hidden].
  static func floats(_ projection: [Int], rows: Int, backward: Bool) -> Int {
    rows * (projection[0] + 1 + (backward ? 4 : 2) * projection[1])
  }

  private func gather(_ hidden: UnsafePointer<Float>, _ tokens: some RandomAccessCollection<Int>) {
    let target = gathered.reserve(tokens.count * hiddenSize)
    for (row, token) in tokens.enumerated() {
      (target + row * hiddenSize).update(from: hidden + token * hiddenSize, count: hiddenSize)
    }
    let out = normalised.reserve(tokens.count * hiddenSize)
    let rstd = deviation.reserve(tokens.count)
    norm.forward(target, into: out, rstd: rstd, rows: tokens.count)
    if scale != 1 { gora_scale(out, scale, tokens.count * hiddenSize) }
  }

  /// Logits [tokens.count, vocabulary] of some tokens; valid until the next call.
  func logits(_ hidden: UnsafePointer<Float>, tokens: [Int], workspace: Workspace) -> UnsafeMutablePointer<Float> {
    gather(hidden, tokens)
    let out = logits.reserve(tokens.count * vocabulary)
    projection.matrix.multiply(normalised.pointer, tokens: tokens.count, into: out, scratch: workspace.matmul)
    if let softCap {
      parallelRanges(tokens.count * vocabulary, grain: 16_384, alignment: 16) {
        gora_soft_cap(out + $0.lowerBound, $0.count, 1, softCap)
      }
    }
    return out
  }

  /// Sum of the losses of `targets`; each loss is also handed to `each`.
  ///
  /// With `hiddenGradient` [T, hidden] (zeroed by the caller) the gradient of scale·Σ loss is added there, and to the norm's and
  /// the projection's sums where these learn.
  func loss(
    _ hidden: UnsafePointer<Float>, targets: [(token: Int, label: Int32)], scale: Float,
    hiddenGradient: UnsafeMutablePointer<Float>?, each: ((Int, Double) -> Void)? = nil, workspace: Workspace
  ) -> Double {
    var total = 0.0
    for first in stride(from: 0, to: targets.count, by: chunk) {
      let part = targets[first..<min(targets.count, first + chunk)]
      let rows = part.count
      let out = logits(hidden, tokens: part.map(\.token), workspace: workspace)
      var losses = [Double](repeating: 0, count: rows)
      let scale = hiddenGradient == nil ? 0 : scale
      // A gradient is rounded while it is in a cache, if nothing else is to be learnt from it.
      let rounds = hiddenGradient != nil && projection.gradient == nil
      losses.withUnsafeMutableBufferPointer { losses in
        nonisolated(unsafe) let losses = losses
        parallelRanges(rows, grain: max(1, 8192 / vocabulary)) { range in
          for row in range {
            let label = Int(part[part.startIndex + row].label)
            let x = out + row * vocabulary
            if let softCap {
              losses[row] = gora_capped_cross_entropy(x, vocabulary, label, scale, softCap)
            } else {
              losses[row] = gora_cross_entropy(x, vocabulary, label, scale)
            }
            if rounds { projection.matrix.roundInPlace(row: x) }
          }
        }
      }
      for (row, loss) in losses.enumerated() {
        total += loss
        each?(first + row, loss)
      }
      guard let hiddenGradient else { continue }
      if let gradient = projection.gradient {
        Matmul.sgemm(
          transposeA: true, m: vocabulary, n: hiddenSize, k: rows, a: out, lda: vocabulary, b: normalised.pointer,
          ldb: hiddenSize, beta: 1, c: gradient.pointer, ldc: hiddenSize)
        parallelRanges(rows, grain: max(1, 65_536 / vocabulary)) {
          for row in $0 { projection.matrix.roundInPlace(row: out + row * vocabulary) }
        }
      }
      let dNormalised = normalisedGradient.reserve(rows * hiddenSize)
      projection.matrix.multiplyTransposed(roundedInPlace: out, tokens: rows, into: dNormalised, scratch: workspace.matmul)
      if self.scale != 1 { gora_scale(dNormalised, self.scale, rows * hiddenSize) }
      let dGathered = gatheredGradient.reserve(rows * hiddenSize)
      norm.backward(
        dNormalised, x: gathered.pointer, rstd: deviation.pointer, rows: rows, dx: dGathered, accumulates: false)
      for (row, target) in part.enumerated() {
        gora_add(hiddenGradient + target.token * hiddenSize, dGathered + row * hiddenSize, hiddenSize)
      }
    }
    return total
  }
}

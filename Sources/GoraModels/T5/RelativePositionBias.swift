import Glibc
import GoraCore
import GoraFormats

/// The bias that all self-attentions of a T5 stack add to their scores: a number by head and bucket of distances, near distances in
/// buckets of their own, far ones in buckets that widen (reference: Transformers' `T5Attention._relative_position_bucket`).
final class RelativePositionBias {
  /// [buckets, heads]
  let weight: Parameter
  /// Whether keys on either side of a query are told apart; else only those before it have a distance.
  private let isBidirectional: Bool
  private let maxDistance: Int
  /// The bucket of each distance from −(longest − 1) to longest − 1.
  private var buckets: [Int] = []
  /// [heads, 2·longest − 1]
  private let table = FloatBuffer()
  /// Of each row by itself.
  private let sums = FloatBuffer()
  private let widened = FloatBuffer()

  private var heads: Int { weight.shape[1] }

  init(_ name: String, config: T5Config, isBidirectional: Bool, from source: any ParameterSource) throws(GoraError) {
    weight = try source.parameter(name, shape: [config.buckets, config.heads])
    self.isBidirectional = isBidirectional
    maxDistance = config.maxDistance
  }

  /// - Parameter distance: position of the key less that of the query.
  static func bucket(_ distance: Int, isBidirectional: Bool, count: Int, maxDistance: Int) -> Int {
    let (all, first) = isBidirectional ? (count / 2, distance > 0 ? count / 2 : 0) : (count, 0)
    let far = isBidirectional ? abs(distance) : max(0, -distance)
    let exact = all / 2
    if far < exact { return first + far }
    // In f32, as there: a distance on the edge of a bucket falls where it does there.
    let share = logf(Float(far) / Float(exact)) / Float(log(Double(maxDistance) / Double(exact)))
    return first + min(all - 1, exact + Int(share * Float(all - exact)))
  }

  /// The biases as they are now, for rows of at most `longest` tokens.
  /// - Parameter starts: of the rows whose gradient backward is to leave, where the weight learns.
  func prepare(longest: Int, gradientOf starts: [Int]? = nil) -> AttentionBias {
    let stride = 2 * longest - 1
    if buckets.count != stride {
      buckets = (0..<stride).map {
        Self.bucket($0 - (longest - 1), isBidirectional: isBidirectional, count: weight.shape[0], maxDistance: maxDistance)
      }
    }
    let values = widened.reserve(weight.count)
    weight.matrix.widen(0..<weight.shape[0], into: values)
    let table = table.reserve(heads * stride)
    for head in 0..<heads {
      for (place, bucket) in buckets.enumerated() { table[head * stride + place] = values[bucket * heads + head] }
    }
    var bias = AttentionBias(values: table + longest - 1, stride: stride)
    if let starts, weight.gradient != nil {
      bias.gradient = sums.reserve(heads * zip(starts, starts.dropFirst()).reduce(0) { $0 + Self.distances($1.1 - $1.0) })
    }
    return bias
  }

  private static func distances(_ tokens: Int) -> Int { AttentionBias.distances(queries: tokens, keys: tokens) }

  /// Adds what a layer's backward left to the weight's sum.
  func addGradient(_ starts: [Int]) {
    guard let gradient = weight.gradient?.pointer else { return }
    var from = UnsafePointer(sums.pointer)
    for (start, end) in zip(starts, starts.dropFirst()) {
      let width = Self.distances(end - start)
      let first = (buckets.count - width) / 2
      for head in 0..<heads {
        for place in 0..<width { gradient[buckets[first + place] * heads + head] += from[head * width + place] }
      }
      from += heads * width
    }
  }

  /// Floats that its buffers come to hold where the longest row has so many of all tokens; a row's own sums are no more than one long
  /// row's.
  func floats(longest: Int, tokens: Int, backward: Bool) -> Int {
    if tokens == 0 { return 0 }
    return weight.count + heads * (2 * longest - 1) + (backward && weight.gradient != nil ? heads * (2 * tokens - 1) : 0)
  }

  /// Floats that it holds.
  var floats: Int { table.count + sums.count + widened.count }
}

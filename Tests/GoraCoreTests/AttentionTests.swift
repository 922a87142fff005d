import CGoraKernels
import Glibc
import GoraCore
import Testing

/// Tiled attention of one key/value head beside the plain formula in double (tiles are 128 queries by 256 keys).
@Suite struct AttentionTests {
  struct Shape: Sendable, CustomTestStringConvertible {
    var queries: Int
    var keys: Int
    var group: Int
    var d: Int
    /// 0: none
    var window = 0
    /// 0: none
    var cap: Float = 0
    /// Every query sees every key.
    var isWhole = false
    var isBiased = false
    var testDescription: String {
      "\(queries) queries, \(keys) keys, group \(group), d \(d), window \(window), cap \(cap), "
        + (isWhole ? "whole" : "causal") + (isBiased ? ", biased" : "")
    }

    /// Distances of keys to queries.
    var distances: Int { queries + keys - 1 }
  }

  static let shapes: [Shape] = [
    Shape(queries: 1, keys: 1, group: 1, d: 2), Shape(queries: 2, keys: 2, group: 2, d: 12),
    Shape(queries: 127, keys: 127, group: 1, d: 12), Shape(queries: 128, keys: 128, group: 2, d: 2),
    Shape(queries: 129, keys: 129, group: 4, d: 2), Shape(queries: 257, keys: 257, group: 1, d: 12),
    Shape(queries: 300, keys: 300, group: 2, d: 2), Shape(queries: 129, keys: 129, group: 1, d: 64),
    Shape(queries: 5, keys: 5, group: 2, d: 4, window: 1), Shape(queries: 300, keys: 300, group: 2, d: 2, window: 1),
    Shape(queries: 300, keys: 300, group: 1, d: 4, window: 2), Shape(queries: 700, keys: 700, group: 2, d: 6, window: 129),
    Shape(queries: 650, keys: 650, group: 1, d: 2, window: 256), Shape(queries: 515, keys: 515, group: 3, d: 5, window: 300),
    Shape(queries: 300, keys: 300, group: 2, d: 2, window: 299), Shape(queries: 300, keys: 300, group: 2, d: 2, window: 301),
    Shape(queries: 5, keys: 5, group: 2, d: 4, cap: 0.5), Shape(queries: 300, keys: 300, group: 2, d: 12, cap: 2),
    Shape(queries: 515, keys: 515, group: 1, d: 6, window: 129, cap: 50),
    Shape(queries: 1, keys: 1, group: 2, d: 4, isWhole: true), Shape(queries: 128, keys: 256, group: 2, d: 4, isWhole: true),
    Shape(queries: 129, keys: 257, group: 1, d: 12, isWhole: true), Shape(queries: 300, keys: 3, group: 2, d: 4, isWhole: true),
    Shape(queries: 2, keys: 515, group: 3, d: 5, isWhole: true),
    Shape(queries: 270, keys: 270, group: 1, d: 6, cap: 2, isWhole: true),
    Shape(queries: 1, keys: 1, group: 1, d: 2, isBiased: true), Shape(queries: 5, keys: 5, group: 2, d: 4, isBiased: true),
    Shape(queries: 129, keys: 129, group: 2, d: 12, isBiased: true),
    Shape(queries: 515, keys: 515, group: 1, d: 6, isBiased: true),
    Shape(queries: 300, keys: 300, group: 2, d: 2, window: 131, isBiased: true),
    Shape(queries: 5, keys: 5, group: 2, d: 4, isWhole: true, isBiased: true),
    Shape(queries: 257, keys: 257, group: 1, d: 12, isWhole: true, isBiased: true),
    Shape(queries: 140, keys: 530, group: 2, d: 4, isWhole: true, isBiased: true),
  ]
  /// One has more keys than the kernel looks at together (65,536), one more heads (128).
  static let cachedShapes: [Shape] = [
    Shape(queries: 1, keys: 1, group: 1, d: 2), Shape(queries: 1, keys: 300, group: 4, d: 12),
    Shape(queries: 1, keys: 256, group: 1, d: 64), Shape(queries: 1, keys: 70_000, group: 2, d: 5),
    Shape(queries: 1, keys: 600, group: 130, d: 2), Shape(queries: 1, keys: 300, group: 4, d: 12, cap: 2),
    Shape(queries: 1, keys: 1, group: 1, d: 2, isBiased: true), Shape(queries: 1, keys: 300, group: 4, d: 12, isBiased: true),
    Shape(queries: 1, keys: 600, group: 130, d: 2, isBiased: true),
  ]

  /// One case: rows are wider than the heads they hold, as in a matrix of several key/value heads.
  struct Case {
    let shape: Shape
    let qStride: Int
    let kvStride: Int
    let lseStride: Int
    let q: [Float]
    let k: [Float]
    let v: [Float]
    let dOut: [Float]
    /// [group, distances], the greatest negative distance first; empty without a bias.
    let bias: [Float]
    var c: gora_attention_shape

    /// - Parameter bf16: products by the CPU's bf16 unit, of operands that are bf16 already.
    init(_ shape: Shape, padding: Int = 5, bf16: Bool = false) {
      func numbers(_ count: Int, _ name: String, range: Double = 2) -> [Float] {
        let exact = GoraCoreTests.numbers(count, name, range: range)
        return bf16 ? exact.map { Float(BFloat16($0)) } : exact
      }
      self.shape = shape
      qStride = shape.group * shape.d + padding
      kvStride = shape.d + padding
      lseStride = shape.group + 1
      q = numbers(shape.queries * qStride, "q", range: 2)
      k = numbers(shape.keys * kvStride, "k", range: 2)
      v = numbers(shape.keys * kvStride, "v")
      dOut = numbers(shape.queries * qStride, "dO")
      bias = shape.isBiased ? numbers(shape.group * shape.distances, "bias", range: 2) : []
      c = gora_attention_shape(
        keys: shape.isWhole ? Int64(shape.keys) : 0, window: shape.window == 0 ? .max : Int64(shape.window),
        group: Int64(shape.group), d: Int64(shape.d),
        q_stride: Int64(qStride), kv_stride: Int64(kvStride), lse_stride: Int64(lseStride),
        scale: 1 / Float(shape.d).squareRoot(), cap: shape.cap, bias: nil, bias_stride: Int64(shape.distances), bf16: bf16)
    }

    /// The case in C's terms, its bias included.
    func withC<Result>(_ body: (inout gora_attention_shape) -> Result) -> Result {
      var c = c
      return bias.withUnsafeBufferPointer {
        if shape.isBiased { c.bias = $0.baseAddress! + shape.queries - 1 }
        return body(&c)
      }
    }
  }

  struct Expected {
    var o: [Double]
    var lse: [Double]
    var dq: [Double]
    var dk: [Double]
    var dv: [Double]
    var dBias: [Double]
  }

  /// softmax(q·kᵀ·scale + bias)·v with its mask, and its gradient, in the case's layout.
  static func plain(_ test: Case, q: [Double], k: [Double], v: [Double], bias: [Double]? = nil) -> Expected {
    let (s, qs, ks) = (test.shape, test.qStride, test.kvStride)
    let (scale, cap) = (Double(test.c.scale), Double(test.c.cap))
    var result = Expected(
      o: [Double](repeating: 0, count: q.count), lse: [Double](repeating: 0, count: s.queries * test.lseStride),
      dq: [Double](repeating: 0, count: q.count), dk: [Double](repeating: 0, count: k.count),
      dv: [Double](repeating: 0, count: v.count), dBias: [Double](repeating: 0, count: test.bias.count))
    let dO = test.dOut.doubles
    let bias = bias ?? test.bias.doubles
    q.withUnsafeBufferPointer { q in
      k.withUnsafeBufferPointer { k in
        v.withUnsafeBufferPointer { v in
          for h in 0..<s.group {
            for i in 0..<s.queries {
              let row = i * qs + h * s.d
              let seen = s.isWhole ? s.keys : s.keys - s.queries + i + 1
              let distance = h * s.distances + s.queries - 1 - i
              let oldest = s.window == 0 ? 0 : max(0, seen - s.window)
              var p = [Double](repeating: 0, count: seen)
              var slopes = [Double](repeating: 1, count: seen)
              for j in oldest..<seen {
                var dot = 0.0
                for e in 0..<s.d { dot += q[row + e] * k[j * ks + e] }
                p[j] = dot * scale + (s.isBiased ? bias[distance + j] : 0)
                if cap > 0 {
                  p[j] = cap * tanh(p[j] / cap)
                  slopes[j] = 1 - p[j] * p[j] / (cap * cap)
                }
              }
              let top = p[oldest...].max() ?? 0
              var sum = 0.0
              for j in oldest..<seen { sum += exp(p[j] - top) }
              let lse = top + log(sum)
              result.lse[i * test.lseStride + h] = lse
              var dp = [Double](repeating: 0, count: seen)
              var mean = 0.0
              for j in oldest..<seen {
                p[j] = exp(p[j] - lse)
                var dot = 0.0
                for e in 0..<s.d {
                  result.o[row + e] += p[j] * v[j * ks + e]
                  result.dv[j * ks + e] += p[j] * dO[row + e]
                  dot += dO[row + e] * v[j * ks + e]
                }
                dp[j] = dot
                mean += p[j] * dot
              }
              for j in oldest..<seen {
                if s.isBiased { result.dBias[distance + j] += p[j] * (dp[j] - mean) }
                let ds = p[j] * (dp[j] - mean) * scale * slopes[j]
                for e in 0..<s.d {
                  result.dq[row + e] += ds * k[j * ks + e]
                  result.dk[j * ks + e] += ds * q[row + e]
                }
              }
            }
          }
        }
      }
    }
    return result
  }

  /// The padding between rows holds the canary; what is left is the case's layout with zeros there.
  static func stripped(_ values: [Float], stride: Int, width: Int) -> [Float]? {
    var values = values
    for i in values.indices where i % stride >= width {
      if values[i] != canary { return nil }
      values[i] = 0
    }
    return values
  }

  private var tile: Int { Int(GORA_ATTENTION_TILE) }

  static func ranges(_ count: Int, step: Int) -> [gora_range] {
    stride(from: 0, to: count, by: step).map { gora_range(from: Int64($0), to: Int64(min(count, $0 + step))) }
  }

  /// In bf16 the weights and their gradients are rounded, each by 2⁻⁹ (0.002) of itself at most; gradients are of differences, in which up to
  /// three such errors come together. Where the CPU has AVX-512 but no unit for it, GORA_MATMUL=bf16 runs this;
  /// where it has tiles, it runs it by oneDNN.
  @Test(arguments: shapes, Matmul.hasBFloat16 ? [false, true] : [false])
  func againstPlainFormula(_ shape: Shape, bf16: Bool) throws {
    _ = gora_libraries_open()
    let test = Case(shape, bf16: bf16)
    let tolerance = bf16 ? 6e-3 : 1e-5
    let expected = Self.plain(test, q: test.q.doubles, k: test.k.doubles, v: test.v.doubles)
    func empty(_ like: Int) -> [Float] { [Float](repeating: canary, count: like) }
    var (o, lse) = (empty(test.q.count), empty(shape.queries * test.lseStride))
    let all = gora_range(from: 0, to: Int64(shape.queries))
    let keys = gora_range(from: 0, to: Int64(shape.keys))
    test.withC { gora_attention(&$0, all, test.q, test.k, test.v, &o, &lse) }
    let width = shape.group * shape.d
    let forward = try #require(Self.stripped(o, stride: test.qStride, width: width))
    #expect(relativeError(forward, expected.o) < (bf16 ? tolerance : 3e-6))
    let sums = try #require(Self.stripped(lse, stride: test.lseStride, width: shape.group))
    for (sum, exact) in zip(sums, expected.lse) { #expect(abs(Double(sum) - exact) < 1e-5) }

    // Without log-sum-exp, as in generation: the same bits.
    var again = empty(test.q.count)
    test.withC { gora_attention(&$0, all, test.q, test.k, test.v, &again, nil) }
    #expect(again == o)
    // In parts: the same bits.
    var parts = empty(test.q.count)
    for range in Self.ranges(shape.queries, step: tile).reversed() {
      test.withC { gora_attention(&$0, range, test.q, test.k, test.v, &parts, nil) }
    }
    #expect(parts == o)

    var (dq, dk, dv) = (empty(test.q.count), empty(test.k.count), empty(test.v.count))
    // What is there already stays in the bias's sums.
    var dBias = [Float](repeating: 1, count: test.bias.count)
    test.withC { c in
      dBias.withUnsafeMutableBufferPointer {
        gora_attention_backward(
          &c, all, keys, test.q, test.k, test.v, o, lse, test.dOut, &dq, &dk, &dv,
          shape.isBiased ? $0.baseAddress! + shape.queries - 1 : nil, Int64(shape.distances))
      }
    }
    var (dqParts, dkParts, dvParts) = (empty(test.q.count), empty(test.k.count), empty(test.v.count))
    for range in Self.ranges(shape.queries, step: tile) {
      test.withC {
        gora_attention_backward(
          &$0, range, keys, test.q, test.k, test.v, o, lse, test.dOut, &dqParts, nil, nil, nil, 0)
      }
    }
    for range in Self.ranges(shape.keys, step: 2 * tile) {
      test.withC {
        gora_attention_backward(
          &$0, all, range, test.q, test.k, test.v, o, lse, test.dOut, nil, &dkParts, &dvParts, nil, 0)
      }
    }
    #expect(dqParts == dq && dkParts == dk && dvParts == dv)
    let dQuery = try #require(Self.stripped(dq, stride: test.qStride, width: width))
    let dKey = try #require(Self.stripped(dk, stride: test.kvStride, width: shape.d))
    let dValue = try #require(Self.stripped(dv, stride: test.kvStride, width: shape.d))
    // One visible key: the probabilities are 1 and nothing flows back to q and k but what rounding leaves.
    if shape.keys > 1 && shape.window != 1 {
      #expect(relativeError(dQuery, expected.dq) < tolerance)
      #expect(relativeError(dKey, expected.dk) < tolerance)
    } else {
      #expect((dQuery + dKey).allSatisfy { abs($0) < 1e-5 })
    }
    #expect(relativeError(dValue, expected.dv) < tolerance)
    // Sums of up to as many terms as there are queries, each of its own rounding beside the 1 that was there.
    for (sum, exact) in zip(dBias, expected.dBias) { #expect(abs(Double(sum) - 1 - exact) < (bf16 ? tolerance : 1e-4)) }
    if shape.isBiased && shape.keys > 1 { #expect(expected.dBias.contains { abs($0) > 1e-2 }) }
  }

  /// One query on a cache of keys and values in f32, and in bf16 whose elements count as they are.
  @Test(arguments: cachedShapes, [false, true]) func cached(_ shape: Shape, bf16: Bool) {
    let test = Case(shape, padding: 0)
    var cached = gora_cached_attention_shape(
      keys: Int64(shape.keys), group: Int64(shape.group), d: Int64(shape.d), scale: test.c.scale, cap: shape.cap, bias: nil,
      bias_stride: Int64(shape.distances), bf16: bf16)
    var o = [Float](repeating: canary, count: test.q.count + 1)
    let (k, v) = (test.k.map { BFloat16($0) }, test.v.map { BFloat16($0) })
    let expected =
      bf16
      ? Self.plain(test, q: test.q.doubles, k: k.map { Double(Float($0)) }, v: v.map { Double(Float($0)) })
      : Self.plain(test, q: test.q.doubles, k: test.k.doubles, v: test.v.doubles)
    test.bias.withUnsafeBufferPointer {
      // One query, the last token: all distances are those of its keys.
      if shape.isBiased { cached.bias = $0.baseAddress }
      if bf16 {
        gora_attention_cached(&cached, test.q, k.map(\.bitPattern), v.map(\.bitPattern), &o)
      } else {
        gora_attention_cached(&cached, test.q, test.k, test.v, &o)
      }
    }
    #expect(o.popLast() == canary)
    // Sums of up to 70,000 values of both signs, in f32 and one after another: errors grow with the square root of their number.
    #expect(relativeError(o, expected.o) < (shape.keys > 1000 ? 1e-4 : 3e-6))
  }

  static let differentiated: [Shape] = [
    Shape(queries: 4, keys: 4, group: 2, d: 4), Shape(queries: 4, keys: 4, group: 2, d: 4, cap: 0.7),
    Shape(queries: 3, keys: 5, group: 2, d: 4, isWhole: true, isBiased: true),
    Shape(queries: 4, keys: 4, group: 1, d: 4, isBiased: true),
  ]

  /// The plain backward above, by central differences of the plain forward.
  @Test(arguments: differentiated) func plainFormulaAgainstDifferences(_ shape: Shape) {
    let test = Case(shape)
    let (q, k, v, bias) = (test.q.doubles, test.k.doubles, test.v.doubles, test.bias.doubles)
    let expected = Self.plain(test, q: q, k: k, v: v)
    func loss(_ q: [Double], _ k: [Double], _ v: [Double], _ bias: [Double]? = nil) -> Double {
      zip(Self.plain(test, q: q, k: k, v: v, bias: bias).o, test.dOut).reduce(0) { $0 + $1.0 * Double($1.1) }
    }
    for i in bias.indices { #expect(abs(expected.dBias[i] - slope(bias, i) { loss(q, k, v, $0) }) < 1e-8) }
    for i in q.indices { #expect(abs(expected.dq[i] - slope(q, i) { loss($0, k, v) }) < 1e-8) }
    for i in k.indices {
      #expect(abs(expected.dk[i] - slope(k, i) { loss(q, $0, v) }) < 1e-8)
      #expect(abs(expected.dv[i] - slope(v, i) { loss(q, k, $0) }) < 1e-8)
    }
  }

  /// Scores in the hundreds, growing along the keys: the running maximum moves from tile to tile.
  @Test func largeScores() {
    _ = gora_libraries_open()
    let shape = Shape(queries: 700, keys: 700, group: 1, d: 2)
    var test = Case(shape)
    var k = test.k
    for j in 0..<shape.keys { k[j * test.kvStride] = Float(j) }
    let expected = Self.plain(test, q: test.q.doubles, k: k.doubles, v: test.v.doubles)
    var o = [Float](repeating: 0, count: test.q.count)
    gora_attention(&test.c, gora_range(from: 0, to: 700), test.q, k, test.v, &o, nil)
    let width = shape.d
    for i in o.indices where i % test.qStride < width { #expect(abs(Double(o[i]) - expected.o[i]) < 1e-3) }
  }

  /// A NaN in a key reaches every query that sees it.
  @Test func notANumber() {
    _ = gora_libraries_open()
    var test = Case(Shape(queries: 6, keys: 6, group: 1, d: 2))
    var k = test.k
    k[3 * test.kvStride] = .nan
    var o = [Float](repeating: 0, count: test.q.count)
    gora_attention(&test.c, gora_range(from: 0, to: 6), test.q, k, test.v, &o, nil)
    for i in 0..<6 { #expect(o[i * test.qStride].isNaN == (i >= 3)) }
  }
}

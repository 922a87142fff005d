import CGoraKernels
import Testing

@testable import GoraCore

/// Products with few tokens beside triple loops in double: operands are exact, sums of up to 7003 products in f32 err by 2e-7 of their norm,
/// of which 2e-6 leaves room.
@Suite struct FewTokensTests {
  init() { ThreadPool.start(threads: 2) }

  /// What this CPU has of the units; none anywhere else.
  static let units = [GORA_BF16_PAIRS, GORA_BF16_TILES].filter { $0.rawValue <= gora_few_bf16_unit().rawValue }

  /// Rows, columns, tokens: every number of tokens, rows that leave a part of eight and of sixteen, columns that leave a part of 32 and
  /// of 128, and more columns than are packed at a time.
  static let shapes =
    [
      [1, 1, 1], [19, 31, 1], [16, 95, 1], [40, 576, 1], [150, 4096, 1], [33, 1541, 15], [9, 7003, 1], [9, 3207, 2],
      [9, 2101, 3], [9, 1603, 4], [9, 1299, 5], [9, 1077, 6],
    ]
    + (2...16).map { [15 + $0, 24 + 67 * $0, $0] }

  @Test(arguments: shapes, [false, true]) func unit(_ shape: [Int], accumulates: Bool) {
    let (rows, columns, tokens) = (shape[0], shape[1], shape[2])
    let w = numbers(rows * columns, "w").map { BFloat16($0) }
    let x = numbers(tokens * columns, "x")
    let exact = MatmulTests.product(
      false, true, tokens, rows, columns, x.map { Float(BFloat16($0)) }, columns, w.map { Float($0) }, columns)
    for unit in Self.units where tokens <= unit.rawValue {
      // Rows of tokens stand further apart than they are long.
      let stride = rows + 3
      var y = [Float](repeating: accumulates ? 0.75 : .nan, count: tokens * stride)
      let operand = UnsafeMutableBufferPointer<UInt16>.allocate(capacity: (columns + 31) / 32 * 32 * tokens + 1)
      defer { operand.deallocate() }
      operand.initialize(repeating: 0xABCD)
      gora_few_bf16_operand(unit, x, tokens, columns, operand.baseAddress)
      #expect(operand.last == 0xABCD)
      gora_few_bf16(unit, w.map(\.bitPattern), operand.baseAddress, &y, rows, columns, tokens, stride, accumulates)
      let own = (0..<tokens).flatMap { y[$0 * stride..<$0 * stride + rows] }
      #expect(relativeError(own, exact.map { $0 + (accumulates ? 0.75 : 0) }) < 2e-6)
      let between = (0..<tokens).flatMap { y[$0 * stride + rows..<($0 + 1) * stride] }
      #expect(between.allSatisfy { accumulates ? $0 == 0.75 : $0.isNaN })
    }
  }

  /// Weights on any CPU: by vectors of eight floats, and by those of sixteen where it has some.
  @Test(arguments: shapes, [false, true]) func vectors(_ shape: [Int], accumulates: Bool) {
    let (rows, columns, tokens) = (shape[0], shape[1], shape[2])
    let x = numbers(tokens * columns, "x")
    for kind in MatmulTests.Kind.allCases {
      let (type, weight) = (Self.types[kind]!, MatmulTests.Weight(kind, count: rows * columns))
      guard gora_few_tokens_reads(type) else { continue }
      let exact = MatmulTests.product(false, true, tokens, rows, columns, x, columns, weight.floats, columns)
      for kernel in [gora_few_tokens, gora_few_tokens_by_eight] {
        let stride = rows + 3
        var y = [Float](repeating: accumulates ? 0.75 : .nan, count: tokens * stride)
        weight.words.withUnsafeBytes { half in
          weight.floats.withUnsafeBytes { full in
            kernel(kind == .f32 ? full.baseAddress : half.baseAddress, type, x, &y, rows, columns, tokens, stride, accumulates)
          }
        }
        let own = (0..<tokens).flatMap { y[$0 * stride..<$0 * stride + rows] }
        #expect(relativeError(own, exact.map { $0 + (accumulates ? 0.75 : 0) }) < 2e-6)
        let between = (0..<tokens).flatMap { y[$0 * stride + rows..<($0 + 1) * stride] }
        #expect(between.allSatisfy { accumulates ? $0 == 0.75 : $0.isNaN })
      }
    }
  }
  private static let types: [MatmulTests.Kind: gora_element_type] = [.f32: GORA_F32, .bf16: GORA_BF16, .f16: GORA_F16]

  /// What does not count must not be read: numbers that are none stand behind the weight's last row and x's last column.
  @Test(arguments: [1, 5, 16]) func nothingBehind(_ tokens: Int) {
    let (rows, columns) = (17, 40)
    for unit in Self.units where tokens <= unit.rawValue {
      let w = numbers(rows * columns, "w").map { BFloat16($0).bitPattern } + [UInt16](repeating: 0x7FC0, count: 4096)
      let x = numbers(tokens * columns, "x") + [Float](repeating: .nan, count: 64)
      let operand = UnsafeMutableBufferPointer<UInt16>.allocate(capacity: 64 * tokens)
      defer { operand.deallocate() }
      gora_few_bf16_operand(unit, x, tokens, columns, operand.baseAddress)
      var y = [Float](repeating: .nan, count: tokens * rows)
      gora_few_bf16(unit, w, operand.baseAddress, &y, rows, columns, tokens, rows, false)
      #expect(y.allSatisfy { $0.isFinite })
    }
    let w = numbers(rows * columns, "w") + [Float](repeating: .nan, count: 4096)
    let x = numbers(tokens * columns, "x") + [Float](repeating: .nan, count: 64)
    for kernel in [gora_few_tokens, gora_few_tokens_by_eight] {
      var y = [Float](repeating: .nan, count: tokens * rows)
      kernel(w, GORA_F32, x, &y, rows, columns, tokens, rows, false)
      #expect(y.allSatisfy { $0.isFinite })
    }
    let halves = w.map { Float16($0).bitPattern }
    for kernel in [gora_few_tokens, gora_few_tokens_by_eight] where gora_few_tokens_reads(GORA_F16) {
      var y = [Float](repeating: .nan, count: tokens * rows)
      kernel(halves, GORA_F16, x, &y, rows, columns, tokens, rows, false)
      #expect(y.allSatisfy { $0.isFinite })
    }
  }

  /// Weights that see the same x, multiplied together: to the bit what each gives by itself, whoever shares the work; of 40 tokens x is
  /// rounded once for all.
  @Test(arguments: MatmulTests.Kind.allCases, [1, 3, 8, 16, 40]) func together(_ kind: MatmulTests.Kind, tokens: Int) throws {
    try Matmul.open()
    let (columns, scratch) = (576, MatmulScratch())
    let x = numbers(tokens * columns, "x")
    let counts = [576, 192, 7, 1536]
    let weights = counts.map { MatmulTests.Weight(kind, count: $0 * columns) }
    for rounds in kind == .f32 ? [false] : [false, true] {
      var apart = counts.map { [Float](repeating: .nan, count: tokens * $0) }
      for (i, weight) in weights.enumerated() {
        weight.withMatrix(kind, rows: counts[i], columns: columns, rounds: rounds) {
          $0.multiply(x, tokens: tokens, into: &apart[i], scratch: scratch)
        }
      }
      let results = counts.map { FloatBuffer([Float](repeating: .nan, count: tokens * $0 + 1)) }
      weights[0].withMatrix(kind, rows: counts[0], columns: columns, rounds: rounds) { first in
        weights[1].withMatrix(kind, rows: counts[1], columns: columns, rounds: rounds) { second in
          weights[2].withMatrix(kind, rows: counts[2], columns: columns, rounds: rounds) { third in
            weights[3].withMatrix(kind, rows: counts[3], columns: columns, rounds: rounds) { fourth in
              let all = zip([first, second, third, fourth], results).map { (weight: $0, y: $1.pointer) }
              WeightMatrix.multiply(x, tokens: tokens, by: all, scratch: scratch)
            }
          }
        }
      }
      for (result, expected) in zip(results, apart) {
        #expect(result.array.dropLast().map(\.bitPattern) == expected.map(\.bitPattern))
        #expect(result.array.last?.isNaN == true)
      }
    }
  }

  /// Scores and values of one query beside sums in double; head sizes of whole vectors and of parts, keys that leave a part of eight.
  @Test(arguments: [8, 28, 64, 100, 128, 160], [false, true]) func cachedLoops(_ d: Int, bf16: Bool) {
    let n = 83
    let (q, p) = (numbers(d, "q"), numbers(n, "p"))
    let halves = numbers(n * d, "k").map { BFloat16($0) }
    let k = bf16 ? halves.map { Float($0) } : numbers(n * d, "k")
    var (s, o) = ([Float](repeating: canary, count: n + 1), [Float](repeating: 0.5, count: d) + [canary])
    if bf16 {
      gora_query_scores(q, halves.map(\.bitPattern), true, n, d, &s)
      gora_add_values(p, halves.map(\.bitPattern), true, n, d, &o)
    } else {
      gora_query_scores(q, k, false, n, d, &s)
      gora_add_values(p, k, false, n, d, &o)
    }
    let scores = MatmulTests.product(false, true, 1, n, d, q, d, k, d)
    let values = MatmulTests.product(false, false, 1, d, n, p, n, k, d)
    #expect(relativeError(Array(s.dropLast()), scores) < 2e-6 && s.last == canary)
    #expect(relativeError(Array(o.dropLast()), values.map { $0 + 0.5 }) < 2e-6 && o.last == canary)
  }
}

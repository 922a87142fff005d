import CGoraKernels
import Glibc
import GoraCore
import Testing

/// Products beside triple loops in double. Sums of k products in f32 err by some 6e-8·√k: 2e-6 for all but the longest here.
@Suite struct MatmulTests {
  init() { ThreadPool.start(threads: 2) }

  /// op(A)·op(B) for row-major matrices with leading dimensions.
  static func product(
    _ ta: Bool, _ tb: Bool, _ m: Int, _ n: Int, _ k: Int, _ a: [Float], _ lda: Int, _ b: [Float], _ ldb: Int
  ) -> [Double] {
    var c = [Double](repeating: 0, count: m * n)
    a.withUnsafeBufferPointer { a in
      b.withUnsafeBufferPointer { b in
        c.withUnsafeMutableBufferPointer { c in
          for i in 0..<m {
            for j in 0..<n {
              var sum = 0.0
              for l in 0..<k {
                sum += Double(ta ? a[l * lda + i] : a[i * lda + l]) * Double(tb ? b[j * ldb + l] : b[l * ldb + j])
              }
              c[i * n + j] = sum
            }
          }
        }
      }
    }
    return c
  }

  /// The last two are large enough to be split over the pool: one over n, one over m.
  static let shapes = [[1, 1, 1], [3, 5, 7], [17, 33, 16], [1, 70, 40], [70, 1, 40], [40, 130, 33], [130, 40, 33]]

  @Test(arguments: shapes, [false, true]) func sgemm(_ shape: [Int], transposeA: Bool) throws {
    try Matmul.open()
    let (m, n, k) = (shape[0], shape[1], shape[2])
    for transposeB in [false, true] {
      let lda = (transposeA ? m : k) + 2
      let ldb = (transposeB ? k : n) + 1
      let ldc = n + 3
      let a = numbers((transposeA ? k : m) * lda, "a")
      let b = numbers((transposeB ? n : k) * ldb, "b")
      let exact = Self.product(transposeA, transposeB, m, n, k, a, lda, b, ldb)
      for (alpha, beta) in [(Float(1), Float(0)), (0.5, 1), (-2, 0.25)] {
        // Where beta is 0, what was there must not count, not even NaN.
        let before = beta == 0 ? [Float](repeating: .nan, count: m * ldc) : numbers(m * ldc, "c")
        var c = before
        c.withUnsafeMutableBufferPointer { c in
          Matmul.sgemm(
            transposeA: transposeA, transposeB: transposeB, m: m, n: n, k: k, alpha: alpha, a: a, lda: lda, b: b, ldb: ldb,
            beta: beta, c: c.baseAddress!, ldc: ldc)
        }
        var result: [Float] = []
        var expected: [Double] = []
        for i in 0..<m {
          for j in 0..<ldc {
            if j >= n {
              #expect(c[i * ldc + j].bitPattern == before[i * ldc + j].bitPattern)
              continue
            }
            result.append(c[i * ldc + j])
            expected.append(Double(alpha) * exact[i * n + j] + (beta == 0 ? 0 : Double(beta) * Double(before[i * ldc + j])))
          }
        }
        #expect(relativeError(result, expected) < 2e-6)
      }
    }
  }

  @Test func emptyProducts() {
    var c: [Float] = [1, 2]
    Matmul.sgemm(m: 0, n: 2, k: 1, a: [1], lda: 1, b: [1, 1], ldb: 2, c: &c, ldc: 2)
    Matmul.sgemm(m: 2, n: 0, k: 1, a: [1, 1], lda: 1, b: [1], ldb: 1, c: &c, ldc: 1)
    #expect(c == [1, 2])
  }

  // MARK: Weights in their own type

  enum Kind: String, CaseIterable { case f32, bf16, f16 }

  /// Owns a weight in one of the types, and its values widened.
  struct Weight {
    let words: [UInt16]
    let floats: [Float]

    init(_ kind: Kind, count: Int) {
      let values = numbers(count, "weight")
      switch kind {
      case .f32: (words, floats) = ([], values)
      case .bf16:
        words = values.map { BFloat16($0).bitPattern }
        floats = words.map { Float(BFloat16(bitPattern: $0)) }
      case .f16:
        words = values.map { Float16($0).bitPattern }
        floats = words.map { Float(Float16(bitPattern: $0)) }
      }
    }

    func withMatrix(_ kind: Kind, rows: Int, columns: Int, rounds: Bool, _ body: (WeightMatrix) -> Void) {
      words.withUnsafeBufferPointer { words in
        floats.withUnsafeBufferPointer { floats in
          let storage: WeightMatrix.Storage =
            switch kind {
            case .f32: .f32(floats.baseAddress!)
            case .bf16: .bf16(words.baseAddress!)
            case .f16: .f16(words.baseAddress!)
            }
          body(WeightMatrix(storage, rows: rows, columns: columns, roundsInputs: rounds))
        }
      }
    }
  }

  /// Few tokens; many tokens beside a small weight, which is widened whole; ranges over the pool with blocks of 2¹⁸ widened floats,
  /// a last one of 22 rows, and rows that are no multiple of 16; ranges of three sizes; chunks of eight tokens and a rest, and
  /// parts of the columns.
  static let weightShapes = [
    [1, 1, 1], [37, 24, 5], [37, 25, 19], [40, 24, 200], [150, 4096, 2], [150, 4096, 18], [150, 8192, 1], [200, 500, 90],
    [35, 1541, 15], [36, 768, 8],
  ]

  @Test(arguments: Kind.allCases, weightShapes)
  func weightMatrix(_ kind: Kind, shape: [Int]) throws {
    try Matmul.open()
    let (rows, columns, tokens) = (shape[0], shape[1], shape[2])
    let weight = Weight(kind, count: rows * columns)
    let (x, dy) = (numbers(tokens * columns, "x"), numbers(tokens * rows, "dy"))
    for rounds in kind == .f32 ? [false] : [false, true] {
      func input(_ values: [Float]) -> [Float] { rounds ? values.map { Float(BFloat16($0)) } : values }
      let forward = Self.product(false, true, tokens, rows, columns, input(x), columns, weight.floats, columns)
      let backward = Self.product(false, false, tokens, columns, rows, input(dy), rows, weight.floats, columns)
      weight.withMatrix(kind, rows: rows, columns: columns, rounds: rounds) { matrix in
        // One scratch for all: a smaller product after a larger one must not see its remains.
        let scratch = MatmulScratch()
        for beta: Float in [0, 1] {
          let before = [Float](repeating: beta == 0 ? .nan : 0.75, count: tokens * max(rows, columns)) + [canary]
          let base = beta == 0 ? 0.0 : 0.75
          var y = before
          matrix.multiply(x, tokens: tokens, into: &y, accumulates: beta != 0, scratch: scratch)
          #expect(relativeError(Array(y[..<(tokens * rows)]), forward.map { $0 + base }) < 5e-6)
          var dx = before
          matrix.multiplyTransposed(dy, tokens: tokens, into: &dx, accumulates: beta != 0, scratch: scratch)
          #expect(relativeError(Array(dx[..<(tokens * columns)]), backward.map { $0 + base }) < 5e-6)
          #expect(y.last == canary && dx.last == canary)
        }
        #expect(relativeError(matrix.multipliedTransposed(inPlace: dy, tokens: tokens, scratch: scratch), backward) < 5e-6)
      }
    }
  }

  @Test(arguments: Kind.allCases) func widen(_ kind: Kind) {
    let weight = Weight(kind, count: 19 * 7)
    weight.withMatrix(kind, rows: 19, columns: 7, rounds: false) { matrix in
      var out = [Float](repeating: canary, count: 5 * 7 + 1)
      matrix.widen(3..<8, into: &out)
      #expect(out == weight.floats[21..<56] + [canary])
    }
  }

  /// Whether oneDNN can be told to multiply bf16.
  static var hasLibrary: Bool { Matmul.hasBFloat16 && gora_libraries_open().pointee.onednn[0] != 0 }

  /// More shapes than a thread keeps made by oneDNN, twice: those that gave way are made again.
  @Test(.enabled(if: hasLibrary)) func manyShapes() async {
    await #expect(processExitsWith: .success) {
      setenv("GORA_MATMUL", "bf16", 1)
      #expect(Matmul.hasBFloat16)
      let (n, k) = (5, 8)
      let a = numbers(150 * k, "a").map { BFloat16($0).bitPattern }
      let b = numbers(n * k, "b").map { BFloat16($0).bitPattern }
      let wide = (a + b).map { Float(BFloat16(bitPattern: $0)) }
      let exact = MatmulTests.product(
        false, true, 150, n, k, Array(wide.prefix(a.count)), k, Array(wide.dropFirst(a.count)), k)
      for m in Array(1...150) + Array(1...150) {
        var c = [Float](repeating: .nan, count: m * n)
        gora_bf16_gemm(false, true, Int64(m), Int64(n), Int64(k), a, Int64(k), b, Int64(k), false, &c, Int64(n))
        #expect(relativeError(c, Array(exact.prefix(m * n))) < 2e-6)
      }
    }
  }

  /// For a CPU's tiles more than is packed at once: of k; of B's columns; of the rows of an A that lies transposed.
  static let bf16Shapes = shapes + [[5, 7, 0], [33, 70, 2100], [35, 530, 1040], [300, 40, 2100]]

  /// bf16 operands multiplied exactly, summed in f32; what lies between rows is NaN and does not count. Where the CPU has AVX-512 but no
  /// unit for it, GORA_MATMUL=bf16 runs this.
  @Test(.enabled(if: Matmul.hasBFloat16), arguments: bf16Shapes, [(false, false), (false, true), (true, false), (true, true)])
  func bf16(_ shape: [Int], transposed: (a: Bool, b: Bool)) {
    Self.multiplyBFloat16(shape, transposed.a, transposed.b)
  }

  /// The same by oneDNN where tiles would multiply.
  @Test(.enabled(if: Matmul.hasTiles && hasLibrary)) func bf16ByLibrary() async {
    await #expect(processExitsWith: .success) {
      setenv("GORA_MATMUL", "bf16", 1)
      #expect(Matmul.hasBFloat16 && !Matmul.hasTiles)
      for shape in MatmulTests.shapes {
        for transposed in [(false, false), (false, true), (true, false), (true, true)] {
          MatmulTests.multiplyBFloat16(shape, transposed.0, transposed.1)
        }
      }
    }
  }

  private static func multiplyBFloat16(_ shape: [Int], _ transposeA: Bool, _ transposeB: Bool) {
    let (m, n, k) = (shape[0], shape[1], shape[2])
    let (lda, ldb, ldc) = ((transposeA ? m : k) + 2, (transposeB ? k : n) + 2, n + 3)
    func operand(_ rows: Int, _ columns: Int, _ name: String) -> [BFloat16] {
      numbers(rows * (columns + 2), name).enumerated().map { $0 % (columns + 2) < columns ? BFloat16($1) : .init(.nan) }
    }
    let a = operand(transposeA ? k : m, lda - 2, "a")
    let b = operand(transposeB ? n : k, ldb - 2, "b")
    let exact = product(transposeA, transposeB, m, n, k, a.map { Float($0) }, lda, b.map { Float($0) }, ldb)
    for accumulates in [false, true] {
      let before = accumulates ? numbers(m * ldc, "c") : [Float](repeating: .nan, count: m * ldc)
      var c = before
      gora_bf16_gemm(
        transposeA, transposeB, Int64(m), Int64(n), Int64(k), a.map(\.bitPattern), Int64(lda), b.map(\.bitPattern), Int64(ldb),
        accumulates, &c, Int64(ldc))
      var result: [Float] = []
      var expected: [Double] = []
      for i in 0..<m {
        for j in 0..<n {
          result.append(c[i * ldc + j])
          expected.append(exact[i * n + j] + (accumulates ? Double(before[i * ldc + j]) : 0))
        }
        for j in n..<ldc { #expect(c[i * ldc + j].bitPattern == before[i * ldc + j].bitPattern) }
      }
      #expect(relativeError(result, expected) < max(2e-6, 1e-7 * Double(k).squareRoot()))
    }
  }

  /// However a product is shared out, tiles give an element the same bits: rows of A are read where they lie, or packed at an edge.
  @Test(.enabled(if: Matmul.hasTiles), arguments: [false, true]) func tilesInParts(_ transposed: Bool) {
    let (m, n, k) = (70, 130, 608)
    let a = numbers(m * k, "a").map { BFloat16($0).bitPattern }
    let b = numbers(n * k, "b").map { BFloat16($0).bitPattern }
    func multiply(_ rows: Range<Int>, _ columns: Range<Int>, into c: inout [Float]) {
      a.withUnsafeBufferPointer { a in
        b.withUnsafeBufferPointer { b in
          c.withUnsafeMutableBufferPointer { c in
            gora_bf16_gemm(
              transposed, transposed, Int64(rows.count), Int64(columns.count), Int64(k),
              a.baseAddress! + rows.lowerBound * (transposed ? 1 : k), Int64(transposed ? m : k),
              b.baseAddress! + columns.lowerBound * (transposed ? k : 1), Int64(transposed ? k : n), false,
              c.baseAddress! + rows.lowerBound * n + columns.lowerBound, Int64(n))
          }
        }
      }
    }
    var whole = [Float](repeating: .nan, count: m * n)
    multiply(0..<m, 0..<n, into: &whole)
    var parts = [Float](repeating: .nan, count: m * n)
    for rows in [0..<13, 13..<64, 64..<m] { for columns in [0..<48, 48..<49, 49..<n] { multiply(rows, columns, into: &parts) } }
    #expect(parts == whole)
  }
}

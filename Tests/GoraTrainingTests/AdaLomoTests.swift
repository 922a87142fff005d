import Foundation
import GoraCore
import GoraFormats
import GoraTraining
import Testing

/// AdaLomo as published (arXiv 2310.10195, algorithm 1, with its clipping at RMS 1 and floors 1e-30 and 1e-3), in float64, line by line.
struct ReferenceAdaLomo {
  let rows: Int
  let columns: Int
  var r: [Double]
  var c: [Double]
  var t = 0

  init(rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    r = [Double](repeating: 0, count: rows)
    c = [Double](repeating: 0, count: columns)
  }

  mutating func update(_ p: inout [Double], gradient g: [Double], rate: Double) {
    t += 1
    let beta = 1 - pow(Double(t), -0.8)
    for i in 0..<rows {
      let mean = (0..<columns).reduce(0) { $0 + g[i * columns + $1] * g[i * columns + $1] + 1e-30 } / Double(columns)
      r[i] = beta * r[i] + (1 - beta) * mean
    }
    for j in 0..<columns {
      let mean = (0..<rows).reduce(0) { $0 + g[$1 * columns + j] * g[$1 * columns + j] + 1e-30 } / Double(rows)
      c[j] = beta * c[j] + (1 - beta) * mean
    }
    let meanR = r.reduce(0, +) / Double(rows)
    var d = [Double](repeating: 0, count: rows * columns)
    for i in 0..<rows {
      for j in 0..<columns { d[i * columns + j] = g[i * columns + j] / (r[i] / meanR).squareRoot() / c[j].squareRoot() }
    }
    func rms(_ x: [Double]) -> Double { (x.reduce(0) { $0 + $1 * $1 } / Double(x.count)).squareRoot() }
    let clip = max(1, rms(d) / 1)
    let step = rate * max(1e-3, rms(p))
    for i in p.indices { p[i] -= step * d[i] / clip }
  }
}

@Suite struct AdaLomoTests {
  init() { ThreadPool.start(threads: 2) }

  static func normal(_ count: Int, _ stream: String, scale: Double = 1) -> [Float] {
    var random = Random(seed: 0, stream: stream)
    return (0..<count).map { _ in Float(scale * random.normal()) }
  }

  /// Five steps of float32 passes beside float64: what each step moves agrees to 1e-5 of it.
  @Test(arguments: [(1, 1), (3, 5), (37, 53), (130, 16), (16, 1000)], [1e-6, 1.0]) func againstReference(
    _ shape: (rows: Int, columns: Int), scale: Double
  ) {
    let count = shape.rows * shape.columns
    let values = FloatBuffer(Self.normal(count, "values", scale: 0.02))
    var expected = values.array.map(Double.init)
    var adalomo = AdaLomo(rows: shape.rows, columns: shape.columns)
    var reference = ReferenceAdaLomo(rows: shape.rows, columns: shape.columns)
    for step in 1...5 {
      // Rows and columns of different sizes, so that both factors matter.
      var gradient = Self.normal(count, "gradient \(step)", scale: scale)
      for i in gradient.indices { gradient[i] *= Float(1 + i / shape.columns) * Float(1 + i % shape.columns % 7) }
      let before = values.array
      for i in expected.indices { expected[i] = Double(before[i]) }
      adalomo.update(values.pointer, gradient: gradient, rate: 0.1)
      reference.update(&expected, gradient: gradient.map(Double.init), rate: 0.1)
      let moved = zip(values.array, before).map { $0 - $1 }
      let wanted = zip(expected, before).map { Float($0 - Double($1)) }
      #expect(relativeError(moved, wanted) < 1e-5, "step \(step)")
    }
    #expect(adalomo.step == 5)
  }

  /// At t = 1 (β = 0) a gradient a·bᵀ is factored exactly: d is its sign, and every value moves by rate·RMS(p).
  @Test func signOfRankOne() {
    let (rows, columns) = (24, 40)
    let (a, b) = (Self.normal(rows, "a"), Self.normal(columns, "b"))
    let gradient = (0..<rows * columns).map { a[$0 / columns] * b[$0 % columns] }
    let start = Self.normal(rows * columns, "p")
    let values = FloatBuffer(start)
    var adalomo = AdaLomo(rows: rows, columns: columns)
    adalomo.update(values.pointer, gradient: gradient, rate: 0.01)
    let rms = (start.reduce(0) { $0 + Double($1) * Double($1) } / Double(start.count)).squareRoot()
    for i in start.indices {
      let moved = Double(values.pointer[i]) - Double(start[i])
      #expect(abs(moved + 0.01 * rms * (gradient[i] < 0 ? -1 : 1)) < 1e-6)
    }
  }

  /// Weights that are 0 start with RMS 1e-3, and a gradient that is 0 moves nothing.
  @Test func floors() {
    let values = FloatBuffer(zeros: 6)
    var adalomo = AdaLomo(rows: 2, columns: 3)
    adalomo.update(values.pointer, gradient: [1, 1, 1, 1, 1, 1], rate: 0.5)
    #expect(values.array.allSatisfy { abs($0 + 5e-4) < 1e-9 })
    let before = values.array
    var fresh = AdaLomo(rows: 2, columns: 3)
    fresh.update(values.pointer, gradient: [0, 0, 0, 0, 0, 0], rate: 0.5)
    #expect(values.array == before)
  }

  /// Parts are fixed by the shape: processes with another number of threads take the same steps. The pool's size is a process's own.
  @Test func anyThreadCount() async throws {
    func steps(_ result: ExitTest.Result?) throws -> String {
      let text = String(decoding: try #require(result).standardOutputContent, as: UTF8.self)
      return try String(#require(text.split(separator: "\n").last { $0.hasPrefix("steps ") }))
    }
    let one = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      AdaLomoTests.printSteps(threads: 1)
    }
    let three = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      AdaLomoTests.printSteps(threads: 3)
    }
    let eight = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
      AdaLomoTests.printSteps(threads: 8)
    }
    let (a, b, c) = (try steps(one), try steps(three), try steps(eight))
    #expect(a.hasPrefix("steps true ") && a == b && a == c)
  }

  /// Three steps of a weight that is shared out among threads, as a digest.
  private static func printSteps(threads: Int) {
    ThreadPool.start(threads: threads)
    let (rows, columns) = (700, 90)
    let values = FloatBuffer(normal(rows * columns, "p"))
    var adalomo = AdaLomo(rows: rows, columns: columns)
    for step in 0..<3 { adalomo.update(values.pointer, gradient: normal(rows * columns, "g\(step)"), rate: 0.1) }
    let digest = SHA256()
    values.array.withUnsafeBytes { digest.update($0) }
    print("\nsteps \(ThreadPool.threads == threads) \(digest.finish())")
  }
}

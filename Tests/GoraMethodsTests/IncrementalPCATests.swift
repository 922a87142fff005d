import GoraCore
import Testing

@testable import GoraMethods

@Suite struct IncrementalPCATests {
  init() throws {
    ThreadPool.start(threads: 2)
    try Matmul.open()
  }

  /// Rows about a mean far from 0, in four directions of falling size.
  private func rows(_ count: Int, columns: Int) -> [Float] {
    var random = Random(seed: 3, stream: "rows")
    let directions = LAPACK.orthonormalRows((0..<4 * columns).map { _ in Float(random.normal()) }, rows: 4, columns: columns)
    var rows: [Float] = []
    for _ in 0..<count {
      let sizes = [4.0, 2, 1, 0.5].map { $0 * random.normal() }
      for j in 0..<columns {
        rows.append(Float((0..<4).reduce(3 + Double(j % 5)) { $0 + sizes[$1] * Double(directions[$1 * columns + j]) }))
      }
    }
    return rows
  }

  /// Where the components hold all there is, parts lose nothing: the whole decomposition, of rows less their mean, in one. f32 loses some 1e-7
  /// of the largest value for each of the parts.
  @Test(arguments: [[60], [30, 30], [7, 1, 20, 32], [4, 4, 4, 4, 4, 40]]) func partsAreTheWhole(_ parts: [Int]) throws {
    let columns = 23
    let all = rows(60, columns: columns)
    let analysis = IncrementalPCA(inputSize: columns, count: 4, random: Random(seed: 0, stream: "test"))
    var start = 0
    for part in parts {
      try analysis.add(Array(all[start * columns..<(start + part) * columns]))
      start += part
    }
    #expect(analysis.samples == 60)
    var centred = all
    var energy = 0.0
    for j in 0..<columns {
      let mean = (0..<60).reduce(0.0) { $0 + Double(all[$1 * columns + j]) } / 60
      for i in 0..<60 {
        centred[i * columns + j] = Float(Double(all[i * columns + j]) - mean)
        energy += (Double(all[i * columns + j]) - mean) * (Double(all[i * columns + j]) - mean)
      }
    }
    let (_, values, right) = try #require(LAPACK.svd(centred, rows: 60, columns: columns))
    for i in 0..<4 {
      let ratio = Double(values[i]) * Double(values[i]) / energy
      #expect(abs(analysis.explainedVarianceRatio[i] - ratio) < 1e-5, "\(i): \(analysis.explainedVarianceRatio[i]), \(ratio)")
      let product = (0..<columns).reduce(0.0) {
        $0 + Double(analysis.components[i * columns + $1]) * Double(right[i * columns + $1])
      }
      #expect(abs(abs(product) - 1) < 1e-4)
      let row = analysis.components[i * columns..<(i + 1) * columns]
      #expect(row.max { abs($0) < abs($1) }.map { $0 > 0 } == true)
    }
    #expect(abs(analysis.explainedVarianceRatio.reduce(0, +) - 1) < 1e-4)
    // The first part has none before it; two halves of sixty rows find much the same directions.
    #expect(analysis.similarity.count == 4 && analysis.similarity.allSatisfy { abs($0) < 1.0001 })
    if parts.count == 1 { #expect(analysis.similarity == [0, 0, 0, 0]) }
    if parts == [30, 30] { #expect(analysis.similarity.allSatisfy { $0 > 0.9 && $0 < 0.99999 }, "\(analysis.similarity)") }
  }

  /// Inputs that never change have no components.
  @Test func constantInputsAreRefused() throws {
    let analysis = IncrementalPCA(inputSize: 3, count: 2, random: Random(seed: 0, stream: "test"))
    let error = #expect(throws: GoraError.self) { try analysis.add([1, 2, 3, 1, 2, 3, 1, 2, 3]) }
    #expect(error?.status == .data)
    let other = #expect(throws: GoraError.self) { try analysis.add([1, 2, 3, 1, .nan, 3, 1, 2, 4]) }
    #expect(other?.status == .data)
  }
}

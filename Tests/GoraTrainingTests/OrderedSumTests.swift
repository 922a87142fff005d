import GoraCore
import GoraMethods
import GoraModels
import GoraText
import Testing

@testable import GoraTraining

/// What makes results the same for every number of processes: where batches are cut, who sums what, and in which order. That they are the same
/// is tried by `Tests/mpi/run`.
@Suite struct OrderedSumTests {
  init() { ThreadPool.start(threads: 2) }

  static func random(_ stream: String, count: Int, most: Int) -> [Int] {
    var random = Random(seed: 7, stream: stream)
    return (0..<count).map { _ in 1 + Int(random.uniform() * Double(most)) }
  }

  static func pieces(_ counts: [Int], _ limit: Int) -> [Int] {
    microBatches(
      counts.map { EncodedRow(ids: [Int32](repeating: 1, count: $0), labels: [Int32](repeating: 1, count: $0)) }, maxTokens: limit
    ).map(\.tokens)
  }

  /// As few pieces as filling them one after the other gives, and of all ways to cut into so many the longest piece is the shortest.
  @Test(arguments: [1, 8, 20, 33, 64, 150]) func cutsAreEven(_ limit: Int) {
    for trial in 0..<20 {
      let counts = Self.random("cut/\(trial)", count: 9, most: 30)
      let pieces = Self.pieces(counts, limit)
      var filled: [Int] = []
      for count in counts {
        if let last = filled.last, last + count <= limit { filled[filled.count - 1] += count } else { filled.append(count) }
      }
      #expect(pieces.count == filled.count && pieces.reduce(0, +) == counts.reduce(0, +))
      // Every way to cut, by where there is a cut.
      var best = Int.max
      for cuts in 0..<1 << (counts.count - 1) where cuts.nonzeroBitCount == pieces.count - 1 {
        var (most, piece) = (0, counts[0])
        for i in 1..<counts.count {
          if cuts >> (i - 1) & 1 == 1 { (most, piece) = (max(most, piece), 0) }
          piece += counts[i]
        }
        best = min(best, max(most, piece))
      }
      #expect(pieces.max() == best, "\(counts), limit \(limit)")
    }
  }

  /// Every block of every weight is summed by one process, and processes differ by as many blocks as there are weights at most.
  @Test(arguments: 1...7) func shares(_ processes: Int) {
    var blocks = [Int](repeating: 0, count: processes)
    let shapes = [(576, 576), (192, 576), (1536, 576), (10, 100_000), (1, 3), (2048, 2048)]
    for (index, shape) in shapes.enumerated() {
      let all = RowBlocks(rows: shape.0, columns: shape.1)
      let shares = RowShares(all, index: index, processes: processes)
      #expect(shares.parts.flatMap { Array($0) }.sorted() == Array(0..<all.count))
      #expect((0..<processes).flatMap { Array(shares.rows(of: $0)) }.sorted() == Array(0..<shape.0))
      for rank in 0..<processes { blocks[rank] += shares.parts[rank].count }
    }
    #expect((blocks.max() ?? 0) - (blocks.min() ?? 0) <= shapes.count)
  }

  /// Parts of an importance, of rows that lie by themselves, are those of the whole, bit for bit.
  @Test func partsOfImportance() {
    let (rows, columns) = (300, 700)
    var random = Random(seed: 1, stream: "parts")
    let values = (0..<2).map { _ in FloatBuffer((0..<rows * columns).map { _ in Float(random.normal()) }) }
    let matrix = WeightMatrix(.f32(UnsafePointer(values[0].pointer)), rows: rows, columns: columns)
    let whole = WeightGradient(weight: matrix, gradient: UnsafePointer(values[1].pointer))
    for processes in 1...3 {
      let shares = RowShares(whole.blocks, index: 1, processes: processes)
      var sums = [Double](repeating: .nan, count: whole.blocks.count)
      for rank in 0..<processes {
        let own = shares.rows(of: rank)
        // A copy of its rows alone.
        let part = FloatBuffer(Array(values[1].array[own.lowerBound * columns..<own.upperBound * columns]))
        let found = WeightGradient(weight: matrix, gradient: UnsafePointer(part.pointer), firstRow: own.lowerBound)
          .absoluteProducts(of: shares.parts[rank])
        for (block, sum) in zip(shares.parts[rank], found) { sums[block] = sum }
        withExtendedLifetime(part) {}
      }
      #expect(sums.reduce(0, +) / Double(rows * columns) == whole.meanAbsoluteProduct)
    }
    withExtendedLifetime(values) {}
  }

  /// A batch's gradient is that of its pieces, each from 0, added one after the other: the same bits.
  @Test(arguments: [20, 45, 60, 8192]) func batchGradient(_ limit: Int) throws {
    let rows = try Fixtures.rows("llama")
    let pieces = microBatches(rows, maxTokens: limit)
    let labelled = pieces.reduce(0) { $0 + $1.targets.count }
    let (model, _) = try Fixtures.adapted("llama")
    let trained = model.adapterParameters(ratio: 1)
    let trainer = trainer(
      model, AdamW(trained, settings: AdamW.Settings(weightDecay: 0)), rows: rows, steps: 1, lr: 0, batchSize: 6,
      microBatchTokens: limit)
    _ = try trainer.advance()
    for (parameter, _) in trained {
      var sum: [Float] = []
      for piece in pieces {
        let (other, _) = try Fixtures.adapted("llama")
        for (other, _) in other.adapterParameters(ratio: 1) { other.gradient = FloatBuffer(zeros: other.count) }
        _ = other.accumulateGradient(piece, scale: 1 / Float(labelled))
        let gradient = try #require(
          other.adapterParameters(ratio: 1).first { $0.parameter.name == parameter.name }?.parameter.gradient
        )
        .array
        sum = sum.isEmpty ? gradient : zip(sum, gradient).map { $0 + $1 }
      }
      #expect(try #require(parameter.gradient).array == sum, "\(parameter.name)")
    }
  }

  /// The same of gora-grad's sums over micro-batches, in pieces or whole.
  @Test(arguments: [16, 8192]) func meanGradient(_ limit: Int) throws {
    let rows = try Fixtures.rows("llama")
    let model = try Fixtures.model("llama")
    let targets = GradientEstimatorTests.targets(model)
    let estimator = try GradientEstimator(model: model, targets: targets, settings: .init(microBatchTokens: limit))
    var sums = targets.map { [Float](repeating: 0, count: $0.weight.count) }
    for first in [0, 3] {
      let batch = Array(rows[first..<first + 3])
      _ = try estimator.add(batch)
      let pieces = microBatches(batch, maxTokens: limit)
      let labelled = pieces.reduce(0) { $0 + $1.targets.count }
      for piece in pieces {
        let other = try Fixtures.model("llama")
        let learning = GradientEstimatorTests.targets(other)
        for linear in learning { linear.weight.gradient = FloatBuffer(zeros: linear.weight.count) }
        _ = other.accumulateGradient(piece, scale: 1 / Float(labelled))
        for (i, linear) in learning.enumerated() {
          let gradient = try #require(linear.weight.gradient).array
          for j in gradient.indices { sums[i][j] += gradient[j] }
        }
      }
    }
    for (sum, expected) in zip(estimator.sums, sums) { #expect(sum.array == expected) }
  }

  /// Micro-batches that end in one round are told of together, in order; a run that may stop has none begun beyond.
  @Test func rounds() throws {
    let rows = try Fixtures.rows("llama")
    for mayStop in [false, true] {
      let model = try Fixtures.model("llama")
      var settings = GradientEstimator.Settings(microBatchTokens: 16)
      settings.mayStop = mayStop
      let estimator = try GradientEstimator(model: model, targets: GradientEstimatorTests.targets(model), settings: settings)
      var (begun, ended) = (0, 0)
      try estimator.run {
        defer { begun += 1 }
        return begun < 3 ? Array(rows[2 * begun..<2 * begun + 2]) : nil
      } ended: { steps in
        ended += steps.count
        return mayStop && ended == 2
      }
      #expect(ended == (mayStop ? 2 : 3) && estimator.done == ended)
    }
  }
}

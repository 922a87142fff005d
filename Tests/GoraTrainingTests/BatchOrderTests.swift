import GoraCore
import GoraText
import GoraTraining
import Testing

@Suite struct BatchOrderTests {
  static func order(_ rows: Int, _ size: Int, shuffles: Bool = true, seed: UInt64 = 0, stream: String = "t") -> BatchOrder {
    BatchOrder(rows: rows, batchSize: size, shuffles: shuffles, seed: seed, stream: stream)
  }

  @Test(arguments: [(1, 1), (10, 3), (12, 4), (5, 8), (64, 64)]) func everyRowOnceAnEpoch(rows: Int, size: Int) {
    let order = Self.order(rows, size)
    #expect(order.batchesPerEpoch == (rows + size - 1) / size)
    for epoch in 0..<3 {
      let batches = (0..<order.batchesPerEpoch).map { order.batch(epoch * order.batchesPerEpoch + $0, order: order.epoch) }
      #expect(batches.joined().sorted() == Array(0..<rows))
      #expect(batches.dropLast().allSatisfy { $0.count == size })
      #expect(batches.last?.count == rows - size * (order.batchesPerEpoch - 1))
    }
  }

  /// A batch depends on its number alone: a run that begins in the middle sees what the unbroken one saw.
  @Test func resumable() {
    let order = Self.order(23, 4)
    let unbroken = (0..<30).map { order.batch($0, order: order.epoch) }
    for start in [5, 6, 17, 29] {
      let resumed = Self.order(23, 4)
      #expect((start..<30).map { resumed.batch($0, order: resumed.epoch) } == Array(unbroken[start...]))
    }
  }

  /// What the estimate counts is the largest of the pieces that training cuts.
  @Test(arguments: [true, false], [1, 40, 90, 1000]) func largestMicroBatch(shuffles: Bool, maxTokens: Int) {
    var random = Random(seed: 3, stream: "rows")
    let rows = (0..<37).map { _ in
      let count = 1 + Int(random.uniform() * 30)
      let labels = (0..<count).map { _ in random.uniform() < 0.5 ? Int32(1) : DataRow.notLearnt }
      return EncodedRow(ids: [Int32](repeating: 1, count: count), labels: labels)
    }
    let order = Self.order(rows.count, 5, shuffles: shuffles)
    var expected = 0
    var labelled = 0
    for step in 0..<19 {
      for piece in microBatches(order.batch(step, order: order.epoch).map { rows[$0] }, maxTokens: maxTokens) {
        expected = max(expected, piece.tokens)
        labelled = max(labelled, piece.targets.count)
      }
    }
    let found = order.largestMicroBatch(rows, steps: 19, maxTokens: maxTokens)
    #expect(found.tokens == expected)
    // A row's first label is counted, though it is no target.
    #expect(found.labelled >= labelled && found.labelled <= labelled + 5)
    // Of very many batches an upper bound.
    let bound = order.largestMicroBatch(rows, steps: 1 << 20, maxTokens: maxTokens)
    #expect(bound.tokens >= found.tokens && bound.labelled >= found.labelled)
    #expect(bound.tokens <= max(maxTokens, rows.map(\.ids.count).max() ?? 0))
  }

  @Test func shuffling() {
    #expect(Self.order(50, 1).epoch(0) == Self.order(50, 7).epoch(0))
    #expect(Self.order(50, 1).epoch(0) != Self.order(50, 1).epoch(1))
    #expect(Self.order(50, 1).epoch(0) != Self.order(50, 1, seed: 1).epoch(0))
    #expect(Self.order(50, 1).epoch(0) != Self.order(50, 1, stream: "u").epoch(0))
    #expect(Self.order(50, 1).epoch(0) != Array(0..<50))
    for epoch in 0..<2 { #expect(Self.order(50, 1, shuffles: false, seed: 9).epoch(epoch) == Array(0..<50)) }
  }
}

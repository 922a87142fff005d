import GoraCore
import GoraModels
import GoraText

/// Which rows make up which batch: a function of seed and step alone, so that a resumed run sees the same rows.
package struct BatchOrder: Sendable {
  package let rows: Int
  package let batchSize: Int
  package let shuffles: Bool
  package let seed: UInt64
  /// Prefix of the random stream, such as "gora-train".
  package let stream: String

  package init(rows: Int, batchSize: Int, shuffles: Bool, seed: UInt64, stream: String) {
    self.rows = rows
    self.batchSize = batchSize
    self.shuffles = shuffles
    self.seed = seed
    self.stream = stream
  }

  /// Batches of one pass; the last may be smaller.
  package var batchesPerEpoch: Int { (rows + batchSize - 1) / batchSize }

  /// Row numbers of one pass, in order.
  package func epoch(_ epoch: Int) -> [Int] {
    var order = Array(0..<rows)
    if shuffles {
      var random = Random(seed: seed, stream: "\(stream)/epoch/\(epoch)")
      random.shuffle(&order)
    }
    return order
  }

  /// Rows of batch `step`, counted over all passes.
  package func batch(_ step: Int, order: (Int) -> [Int]) -> [Int] {
    let index = step % batchesPerEpoch
    return Array(order(step / batchesPerEpoch)[index * batchSize..<min(rows, (index + 1) * batchSize)])
  }
}

extension BatchOrder {
  /// Batches that `largestMicroBatch` goes through one by one.
  private static let mostCounted = 1 << 14

  /// Tokens of the largest micro-batch of the first `steps` batches, and most labelled tokens of one, cut as `microBatches` cuts; of
  /// very many batches what they can have at most.
  package func largestMicroBatch(_ rows: [EncodedRow], steps: Int, maxTokens: Int) -> (tokens: Int, labelled: Int) {
    let sizes = rows.map { (tokens: $0.tokens, labelled: $0.labels.count { $0 != DataRow.notLearnt }) }
    // Without shuffling all passes are alike.
    let steps = shuffles ? steps : min(steps, batchesPerEpoch)
    if steps > Self.mostCounted {
      func most(_ counts: [Int]) -> Int {
        max(counts.max() ?? 0, min(maxTokens, counts.sorted(by: >).prefix(batchSize).reduce(0, +)))
      }
      return (most(sizes.map(\.tokens)), most(sizes.map(\.labelled)))
    }
    var most = (tokens: 0, labelled: 0)
    var (epoch, epochOrder) = (-1, [Int]())
    for step in 0..<steps {
      let batch = batch(step) { wanted in
        if wanted != epoch { (epoch, epochOrder) = (wanted, self.epoch(wanted)) }
        return epochOrder
      }
      for part in microBatchRanges(batch.map { sizes[$0].tokens }, maxTokens: maxTokens) {
        most.tokens = max(most.tokens, batch[part].reduce(0) { $0 + sizes[$1].tokens })
        most.labelled = max(most.labelled, batch[part].reduce(0) { $0 + sizes[$1].labelled })
      }
    }
    return most
  }
}

/// Cuts a batch into packed pieces of at most `maxTokens` tokens (a longer row stands alone).
package func microBatches(_ rows: [EncodedRow], maxTokens: Int) -> [PackedBatch] {
  microBatchRanges(rows.map(\.tokens), maxTokens: maxTokens).map { part in
    let images = rows[part].compactMap { row in row.image.map { ($0, row.labels[0]) } }
    return images.isEmpty
      ? PackedBatch(rows: rows[part].map { ($0.ids, $0.labels) }, sources: rows[part].map(\.source)) : PackedBatch(images: images)
  }
}

/// Where rows of these many tokens are cut.
private func microBatchRanges(_ counts: [Int], maxTokens: Int) -> [Range<Int>] {
  var ranges: [Range<Int>] = []
  var (start, tokens) = (0, 0)
  for (row, count) in counts.enumerated() {
    if row > start, tokens + count > maxTokens {
      ranges.append(start..<row)
      (start, tokens) = (row, 0)
    }
    tokens += count
  }
  if start < counts.count { ranges.append(start..<counts.count) }
  return ranges
}

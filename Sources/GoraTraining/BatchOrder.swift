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

  /// Tokens of the largest micro-batch of the first `steps` batches, most labelled tokens of one, and most micro-batches of a batch, cut as
  /// `microBatches` cuts; of very many batches what they can have at most.
  package func largestMicroBatch(_ rows: [EncodedRow], steps: Int, maxTokens: Int) -> (tokens: Int, labelled: Int, pieces: Int) {
    let sizes = rows.map { (tokens: $0.tokens, labelled: $0.labels.count { $0 != DataRow.notLearnt }) }
    // Without shuffling all passes are alike.
    let steps = shuffles ? steps : min(steps, batchesPerEpoch)
    if steps > Self.mostCounted {
      func most(_ counts: [Int]) -> Int {
        max(counts.max() ?? 0, min(maxTokens, counts.sorted(by: >).prefix(batchSize).reduce(0, +)))
      }
      // Two neighbours are longer than the limit together.
      let all = sizes.map(\.tokens).sorted(by: >).prefix(batchSize).reduce(0, +)
      return (most(sizes.map(\.tokens)), most(sizes.map(\.labelled)), min(batchSize, 2 * all / max(1, maxTokens) + 1))
    }
    var most = (tokens: 0, labelled: 0, pieces: 0)
    var (epoch, epochOrder) = (-1, [Int]())
    for step in 0..<steps {
      let batch = batch(step) { wanted in
        if wanted != epoch { (epoch, epochOrder) = (wanted, self.epoch(wanted)) }
        return epochOrder
      }
      let parts = microBatchRanges(batch.map { sizes[$0].tokens }, maxTokens: maxTokens)
      most.pieces = max(most.pieces, parts.count)
      for part in parts {
        most.tokens = max(most.tokens, batch[part].reduce(0) { $0 + sizes[$1].tokens })
        most.labelled = max(most.labelled, batch[part].reduce(0) { $0 + sizes[$1].labelled })
      }
    }
    return most
  }
}

/// Cuts a batch into packed pieces of at most `maxTokens` tokens (a longer row stands alone): as few as there can be, and these about as
/// long as each other, so that processes that take one each are done at the same time. A function of the rows and the limit alone.
package func microBatches(_ rows: [EncodedRow], maxTokens: Int) -> [PackedBatch] {
  microBatchRanges(rows.map(\.tokens), maxTokens: maxTokens).map { part in
    let images = rows[part].compactMap { row in row.image.map { ($0, row.labels[0]) } }
    return images.isEmpty
      ? PackedBatch(rows: rows[part].map { ($0.ids, $0.labels) }, sources: rows[part].map(\.source)) : PackedBatch(images: images)
  }
}

/// Where rows of these many tokens are cut: the least limit that gives as few pieces as `maxTokens` does.
private func microBatchRanges(_ counts: [Int], maxTokens: Int) -> [Range<Int>] {
  var ranges = filledRanges(counts, maxTokens: maxTokens)
  let pieces = ranges.count
  if pieces < 2 { return ranges }
  // Below the first there are more pieces, from the second on there are not.
  var (short, enough) = (counts.reduce(0, +) / pieces - 1, maxTokens)
  while enough - short > 1 {
    let middle = short + (enough - short) / 2
    let found = filledRanges(counts, maxTokens: middle)
    if found.count == pieces { (enough, ranges) = (middle, found) } else { short = middle }
  }
  return ranges
}

/// Pieces filled with rows one after the other, as far as they go.
private func filledRanges(_ counts: [Int], maxTokens: Int) -> [Range<Int>] {
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

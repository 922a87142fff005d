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

/// Cuts a batch into packed pieces of at most `maxTokens` tokens (a longer row stands alone).
package func microBatches(_ rows: [EncodedRow], maxTokens: Int) -> [PackedBatch] {
  var batches: [PackedBatch] = []
  var part: [(ids: [Int32], labels: [Int32])] = []
  var tokens = 0
  for row in rows {
    if !part.isEmpty, tokens + row.ids.count > maxTokens {
      batches.append(PackedBatch(rows: part))
      part = []
      tokens = 0
    }
    part.append((row.ids, row.labels))
    tokens += row.ids.count
  }
  if !part.isEmpty { batches.append(PackedBatch(rows: part)) }
  return batches
}

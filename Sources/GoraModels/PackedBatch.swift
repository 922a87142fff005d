import GoraCore

/// Tokens of rows laid end to end.
package struct PackedTokens: Sendable {
  package let ids: [Int32]
  /// First token of each row, and the number of all at the end.
  package let starts: [Int]

  package init(_ rows: [[Int32]]) {
    ids = rows.flatMap { $0 }
    starts = rows.reduce(into: [0]) { $0.append($0.last! + $1.count) }
  }

  init(ids: [Int32], starts: [Int]) {
    self.ids = ids
    self.starts = starts
  }
}

/// Rows laid end to end: no padding. T is the number of a decoder's tokens, or of those that images become.
package struct PackedBatch: Sendable {
  /// What the encoder of an encoder-decoder model reads, row by row; nil for a decoder.
  package let source: PackedTokens?
  /// What a model of images sees, an image a row; empty for others.
  package let images: [ImageInput]
  /// Token ids [T]; none of images.
  package let ids: [Int32]
  /// Position of each token in its row [T].
  package let positions: [Int32]
  /// First token of each row, and T at the end.
  package let starts: [Int]
  /// Tokens whose successor is learnt, with that successor (the shift of Hugging Face's labels); of images the number in the batch, and the
  /// class.
  package let targets: [(token: Int, label: Int32)]
  /// Tokens that are themselves learnt, a row's first one too: where labels are not −100, without the shift. Of an encoder-decoder
  /// model's rows those whose successor is learnt: the begin token shifts them already. Of an image all.
  package let labelled: [Int]

  /// All tokens, of encoder and decoder, or of images.
  package var tokens: Int { images.isEmpty ? ids.count + (source?.ids.count ?? 0) : starts.last! }
  package var allIds: [Int32] { (source?.ids ?? []) + ids }
  package var rows: Int { starts.count - 1 }

  /// - Parameters:
  ///   - rows: ids and labels of equal length each; label −100 is not learnt.
  ///   - sources: of each row for an encoder; all empty for a decoder. With them a row's last token is a label alone, as in
  ///     Transformers: the decoder does not read it.
  package init(rows: [(ids: [Int32], labels: [Int32])], sources: [[Int32]] = []) {
    source = sources.contains { !$0.isEmpty } ? PackedTokens(sources) : nil
    var ids: [Int32] = []
    var positions: [Int32] = []
    var starts = [0]
    var targets: [(token: Int, label: Int32)] = []
    var labelled: [Int] = []
    for row in rows {
      let start = ids.count
      let read = source == nil ? row.ids.count : max(0, row.ids.count - 1)
      ids += row.ids.prefix(read)
      positions += (0..<Int32(read))
      for i in row.labels.indices.dropFirst() where row.labels[i] != -100 {
        targets.append((token: start + i - 1, label: row.labels[i]))
      }
      if source == nil { labelled += row.labels.indices.filter { row.labels[$0] != -100 }.map { start + $0 } }
      starts.append(ids.count)
    }
    images = []
    self.ids = ids
    self.positions = positions
    self.starts = starts
    self.targets = targets
    self.labelled = source == nil ? labelled : targets.map(\.token)
  }

  /// - Parameter images: with their classes.
  package init(images: [(image: ImageInput, label: Int32)]) {
    self.images = images.map(\.image)
    starts = images.reduce(into: [0]) { $0.append($0.last! + $1.image.store.tokens) }
    targets = images.enumerated().map { ($0, $1.label) }
    labelled = Array(0..<starts.last!)
    (source, ids, positions) = (nil, [], [])
  }
}

/// The merges of a SentencePiece vocabulary, in the order in which scores apply them.
///
/// SentencePiece joins the two neighbours whose piece has the highest score; merges of byte-pair encoding go by rank. They agree where
/// every way to cut a piece in two pieces is a merge, the pieces with the highest scores first.
enum GGUFMerges {
  /// - Parameters:
  ///   - pieces: UTF-8
  ///   - scores: one a piece
  ///   - takesPart: whether a piece is made of others, or makes others
  /// - Returns: the ids of both halves; pieces with equal scores by their ids.
  static func of(pieces: [[UInt8]], scores: [Double], takesPart: (Int) -> Bool) -> [(left: Int, right: Int)] {
    let table = PieceTable(pieces, takesPart: takesPart)
    let order = pieces.indices.filter(takesPart).sorted { (-scores[$0], $0) < (-scores[$1], $1) }
    var merges: [(left: Int, right: Int)] = []
    for piece in order {
      pieces[piece].withUnsafeBufferPointer { bytes in
        var halves: [(left: Int, right: Int)] = []
        // Where a character begins.
        for cut in bytes.indices.dropFirst() where bytes[cut] & 0xC0 != 0x80 {
          if let left = table.id(of: UnsafeBufferPointer(rebasing: bytes[..<cut])),
            let right = table.id(of: UnsafeBufferPointer(rebasing: bytes[cut...]))
          {
            halves.append((left, right))
          }
        }
        merges += halves.sorted { ($0.left, $0.right) < ($1.left, $1.right) }
      }
    }
    return merges
  }
}

/// Pieces by their bytes.
private struct PieceTable {
  private let pieces: [[UInt8]]
  /// Open addressing; -1 is an empty slot.
  private var slots: [Int32]

  init(_ pieces: [[UInt8]], takesPart: (Int) -> Bool) {
    self.pieces = pieces
    var size = 16
    while size < pieces.count * 2 { size *= 2 }
    slots = Array(repeating: -1, count: size)
    for id in pieces.indices where takesPart(id) {
      pieces[id].withUnsafeBufferPointer { piece in
        let slot = slot(of: piece)
        if slots[slot] < 0 { slots[slot] = Int32(id) }
      }
    }
  }

  func id(of piece: UnsafeBufferPointer<UInt8>) -> Int? {
    let id = slots[slot(of: piece)]
    return id < 0 ? nil : Int(id)
  }

  /// The slot that holds the piece, or the empty one where it belongs.
  private func slot(of piece: UnsafeBufferPointer<UInt8>) -> Int {
    // FNV-1a, folded.
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in piece { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash ^ hash &>> 32) & mask
    while slots[slot] >= 0, !pieces[Int(slots[slot])].elementsEqual(piece) { slot = (slot + 1) & mask }
    return slot
  }
}

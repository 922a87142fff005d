import CGoraKernels
import GoraCore

/// Keys and values of the rows being generated, one slot a row: per layer [slots, kvHeads, capacity, d], so that a head's keys lie
/// side by side. In bf16 where the model's products round to it.
package final class KeyValueCache {
  /// What is kept of a token: d keys and d values of each head in each layer.
  package struct Width: Sendable {
    package var layers: Int
    /// Of keys and values.
    package var heads: Int
    package var headSize: Int

    package init(layers: Int, heads: Int, headSize: Int) {
      self.layers = layers
      self.heads = heads
      self.headSize = headSize
    }
  }

  /// Of what rows' encoder has read, in an encoder-decoder model: made once a row.
  let source: KeyValueCache?
  private let keys: [FloatBuffer]
  private let values: [FloatBuffer]
  private let heads: Int
  private let headSize: Int
  package let slots: Int
  package let capacity: Int
  package let isBFloat16: Bool
  fileprivate var lengths: [Int]

  /// - Parameters:
  ///   - capacity: tokens a slot can hold
  ///   - sourceCapacity: tokens of an encoder that it can hold; 0 for a decoder alone
  package init(_ width: Width, slots: Int, capacity: Int, sourceCapacity: Int = 0, isBFloat16: Bool) {
    source = sourceCapacity == 0 ? nil : KeyValueCache(width, slots: slots, capacity: sourceCapacity, isBFloat16: isBFloat16)
    self.slots = slots
    self.capacity = capacity
    self.isBFloat16 = isBFloat16
    heads = width.heads
    headSize = width.headSize
    let floats = Self.floats(width, slots: slots, capacity: capacity, isBFloat16: isBFloat16)
    keys = (0..<width.layers).map { _ in FloatBuffer(capacity: floats) }
    values = (0..<width.layers).map { _ in FloatBuffer(capacity: floats) }
    lengths = Array(repeating: 0, count: slots)
  }

  /// Keys, or values, of one layer.
  private static func floats(_ width: Width, slots: Int, capacity: Int, isBFloat16: Bool) -> Int {
    let elements = slots * capacity * width.heads * width.headSize
    return isBFloat16 ? (elements + 1) / 2 : elements
  }

  /// Bytes of a cache, once all its slots are full.
  static func byteCount(_ width: Width, slots: Int, capacity: Int, sourceCapacity: Int = 0, isBFloat16: Bool) -> Int {
    [capacity, sourceCapacity].reduce(0) {
      $0 + 2 * width.layers * 4 * floats(width, slots: slots, capacity: $1, isBFloat16: isBFloat16)
    }
  }

  /// Forgets a slot's row.
  package func clear(_ slot: Int) {
    lengths[slot] = 0
    source?.clear(slot)
  }

  /// Puts a copy of a slot's row into another.
  package func copy(_ slot: Int, to other: Int) {
    let bytes = lengths[slot] * headSize * (isBFloat16 ? 2 : 4)
    for buffer in keys + values {
      for head in 0..<heads {
        address(buffer, slot: other, head: head, position: 0)
          .copyMemory(from: address(buffer, slot: slot, head: head, position: 0), byteCount: bytes)
      }
    }
    lengths[other] = lengths[slot]
    source?.copy(slot, to: other)
  }
  package func length(_ slot: Int) -> Int { lengths[slot] }

  private func address(_ buffer: FloatBuffer, slot: Int, head: Int, position: Int) -> UnsafeMutableRawPointer {
    let element = ((slot * heads + head) * capacity + position) * headSize
    return UnsafeMutableRawPointer(buffer.pointer) + element * (isBFloat16 ? 2 : 4)
  }

  fileprivate func key(_ layer: Int, slot: Int, head: Int, position: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(address(keys[layer], slot: slot, head: head, position: position))
  }

  fileprivate func value(_ layer: Int, slot: Int, head: Int, position: Int) -> UnsafeRawPointer {
    UnsafeRawPointer(address(values[layer], slot: slot, head: head, position: position))
  }

  /// Keeps k and v [kvHeads·d] of a row's token.
  fileprivate func store(k: UnsafePointer<Float>, v: UnsafePointer<Float>, layer: Int, slot: Int, position: Int) {
    for (source, buffer) in [(k, keys[layer]), (v, values[layer])] {
      for head in 0..<heads {
        let from = source + head * headSize
        let to = address(buffer, slot: slot, head: head, position: position)
        if isBFloat16 {
          gora_f32_to_bf16(from, to.assumingMemoryBound(to: UInt16.self), headSize)
        } else {
          to.assumingMemoryBound(to: Float.self).update(from: from, count: headSize)
        }
      }
    }
  }
}

/// One forward pass over new tokens of several cached rows: whole prompts and single tokens side by side.
package final class CachedStep {
  let ids: [Int32]
  let positions: [Int32]
  /// Where each row's new tokens begin, and their end.
  let starts: [Int]
  /// Tokens of each row, the new ones included.
  let lengths: [Int]
  /// The tokens that an encoder reads for the rows that begin; nil where none does.
  let source: CachedStep?
  private let slots: [Int]
  private let cache: KeyValueCache

  var isBFloat16: Bool { cache.isBFloat16 }

  /// - Parameters:
  ///   - rows: a slot and its new tokens, all of an empty slot's row or more of another; a slot appears once.
  ///   - sources: of each row for an encoder, where it begins.
  package init(cache: KeyValueCache, rows: [(slot: Int, ids: [Int32])], sources: [[Int32]] = []) {
    self.cache = cache
    let begun = zip(rows, sources).filter { cache.lengths[$0.0.slot] == 0 }.map { (slot: $0.0.slot, ids: $0.1) }
    source = cache.source.flatMap { begun.isEmpty ? nil : CachedStep(cache: $0, rows: begun) }
    slots = rows.map(\.slot)
    ids = rows.flatMap(\.ids)
    var starts = [0]
    var positions: [Int32] = []
    for row in rows {
      let past = cache.lengths[row.slot]
      precondition(past + row.ids.count <= cache.capacity, "the cache slot is full")
      positions += (0..<row.ids.count).map { Int32(past + $0) }
      starts.append(starts.last! + row.ids.count)
      cache.lengths[row.slot] += row.ids.count
    }
    self.starts = starts
    self.positions = positions
    lengths = slots.map { cache.lengths[$0] }
  }

  /// Keeps the new tokens' k and v [T, kvHeads·d].
  func store(k: UnsafePointer<Float>, v: UnsafePointer<Float>, layer: Int, width: Int) {
    for (row, slot) in slots.enumerated() {
      for token in starts[row]..<starts[row + 1] {
        cache.store(
          k: k + token * width, v: v + token * width, layer: layer, slot: slot,
          position: lengths[row] - (starts[row + 1] - token))
      }
    }
  }

  /// A row's keys from a position on.
  func keys(_ layer: Int, row: Int, head: Int, from position: Int) -> UnsafeRawPointer {
    cache.key(layer, slot: slots[row], head: head, position: position)
  }
  func values(_ layer: Int, row: Int, head: Int, from position: Int) -> UnsafeRawPointer {
    cache.value(layer, slot: slots[row], head: head, position: position)
  }

  /// Keys and values of what a row's encoder has read, and how many they are.
  func ofSource(_ layer: Int, row: Int, head: Int) -> (keys: UnsafeRawPointer, values: UnsafeRawPointer, count: Int) {
    guard let source = cache.source else {
      Failure.end(GoraError(.usage, "what is asked for here gives the model's encoder nothing to read"))
    }
    let slot = slots[row]
    return (
      source.key(layer, slot: slot, head: head, position: 0), source.value(layer, slot: slot, head: head, position: 0),
      source.lengths[slot]
    )
  }
}

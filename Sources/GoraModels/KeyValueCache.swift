import GoraCore

/// Keys and values of the rows being generated, one slot a row: per layer [slots, capacity, kvHeads·d].
package final class KeyValueCache {
  private let keys: [FloatBuffer]
  private let values: [FloatBuffer]
  private let width: Int
  package let slots: Int
  package let capacity: Int
  fileprivate var lengths: [Int]

  /// - Parameter capacity: tokens a slot can hold
  package init(config: ModelConfig, slots: Int, capacity: Int) {
    self.slots = slots
    self.capacity = capacity
    let width = config.keyValueSize
    self.width = width
    keys = (0..<config.layers).map { _ in FloatBuffer(capacity: slots * capacity * width) }
    values = (0..<config.layers).map { _ in FloatBuffer(capacity: slots * capacity * width) }
    lengths = Array(repeating: 0, count: slots)
  }

  /// Forgets a slot's row.
  package func clear(_ slot: Int) { lengths[slot] = 0 }
  package func length(_ slot: Int) -> Int { lengths[slot] }

  fileprivate func key(_ layer: Int, _ slot: Int) -> UnsafeMutablePointer<Float> { keys[layer].pointer + slot * capacity * width }
  fileprivate func value(_ layer: Int, _ slot: Int) -> UnsafeMutablePointer<Float> {
    values[layer].pointer + slot * capacity * width
  }

  fileprivate func copy(
    _ source: FloatBuffer, from token: Int, count: Int, to target: UnsafeMutablePointer<Float>, at position: Int
  ) {
    (target + position * width).update(from: source.pointer + token * width, count: count * width)
  }
}

/// One forward pass over new tokens of several cached rows: whole prompts and single tokens side by side.
package final class CachedStep {
  let ids: [Int32]
  let positions: [Int32]
  let starts: [Int]
  let lengths: [Int]
  private let slots: [Int]
  private let cache: KeyValueCache

  /// - Parameter rows: a slot and its new tokens; a slot appears once.
  package init(cache: KeyValueCache, rows: [(slot: Int, ids: [Int32])]) {
    self.cache = cache
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

  func store(k: FloatBuffer, v: FloatBuffer, layer: Int) {
    for (row, slot) in slots.enumerated() {
      let count = starts[row + 1] - starts[row]
      let position = lengths[row] - count
      cache.copy(k, from: starts[row], count: count, to: cache.key(layer, slot), at: position)
      cache.copy(v, from: starts[row], count: count, to: cache.value(layer, slot), at: position)
    }
  }

  func keys(_ layer: Int) -> [UnsafePointer<Float>] { slots.map { UnsafePointer(cache.key(layer, $0)) } }
  func values(_ layer: Int) -> [UnsafePointer<Float>] { slots.map { UnsafePointer(cache.value(layer, $0)) } }
}

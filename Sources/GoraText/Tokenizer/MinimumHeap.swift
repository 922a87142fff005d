/// A binary heap, least item first.
struct MinimumHeap<Item: Comparable> {
  private var items: [Item] = []

  mutating func push(_ item: Item) {
    items.append(item)
    var child = items.count - 1
    while child > 0, items[child] < items[(child - 1) / 2] {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func pop() -> Item? {
    guard let least = items.first, let last = items.popLast() else { return nil }
    if items.isEmpty { return least }
    items[0] = last
    var parent = 0
    while true {
      var child = 2 * parent + 1
      if child >= items.count { break }
      if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
      if !(items[child] < items[parent]) { break }
      items.swapAt(parent, child)
      parent = child
    }
    return least
  }
}

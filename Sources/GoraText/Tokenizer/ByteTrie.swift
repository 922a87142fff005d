/// Byte strings with a number each, found byte by byte.
struct ByteTrie: Sendable {
  /// Edges in open addressing: node and byte, and the node they lead to.
  private var edges: [UInt64] = Array(repeating: Self.none, count: 16)
  private var ends: [Int32] = Array(repeating: -1, count: 16)
  /// The number of each node's string, -1 for none.
  private var numbers: [Int32] = [-1]

  static let root: Int32 = 0
  private static let none = UInt64.max

  /// Inserts a string; one that is there already gets the new number.
  mutating func insert(_ string: some Sequence<UInt8>, number: Int32) {
    var node = Self.root
    for byte in string {
      if let next = next(node, byte) {
        node = next
      } else {
        if numbers.count * 2 > edges.count { grow() }
        let next = Int32(numbers.count)
        numbers.append(-1)
        add(Self.edge(node, byte), next)
        node = next
      }
    }
    numbers[Int(node)] = number
  }

  /// Where a byte leads from a node.
  @inline(__always)
  func next(_ node: Int32, _ byte: UInt8) -> Int32? {
    let end = ends[slot(Self.edge(node, byte))]
    return end < 0 ? nil : end
  }

  @inline(__always)
  func number(_ node: Int32) -> Int32? {
    let number = numbers[Int(node)]
    return number < 0 ? nil : number
  }

  private mutating func grow() {
    let old = zip(edges, ends)
    edges = Array(repeating: Self.none, count: edges.count * 2)
    ends = Array(repeating: -1, count: edges.count)
    for (edge, end) in old where end >= 0 { add(edge, end) }
  }

  private mutating func add(_ edge: UInt64, _ end: Int32) {
    let slot = slot(edge)
    edges[slot] = edge
    ends[slot] = end
  }

  @inline(__always)
  private static func edge(_ node: Int32, _ byte: UInt8) -> UInt64 {
    UInt64(UInt32(bitPattern: node)) &<< 8 | UInt64(byte)
  }

  /// The slot that holds the edge, or the empty one where it belongs.
  @inline(__always)
  private func slot(_ edge: UInt64) -> Int {
    let mask = edges.count - 1
    var slot = Int(truncatingIfNeeded: (edge &* 0x9E37_79B9_7F4A_7C15) &>> 20) & mask
    while edges[slot] != edge && edges[slot] != Self.none { slot = (slot + 1) & mask }
    return slot
  }
}

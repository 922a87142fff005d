/// Tokens on their way to text: ranges of one byte buffer.
struct TokenizerPieces {
  var bytes: [UInt8] = []
  var ranges: [Range<Int>] = []

  mutating func append(_ piece: some Sequence<UInt8>) {
    let start = bytes.count
    bytes.append(contentsOf: piece)
    ranges.append(start..<bytes.count)
  }
}

/// The bytes with every occurrence of `pattern`, from the left, replaced.
func replaced(_ bytes: ArraySlice<UInt8>, _ pattern: [UInt8], with content: [UInt8]) -> [UInt8] {
  var result: [UInt8] = []
  result.reserveCapacity(bytes.count)
  guard let first = pattern.first else { return Array(bytes) }
  var at = bytes.startIndex
  while at < bytes.endIndex {
    if bytes[at] == first, bytes[at...].starts(with: pattern) {
      result.append(contentsOf: content)
      at += pattern.count
    } else {
      result.append(bytes[at])
      at += 1
    }
  }
  return result
}

/// A hash of short byte strings, eight bytes at a step; it decides nothing but where a table looks first.
@inline(__always)
func tokenizerHash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  let multiplier: UInt64 = 0x9E37_79B9_7F4A_7C15
  var hash = UInt64(truncatingIfNeeded: bytes.count) &* multiplier
  var at = 0
  while at + 8 <= bytes.count {
    hash = (hash ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)) &* multiplier
    hash ^= hash &>> 32
    at += 8
  }
  var tail: UInt64 = 0
  while at < bytes.count {
    tail = tail &<< 8 | UInt64(bytes[at])
    at += 1
  }
  hash = (hash ^ tail) &* multiplier
  return hash ^ hash &>> 32
}

/// Byte strings with an id each, found in both directions.
///
/// Keys are compared as bytes: Swift's `String` equality would take canonically equivalent tokens
/// (U+03AF and U+1F77, both in Llama 2's vocabulary) for one.
struct TokenizerVocabulary: Sendable {
  private var bytes: [UInt8] = []
  /// Where the token of each id stands in `bytes`; empty for an id without a token.
  private var spans: [Range<Int>] = []
  private var present: [Bool] = []
  /// Open addressing; -1 is an empty slot.
  private var slots: [Int32]
  private(set) var count = 0

  /// - Parameter capacity: about how many tokens will be inserted.
  init(capacity: Int) {
    var size = 16
    while size < capacity * 2 { size *= 2 }
    slots = Array(repeating: -1, count: size)
  }

  /// Largest id + 1.
  var size: Int { spans.count }

  /// Inserts a token; false where the token or the id is there already.
  mutating func insert(_ token: String, id: Int32) -> Bool {
    var token = token
    return token.withUTF8 { insert(UnsafeRawBufferPointer($0), id: id) }
  }

  private mutating func insert(_ token: UnsafeRawBufferPointer, id: Int32) -> Bool {
    if Int(id) < spans.count, present[Int(id)] { return false }
    if count * 2 >= slots.count { grow() }
    let slot = slot(of: token)
    guard slots[slot] < 0 else { return false }
    slots[slot] = id
    while spans.count <= Int(id) {
      spans.append(0..<0)
      present.append(false)
    }
    spans[Int(id)] = bytes.count..<bytes.count + token.count
    present[Int(id)] = true
    bytes.append(contentsOf: token)
    count += 1
    return true
  }

  private mutating func grow() {
    slots = Array(repeating: -1, count: slots.count * 2)
    for id in spans.indices where present[id] {
      let slot = bytes.withUnsafeBytes { bytes in self.slot(of: UnsafeRawBufferPointer(rebasing: bytes[spans[id]])) }
      slots[slot] = Int32(id)
    }
  }

  /// The slot that holds the token, or the empty one where it belongs.
  @inline(__always)
  private func slot(of token: UnsafeRawBufferPointer) -> Int {
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: tokenizerHash(token)) & mask
    while slots[slot] >= 0 {
      let span = spans[Int(slots[slot])]
      if span.count == token.count,
        bytes.withUnsafeBytes({ UnsafeRawBufferPointer(rebasing: $0[span]).elementsEqual(token) })
      {
        break
      }
      slot = (slot + 1) & mask
    }
    return slot
  }

  func id(of token: UnsafeRawBufferPointer) -> Int32? {
    let id = slots[slot(of: token)]
    return id < 0 ? nil : id
  }

  func id(of token: [UInt8]) -> Int32? { token.withUnsafeBytes { id(of: $0) } }

  func id(of token: String) -> Int32? {
    var token = token
    return token.withUTF8 { id(of: UnsafeRawBufferPointer($0)) }
  }

  func token(_ id: Int32) -> ArraySlice<UInt8>? {
    guard id >= 0, Int(id) < spans.count, present[Int(id)] else { return nil }
    return bytes[spans[Int(id)]]
  }
}

/// SentencePiece's table of normalisations (`precompiled_charsmap`): a trie of UTF-8 strings, each with the text that replaces it.
///
/// Bytes: the size of the trie in bytes (u32, little-endian); the trie, a double array of u32 units (darts-clone); the texts, each
/// ended by a zero byte. It is applied as HF `tokenizers` does, which differs from SentencePiece in where a match may end.
struct PrecompiledCharsmap: Sendable {
  private let units: [UInt32]
  private let texts: [UInt8]

  /// - Returns: nil where the table is damaged: cut short, a step that leaves the trie, a text that is none of UTF-8.
  init?(_ bytes: [UInt8]) {
    func word(_ at: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) } }
    guard bytes.count >= 4 else { return nil }
    let size = Int(word(0)) / 4 * 4
    guard size >= 4, size <= bytes.count - 4 else { return nil }
    units = (0..<size / 4).map { word(4 + 4 * $0) }
    texts = Array(bytes[(4 + size)...])
    guard String(validating: texts, as: UTF8.self) != nil else { return nil }
    guard units[0] >> 31 == 0 else { return nil }
    // All units that a label can lead to: no step from one may leave the array, no value the texts.
    for at in units.indices where units[at] >> 31 == 0 {
      let base = at ^ Self.offset(units[at])
      guard base | 0xFF < units.count else { return nil }
      guard Self.hasLeaf(units[at]) else { continue }
      let text = Self.value(units[base])
      guard text < texts.count, texts[text] & 0xC0 != 0x80 else { return nil }
    }
  }

  private static func hasLeaf(_ unit: UInt32) -> Bool { unit >> 8 & 1 == 1 }
  private static func value(_ unit: UInt32) -> Int { Int(unit & 0x7FFF_FFFF) }
  private static func offset(_ unit: UInt32) -> Int { Int(unit >> 10) << Int((unit & 1 << 9) >> 6) }

  /// What replaces a string: the text of the shortest entry that it begins with; nil where there is none.
  func replacement(of string: some Sequence<UInt8>) -> ArraySlice<UInt8>? {
    var at = Self.offset(units[0])
    for byte in string {
      if byte == 0 { return nil }
      at ^= Int(byte)
      let unit = units[at]
      guard unit & 0x8000_00FF == UInt32(byte) else { return nil }
      at ^= Self.offset(unit)
      if Self.hasLeaf(unit) { return texts[Self.value(units[at])...].prefix { $0 != 0 } }
    }
    return nil
  }

  /// Replaces whole characters of fewer than six bytes where the table has them or what they begin with, and the scalars of others.
  func apply(to text: inout AlignedText) {
    var result = AlignedText(tracksSources: text.tracksSources)
    var at = 0
    for character in String(decoding: text.bytes, as: UTF8.self) {
      let count = character.utf8.count
      if count < 6, let replacement = replacement(of: character.utf8) {
        result.append(replacement, for: at..<at + count, of: text)
        at += count
        continue
      }
      for scalar in character.unicodeScalars {
        let next = at + UTF8.width(scalar)
        if let replacement = replacement(of: text.bytes[at..<next]) {
          result.append(replacement, for: at..<next, of: text)
        } else {
          result.append(text, at..<next)
        }
        at = next
      }
    }
    text = result
  }
}

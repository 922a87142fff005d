/// The byte-level alphabet of GPT-2: every byte as a printable character, at most two bytes of UTF-8.
enum ByteLevel {
  /// The character of each byte: itself where printable in Latin-1, else U+0100 and up in byte order.
  static let characters: [UInt16] = {
    var next: UInt16 = 256
    return (0..<256).map { byte in
      if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE { return UInt16(byte) }
      next += 1
      return next - 1
    }
  }()

  /// The byte of each character up to U+0143, -1 for one outside of the alphabet.
  private static let values: [Int16] = {
    var values = [Int16](repeating: -1, count: 256 + 68)
    for (byte, character) in characters.enumerated() { values[Int(character)] = Int16(byte) }
    return values
  }()

  @inline(__always)
  static func append(_ byte: UInt8, to mapped: inout [UInt8]) {
    let character = characters[Int(byte)]
    if character < 0x80 {
      mapped.append(UInt8(character))
    } else {
      mapped.append(UInt8(0xC0 | character &>> 6))
      mapped.append(UInt8(0x80 | character & 0x3F))
    }
  }

  /// The bytes a token stands for; a token with a character outside of the alphabet stands for its own UTF-8 (HF).
  static func appendBytes(of token: some Collection<UInt8>, to bytes: inout [UInt8]) {
    let start = bytes.count
    var lead: Int?
    for byte in token {
      let character: Int
      if let before = lead {
        character = (before & 0x1F) << 6 | Int(byte & 0x3F)
        lead = nil
      } else if byte < 0x80 {
        character = Int(byte)
      } else if byte < 0xE0 {
        lead = Int(byte)
        continue
      } else {
        character = Int.max
      }
      guard character < values.count, values[character] >= 0 else {
        bytes.removeSubrange(start...)
        bytes.append(contentsOf: token)
        return
      }
      bytes.append(UInt8(values[character]))
    }
  }
}

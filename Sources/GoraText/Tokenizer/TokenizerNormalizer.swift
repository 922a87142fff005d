@_spi(_Unicode) import Swift

/// What happens to the text between added tokens before it is cut (`normalizer`), one step after the other.
enum TokenizerNormalizer: Sendable {
  case nfc
  case prepend([UInt8])
  case replace([UInt8], with: [UInt8])

  func apply(to text: inout [UInt8]) {
    switch self {
    case .nfc:
      // Text without a byte of U+0300 or above is in NFC.
      guard text.contains(where: { $0 >= 0xCC }) else { return }
      var normal = ""
      normal.unicodeScalars.append(contentsOf: String(decoding: text, as: UTF8.self)._nfc)
      text = Array(normal.utf8)
    case .prepend(let prefix): if !text.isEmpty { text.insert(contentsOf: prefix, at: 0) }
    case .replace(let pattern, let content):
      text = replaced(text[...], pattern, with: content)
    }
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

@_spi(_Unicode) import Swift

/// What happens to the text between added tokens before it is cut (`normalizer`), one step after the other.
enum TokenizerNormalizer: Sendable {
  case nfc
  case prepend([UInt8])
  case replace([UInt8], with: [UInt8])
  case replaceMatches(TokenizerPattern, with: [UInt8])
  /// Scalar by scalar: no rule for the sigma that ends a word.
  case lowercase
  /// SentencePiece's own normalisation.
  case precompiled(PrecompiledCharsmap)

  func apply(to text: inout AlignedText) {
    switch self {
    case .nfc:
      // Text without a byte of U+0300 or above is in NFC.
      guard text.bytes.contains(where: { $0 >= 0xCC }), !Self.nfc(text.bytes).elementsEqual(text.bytes) else { return }
      // What composes or changes places is within a character of Swift's.
      text.mapCharacters { character in
        let normal = Self.nfc(Array(character.utf8))
        return normal.elementsEqual(character.utf8) ? nil : normal
      }
    case .prepend(let prefix): if !text.bytes.isEmpty { text.prepend(prefix) }
    case .replace(let pattern, let content): text.replace(pattern, with: content)
    case .replaceMatches(let pattern, let content): text.replace(pattern, with: content)
    case .lowercase:
      text.mapScalars { scalar in
        let mapping = scalar.properties.lowercaseMapping
        return mapping.unicodeScalars.elementsEqual(CollectionOfOne(scalar)) ? nil : Array(mapping.utf8)
      }
    case .precompiled(let charsmap): charsmap.apply(to: &text)
    }
  }

  private static func nfc(_ text: [UInt8]) -> [UInt8] {
    var marks = ""
    for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
      if let parts = tibetanVowels[scalar] {
        marks.unicodeScalars.append(contentsOf: parts)
      } else {
        marks.unicodeScalars.append(scalar)
      }
    }
    var normal = ""
    normal.unicodeScalars.append(contentsOf: marks._nfc)
    return Array(normal.utf8)
  }

  /// Letters of class 0 that are written as two marks, which the standard library leaves behind others that they should precede.
  private static let tibetanVowels: [Unicode.Scalar: [Unicode.Scalar]] = [
    "\u{0F73}": ["\u{0F71}", "\u{0F72}"], "\u{0F75}": ["\u{0F71}", "\u{0F74}"], "\u{0F81}": ["\u{0F71}", "\u{0F80}"],
  ]
}

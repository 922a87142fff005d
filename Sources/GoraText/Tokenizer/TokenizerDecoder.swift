/// How tokens become text again (`decoder`), one step after the other.
enum TokenizerDecoder: Sendable {
  case byteLevel
  case replace([UInt8], with: [UInt8])
  /// Runs of `<0x..>` tokens become the text they spell, or one U+FFFD a token where they spell none.
  case byteFallback
  case fuse
  /// Removes up to `start` (`stop`) times `content` from the left (right) of every token.
  case strip(content: [UInt8], start: Int, stop: Int)
  /// `replacement` becomes a space, and nothing in the first token if `dropsFirst`.
  case metaspace(replacement: [UInt8], dropsFirst: Bool)

  func apply(to tokens: TokenizerPieces) -> TokenizerPieces {
    var result = TokenizerPieces()
    result.bytes.reserveCapacity(tokens.bytes.count)
    switch self {
    case .byteLevel:
      for range in tokens.ranges { ByteLevel.appendBytes(of: tokens.bytes[range], to: &result.bytes) }
      result.ranges = [0..<result.bytes.count]
      result = result.repaired()
    case .fuse:
      result.bytes = tokens.bytes
      result.ranges = [0..<tokens.bytes.count]
    case .replace(let pattern, let content):
      for range in tokens.ranges { result.append(replaced(tokens.bytes[range], pattern, with: content)) }
    case .metaspace(let replacement, let dropsFirst):
      for (i, range) in tokens.ranges.enumerated() {
        result.append(replaced(tokens.bytes[range], replacement, with: i == 0 && dropsFirst ? [] : [0x20]))
      }
    case .strip(let content, let start, let stop):
      for range in tokens.ranges {
        var token = tokens.bytes[range]
        for _ in 0..<start {
          guard token.starts(with: content) else { break }
          token = token.dropFirst(content.count)
        }
        for _ in 0..<stop {
          guard token.suffix(content.count).elementsEqual(content) else { break }
          token = token.dropLast(content.count)
        }
        result.append(token)
      }
    case .byteFallback:
      var spelt: [UInt8] = []
      func flush() {
        if spelt.isEmpty { return }
        if String(validating: spelt, as: UTF8.self) != nil {
          result.append(spelt)
        } else {
          for _ in spelt { result.append("\u{FFFD}".utf8) }
        }
        spelt = []
      }
      for range in tokens.ranges {
        if let byte = Self.byte(of: tokens.bytes[range]) {
          spelt.append(byte)
        } else {
          flush()
          result.append(tokens.bytes[range])
        }
      }
      flush()
    }
    return result
  }

  /// What one token of several becomes here: as in `apply`, but where a step needs its neighbours, the bytes as they are.
  func bytes(of token: [UInt8]) -> [UInt8] {
    switch self {
    case .byteLevel:
      var bytes: [UInt8] = []
      ByteLevel.appendBytes(of: token, to: &bytes)
      return bytes
    case .replace(let pattern, let content): return replaced(token[...], pattern, with: content)
    case .metaspace(let replacement, _): return replaced(token[...], replacement, with: [0x20])
    case .byteFallback: return Self.byte(of: token[...]).map { [$0] } ?? token
    case .fuse, .strip: return token
    }
  }

  /// 0x4A of `<0x4A>`.
  private static func byte(of token: ArraySlice<UInt8>) -> UInt8? {
    guard token.count == 6, token.starts(with: "<0x".utf8), token.last == UInt8(ascii: ">") else { return nil }
    return UInt8(String(decoding: token.dropFirst(3).prefix(2), as: UTF8.self), radix: 16)
  }
}

extension TokenizerPieces {
  /// One piece of valid UTF-8: what is not becomes U+FFFD, so that later steps see text.
  fileprivate func repaired() -> TokenizerPieces {
    var pieces = TokenizerPieces()
    pieces.append(String(decoding: bytes, as: UTF8.self).utf8)
    return pieces
  }
}

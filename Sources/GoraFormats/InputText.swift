import CZlib
import CZstd
import Glibc
import GoraCore

/// A text input that is read in pieces: standard input (`-`), a plain file, gzip or Zstandard, which is unpacked on the way.
package final class InputText {
  /// Most bytes that one input may have once it is unpacked: 16 GiB.
  package static let standardLimit = 1 << 34
  /// Bytes of a piece, at most.
  private static let pieceLength = 1 << 18

  private let path: String
  private let limit: Int
  private let file: InputFile
  private var packed: [UInt8] = []
  /// The first byte of `packed` that nobody has used, and its place in the input.
  private var at = 0
  private var offset = 0
  private var isAtEnd = false
  private var unpacked = 0
  private var decoder = Decoder.plain

  private enum Decoder {
    case plain
    /// Whether a member has ended and no other has begun.
    case gzip(UnsafeMutablePointer<z_stream>, isBetween: Bool)
    /// What the last call wants; 0 at the end of a frame.
    case zstd(OpaquePointer, wanted: Int)
  }

  /// Opens the input; compression is told by `.gz`, `.zst` or, for any name, by the first bytes.
  /// - Throws: `.noInput` where the input cannot be read.
  package init(_ path: String, limit: Int = standardLimit) throws(GoraError) {
    self.path = path
    self.limit = limit
    file = path == "-" ? try InputFile(standardInput: path) : try InputFile(path, streams: true)
    while packed.count < 4, !isAtEnd { try readMore() }
    // Neither magic number can start a text in UTF-8.
    if path.hasSuffix(".gz") || packed.starts(with: [0x1F, 0x8B]) {
      let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
      stream.initialize(to: z_stream())
      decoder = .gzip(stream, isBetween: false)
      guard gora_inflate_init(stream) == Z_OK else { throw GoraError(.internal, at: .file(path), "zlib did not start") }
    } else if path.hasSuffix(".zst") || packed.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
      guard let stream = ZSTD_createDStream() else { throw GoraError(.internal, at: .file(path), "zstd did not start") }
      decoder = .zstd(stream, wanted: 1)
    }
  }

  deinit {
    switch decoder {
    case .plain: break
    case .gzip(let stream, _):
      inflateEnd(stream)
      stream.deallocate()
    case .zstd(let stream, _): ZSTD_freeDStream(stream)
    }
  }

  /// All of an input at once.
  /// - Throws: as `init` and `next`.
  package static func read(_ path: String, limit: Int = standardLimit) throws(GoraError) -> [UInt8] {
    let input = try InputText(path, limit: limit)
    var text: [UInt8] = []
    while let piece = try input.next() { text += piece }
    return text
  }

  /// The next bytes of the text; nil at its end.
  /// - Throws: `.data` naming the input where it is corrupt or beyond the limit, `.noInput` where reading fails.
  package func next() throws(GoraError) -> [UInt8]? {
    let piece =
      switch decoder {
      case .plain: try nextPlain()
      case .gzip(let stream, _): try nextGzip(stream)
      case .zstd(let stream, _): try nextZstd(stream)
      }
    unpacked += piece?.count ?? 0
    guard unpacked <= limit else { throw .tooLarge(path, limit) }
    return piece
  }

  /// Reads on; what was used is let go.
  private func readMore() throws(GoraError) {
    packed.removeFirst(at)
    at = 0
    let count = packed.count
    packed.append(contentsOf: repeatElement(0, count: Self.pieceLength))
    var got: Int
    repeat {
      got = packed.withUnsafeMutableBytes { Glibc.read(file.descriptor, $0.baseAddress.map { $0 + count }, Self.pieceLength) }
    } while got < 0 && errno == EINTR
    guard got >= 0 else { throw .unreadable(path, errno) }
    packed.removeLast(Self.pieceLength - got)
    isAtEnd = got == 0
  }

  private func use(_ count: Int) {
    at += count
    offset += count
  }

  private func nextPlain() throws(GoraError) -> [UInt8]? {
    while at == packed.count {
      if isAtEnd { return nil }
      try readMore()
    }
    let piece = Array(packed[at...])
    use(piece.count)
    return piece
  }

  /// All members of a gzip file; zeros behind the last one are padding, as for gzip.
  private func nextGzip(_ stream: UnsafeMutablePointer<z_stream>) throws(GoraError) -> [UInt8]? {
    func corrupt(_ reason: String) -> GoraError { GoraError(.data, at: .bytes(path, offset: offset, part: "gzip"), reason) }
    while true {
      if at == packed.count, !isAtEnd { try readMore() }
      if case .gzip(_, isBetween: true) = decoder {
        if at == packed.count {
          if isAtEnd { return nil }
          continue
        }
        if packed[at] == 0 {
          let zeros = packed[at...].prefix { $0 == 0 }.count
          use(zeros)
          if at < packed.count { throw corrupt("corrupt gzip data: bytes behind zeros that are no padding") }
          continue
        }
        inflateReset(stream)
        decoder = .gzip(stream, isBetween: false)
      }
      var piece = [UInt8](repeating: 0, count: Self.pieceLength)
      let given = packed.count - at
      let (status, made) = packed.withUnsafeMutableBufferPointer { source in
        piece.withUnsafeMutableBufferPointer { target in
          stream.pointee.next_in = source.baseAddress.map { $0 + at }
          stream.pointee.avail_in = UInt32(given)
          stream.pointee.next_out = target.baseAddress
          stream.pointee.avail_out = UInt32(Self.pieceLength)
          let status = inflate(stream, Z_NO_FLUSH)
          return (status, Self.pieceLength - Int(stream.pointee.avail_out))
        }
      }
      use(given - Int(stream.pointee.avail_in))
      switch status {
      case Z_STREAM_END: decoder = .gzip(stream, isBetween: true)
      case Z_OK: break
      case Z_BUF_ERROR where made == 0:
        if at == packed.count, isAtEnd { throw corrupt("gzip data end too early") }
      default:
        throw corrupt("corrupt gzip data: " + (stream.pointee.msg.map { String(cString: $0) } ?? "status \(status)"))
      }
      if made > 0 {
        piece.removeLast(Self.pieceLength - made)
        return piece
      }
    }
  }

  /// All frames of a Zstandard file.
  private func nextZstd(_ stream: OpaquePointer) throws(GoraError) -> [UInt8]? {
    while true {
      if at == packed.count, !isAtEnd { try readMore() }
      if case .zstd(_, wanted: 0) = decoder, at == packed.count, isAtEnd { return nil }
      var piece = [UInt8](repeating: 0, count: Self.pieceLength)
      let (wanted, used, made) = packed.withUnsafeBytes { source in
        piece.withUnsafeMutableBytes { target in
          var from = ZSTD_inBuffer(src: source.baseAddress.map { $0 + at }, size: source.count - at, pos: 0)
          var to = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
          let wanted = ZSTD_decompressStream(stream, &to, &from)
          return (wanted, from.pos, to.pos)
        }
      }
      use(used)
      func corrupt(_ reason: String, hint: String? = nil) -> GoraError {
        GoraError(.data, at: .bytes(path, offset: offset, part: "zstd"), reason, hint: hint)
      }
      if ZSTD_isError(wanted) != 0 {
        let reason = String(cString: ZSTD_getErrorName(wanted)).lowercased()
        // zstd's own limit, where --long is not given.
        if reason.contains("too much memory") {
          throw corrupt("a frame's window is larger than 128 MiB, the limit", hint: "unpack it first: zstd -d --long=31")
        }
        throw corrupt("corrupt Zstandard data: \(reason)")
      }
      decoder = .zstd(stream, wanted: wanted)
      if made > 0 {
        piece.removeLast(Self.pieceLength - made)
        return piece
      }
      if wanted != 0, used == 0, at == packed.count, isAtEnd { throw corrupt("Zstandard data end too early") }
    }
  }
}

import CZlib
import CZstd
import Glibc
import GoraCore

/// A whole text input: standard input (`-`), a plain file, gzip or Zstandard.
package enum InputText {
  /// Most bytes that one input may have once it is decompressed: 16 GiB.
  package static let defaultLimit = 1 << 34

  /// Reads and decompresses; compression is told by `.gz`, `.zst` or, for any name, by the first bytes.
  /// - Throws: `.noInput` where the input cannot be read, `.data` naming it where it is corrupt or beyond `limit`.
  package static func read(_ path: String, limit: Int = defaultLimit) throws(GoraError) -> [UInt8] {
    let bytes: [UInt8]
    if path == "-" {
      bytes = try readAll(STDIN_FILENO, path: "-", limit: limit)
    } else {
      let file = try InputFile(path, streams: true)
      bytes = try readAll(file.descriptor, path: path, limit: limit)
    }
    // Neither magic number can start a text in UTF-8.
    if path.hasSuffix(".gz") || bytes.starts(with: [0x1F, 0x8B]) { return try gunzip(bytes, path: path, limit: limit) }
    if path.hasSuffix(".zst") || bytes.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
      return try unzstd(bytes, path: path, limit: limit)
    }
    return bytes
  }

  private static let pieceLength = 1 << 18

  /// All members of a gzip file (`inflate`).
  private static func gunzip(_ input: [UInt8], path: String, limit: Int) throws(GoraError) -> [UInt8] {
    var input = input
    var output: [UInt8] = []
    let failure = input.withUnsafeMutableBufferPointer { source -> GoraError? in
      var stream = z_stream()
      guard gora_inflate_init(&stream) == Z_OK else { return GoraError(.internal, at: .file(path), "zlib did not start") }
      defer { inflateEnd(&stream) }
      return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: pieceLength) { piece -> GoraError? in
        var at = 0
        while at < source.count {
          // avail_in is 32 bits wide.
          let given = min(source.count - at, 1 << 30)
          stream.next_in = source.baseAddress.map { $0 + at }
          stream.avail_in = UInt32(given)
          stream.next_out = piece.baseAddress
          stream.avail_out = UInt32(pieceLength)
          let status = inflate(&stream, Z_NO_FLUSH)
          at += given - Int(stream.avail_in)
          output.append(contentsOf: UnsafeBufferPointer(rebasing: piece[..<(pieceLength - Int(stream.avail_out))]))
          if output.count > limit { return .tooLarge(path, limit) }
          switch status {
          case Z_STREAM_END:
            if at == source.count { return nil }
            inflateReset(&stream)
          case Z_OK:
            continue
          default:
            let reason = stream.msg.map { String(cString: $0) } ?? "status \(status)"
            return GoraError(.data, at: .bytes(path, offset: at, part: "gzip"), "corrupt gzip data: \(reason)")
          }
        }
        // Input used up; what still lies inside the decoder is drawn out.
        while true {
          stream.next_out = piece.baseAddress
          stream.avail_out = UInt32(pieceLength)
          let status = inflate(&stream, Z_NO_FLUSH)
          output.append(contentsOf: UnsafeBufferPointer(rebasing: piece[..<(pieceLength - Int(stream.avail_out))]))
          if output.count > limit { return .tooLarge(path, limit) }
          if status == Z_STREAM_END { return nil }
          if status != Z_OK {
            return GoraError(.data, at: .bytes(path, offset: at, part: "gzip"), "gzip data end too early")
          }
        }
      }
    }
    if let failure { throw failure }
    return output
  }

  /// All frames of a Zstandard file (`ZSTD_decompressStream`).
  private static func unzstd(_ input: [UInt8], path: String, limit: Int) throws(GoraError) -> [UInt8] {
    var output: [UInt8] = []
    let failure = input.withUnsafeBytes { source -> GoraError? in
      guard let stream = ZSTD_createDStream() else { return GoraError(.internal, at: .file(path), "zstd did not start") }
      defer { ZSTD_freeDStream(stream) }
      return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: pieceLength) { piece -> GoraError? in
        var from = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        // 0 exactly at the end of a frame, so an empty file is one that ends too early.
        var remaining = 1
        while true {
          let before = from.pos
          var to = ZSTD_outBuffer(dst: piece.baseAddress, size: pieceLength, pos: 0)
          remaining = ZSTD_decompressStream(stream, &to, &from)
          if ZSTD_isError(remaining) != 0 {
            return GoraError(
              .data, at: .bytes(path, offset: from.pos, part: "zstd"),
              "corrupt Zstandard data: \(String(cString: ZSTD_getErrorName(remaining)).lowercased())")
          }
          output.append(contentsOf: UnsafeBufferPointer(rebasing: piece[..<to.pos]))
          if output.count > limit { return .tooLarge(path, limit) }
          if remaining == 0, from.pos == from.size { return nil }
          if from.pos == before, to.pos == 0 {
            return GoraError(.data, at: .bytes(path, offset: from.pos, part: "zstd"), "Zstandard data end too early")
          }
        }
      }
    }
    if let failure { throw failure }
    return output
  }
}

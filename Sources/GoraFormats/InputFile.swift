import Glibc
import GoraCore

/// An input opened for reading, and closed with the object; what it is has been looked at, so that nothing waits for a pipe's
/// other end or reads a device.
package struct InputFile: ~Copyable {
  package let descriptor: Int32
  /// Bytes of a regular file; nil for what only streams.
  package let size: Int?

  /// - Parameter streams: whether pipes and character devices will do, which can be read once, from their beginning.
  /// - Throws: `.noInput` where the file is missing, unreadable or of another kind; `.io` where its disk fails.
  package init(_ path: String, streams: Bool = false) throws(GoraError) {
    (descriptor, size) = try Self.open(path, streams)
  }

  /// Standard input; what was opened here is closed, not that itself.
  package init(standardInput path: String) throws(GoraError) {
    descriptor = dup(STDIN_FILENO)
    size = nil
    guard descriptor >= 0 else { throw .unreadable(path, errno) }
  }

  deinit { close(descriptor) }

  private static func open(_ path: String, _ streams: Bool) throws(GoraError) -> (descriptor: Int32, size: Int?) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .unreadable(path, errno) }
    // Looked at first, for opening a pipe waits for a writer, and again, for the file may have been exchanged meanwhile.
    try require(status.st_mode, path, streams)
    let isPipe = status.st_mode & S_IFMT == S_IFIFO
    let descriptor = systemOpen(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (isPipe ? 0 : O_NONBLOCK))
    guard descriptor >= 0 else { throw .unreadable(path, errno) }
    do throws(GoraError) {
      guard fstat(descriptor, &status) == 0 else { throw .unreadable(path, errno) }
      try require(status.st_mode, path, streams)
    } catch {
      close(descriptor)
      throw error
    }
    return (descriptor, status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil)
  }

  private static func require(_ mode: mode_t, _ path: String, _ streams: Bool) throws(GoraError) {
    let kind: String
    switch mode & S_IFMT {
    case S_IFREG: return
    case S_IFDIR: throw .unreadable(path, EISDIR)
    case S_IFIFO where streams, S_IFCHR where streams: return
    case S_IFIFO: kind = "a pipe"
    case S_IFSOCK: kind = "a socket"
    case S_IFCHR, S_IFBLK: kind = "a device"
    default: kind = "not a file"
    }
    throw GoraError(
      .noInput, at: .file(path), "\(kind); expected a regular file", hint: streams ? nil : "write it to a file first")
  }
}

private func systemOpen(_ path: String, _ flags: Int32) -> Int32 { open(path, flags) }

/// Most bytes that are read of files which are held in memory whole.
package enum FileLimit {
  /// Configurations, templates, indices of shards: 64 MiB.
  package static let configuration = 1 << 26
  /// Scores and plans: 256 MiB.
  package static let plan = 1 << 28
  /// Vocabularies, logs of training, whatever stands beside weights: 1 GiB.
  package static let companion = 1 << 30
}

/// The bytes of a whole file; pipes and devices work too.
/// - Throws: `.noInput` where it is missing, a folder or unreadable, `.data` where it has more than `limit` bytes.
package func readWholeFile(_ path: String, limit: Int = FileLimit.configuration) throws(GoraError) -> [UInt8] {
  let file = try InputFile(path, streams: true)
  return try readAll(file.descriptor, path: path, limit: limit)
}

/// A text file of a user's, without its byte order mark.
/// - Throws: as `readWholeFile`; `.data` with the line where it is no UTF-8.
package func readTextFile(_ path: String) throws(GoraError) -> String {
  var bytes = try readWholeFile(path)[...]
  if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes = bytes.dropFirst(3) }
  if let text = String(validating: bytes, as: UTF8.self) { return text }
  let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
  let line = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
  throw GoraError(.data, at: .text(path, line: line + 1, column: 1), "the line is not UTF-8")
}

/// The rest of an open file.
/// - Throws: `.noInput` where reading fails, `.data` beyond `limit` bytes.
func readAll(_ descriptor: Int32, path: String, limit: Int) throws(GoraError) -> [UInt8] {
  var status = stat()
  // One more than the size, so that the end is met without growing the buffer.
  let expected = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) + 1 : 1 << 16
  guard expected - 1 <= limit || limit < 1 << 16 else { throw .tooLarge(path, limit) }
  var bytes = [UInt8](repeating: 0, count: expected)
  var count = 0
  while true {
    if count == bytes.count { bytes.append(contentsOf: repeatElement(0, count: bytes.count)) }
    let room = min(bytes.count - count, 1 << 30)
    let got = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress.map { $0 + count }, room) }
    if got < 0 {
      if errno == EINTR { continue }
      throw .unreadable(path, errno)
    }
    if got == 0 { break }
    count += got
    guard count <= limit else { throw .tooLarge(path, limit) }
  }
  bytes.removeSubrange(count...)
  return bytes
}

import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file mapped read-only into memory for as long as the object lives.
package final class MappedFile: @unchecked Sendable {
  package let path: String
  /// Valid while the object lives, and no longer: hold it (`withExtendedLifetime`) around every use.
  package let bytes: UnsafeRawBufferPointer

  /// - Throws: `.noInput` where the file is missing, unreadable or not a regular file. An empty file has no bytes.
  package init(path: String) throws(GoraError) {
    self.path = path
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .unreadable(path, errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .unreadable(path, errno) }
    let kind = status.st_mode & S_IFMT
    if kind == S_IFDIR { throw .unreadable(path, EISDIR) }
    guard kind == S_IFREG else {
      throw GoraError(
        .noInput, at: .file(path), "not a regular file, and this format needs one that can be searched",
        hint: "write it to a file first")
    }
    let count = Int(status.st_size)
    if count == 0 {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
      throw .unreadable(path, errno)
    }
    bytes = UnsafeRawBufferPointer(start: start, count: count)
  }

  /// Takes the pages of some bytes of a mapped file out of this process: the page cache keeps them while memory lasts, and the next
  /// access brings them back.
  package static func releasePages(of bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress else { return }
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let first = Int(bitPattern: start) / page * page
    madvise(UnsafeMutableRawPointer(bitPattern: first), Int(bitPattern: start) + bytes.count - first, MADV_DONTNEED)
  }

  deinit {
    if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
  }
}

/// The bytes of a whole file; pipes and devices work too.
/// - Throws: `.noInput` where it is missing, a folder or unreadable.
package func readWholeFile(_ path: String) throws(GoraError) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw .unreadable(path, errno) }
  defer { close(descriptor) }
  return try readAll(descriptor, path: path, limit: .max)
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

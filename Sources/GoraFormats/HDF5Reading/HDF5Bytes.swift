import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where the bytes of an HDF5 file come from: a file, read at given places, or memory.
final class HDF5Bytes: Sendable {
  private enum Source { case descriptor(Int32), memory([UInt8]) }

  private let source: Source
  let path: String
  let count: Int

  /// - Throws: `.noInput` where there is no such regular file, or it may not be read.
  init(path: String) throws(GoraError) {
    // Without O_NONBLOCK a pipe would be waited for.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .unreadable(path, errno) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      let number = errno
      close(descriptor)
      throw .unreadable(path, number)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw GoraError(.noInput, at: .file(path), "not a regular file, and HDF5 needs one that can be searched")
    }
    (self.path, count, source) = (path, Int(status.st_size), .descriptor(descriptor))
  }

  /// A file in memory; `path` is what errors call it.
  init(_ bytes: [UInt8], path: String) {
    (self.path, count, source) = (path, bytes.count, .memory(bytes))
  }

  deinit { if case .descriptor(let descriptor) = source { close(descriptor) } }

  /// Fills `target` from `offset` on; the caller has seen to it that it lies within `count`.
  /// - Throws: `.noInput` where reading fails, `.data` where the file has become shorter.
  func read(at offset: Int, into target: UnsafeMutableRawBufferPointer) throws(GoraError) {
    guard let start = target.baseAddress else { return }
    switch source {
    case .memory(let bytes):
      bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + target.count])) }
    case .descriptor(let descriptor):
      var filled = 0
      while filled < target.count {
        let got = pread(descriptor, start + filled, min(target.count - filled, 1 << 30), off_t(offset + filled))
        if got < 0 {
          if errno == EINTR { continue }
          throw .unreadable(path, errno)
        }
        guard got > 0 else { throw GoraError(.data, at: .file(path), "cut short while it was read") }
        filled += got
      }
    }
  }
}

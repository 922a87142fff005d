import Glibc
import GoraCore

/// Where the bytes of an HDF5 file come from: a file, read at given places, or memory.
final class HDF5Bytes: Sendable {
  private enum Source: ~Copyable { case file(InputFile), memory([UInt8]) }

  private let source: Source
  let path: String
  let count: Int

  /// - Throws: `.noInput` where there is no such regular file, or it may not be read.
  init(path: String) throws(GoraError) {
    let file = try InputFile(path)
    (self.path, count) = (path, file.size ?? 0)
    source = .file(file)
  }

  /// A file in memory; `path` is what errors call it.
  init(_ bytes: [UInt8], path: String) {
    (self.path, count) = (path, bytes.count)
    source = .memory(bytes)
  }

  /// Asks the system to read ahead what will be wanted soon, and does not wait for it.
  func announce(at offset: Int, count: Int) {
    switch source {
    case .memory: break
    case .file(let file): posix_fadvise(file.descriptor, off_t(offset), off_t(count), POSIX_FADV_WILLNEED)
    }
  }

  /// Fills `target` from `offset` on; the caller has seen to it that it lies within `count`.
  /// - Throws: `.noInput` where reading fails, `.data` where the file has become shorter.
  func read(at offset: Int, into target: UnsafeMutableRawBufferPointer) throws(GoraError) {
    guard let start = target.baseAddress else { return }
    switch source {
    case .memory(let bytes):
      bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + target.count])) }
    case .file(let file):
      var filled = 0
      while filled < target.count {
        let got = pread(file.descriptor, start + filled, min(target.count - filled, 1 << 30), off_t(offset + filled))
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

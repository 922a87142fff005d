import Glibc
import GoraCore
import GoraFormats

/// A text that a child process reads as a file, which has no name and goes with the last who has it open.
struct UnnamedFile {
  /// At the text's beginning; the caller closes it.
  let descriptor: Int32

  /// - Throws: status 74 where there is no room for it.
  init(_ bytes: [UInt8]) throws(GoraError) {
    let folder = TemporaryFolder.parent
    descriptor = try TemporaryFiles.undisturbed { () throws(GoraError) in
      var name = Array("\(folder)/gora-input.XXXXXX".utf8CString)
      let descriptor = mkstemp(&name)
      if descriptor >= 0 { unlink(name) }
      return descriptor
    }
    var done = 0
    while descriptor >= 0, done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
      if count < 0, errno != EINTR { break }
      if count > 0 { done += count }
    }
    guard descriptor >= 0, done == bytes.count, lseek(descriptor, 0, SEEK_SET) == 0 else {
      let number = errno
      if descriptor >= 0 { close(descriptor) }
      throw GoraError(.io, at: .file(folder), "cannot write: \(String(cString: strerror(number)))")
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
  }
}

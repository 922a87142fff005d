import Glibc
import GoraCore
import GoraFormats

/// Standard output for results and standard error for talk, unbuffered, so that order is kept and no late error is lost.
package enum StandardStreams {
  /// Opens what the caller closed, so that no result file can land on descriptor 0, 1 or 2.
  static func reserveDescriptors() {
    for descriptor: Int32 in 0...2 where fcntl(descriptor, F_GETFD) == -1 {
      // The wrong direction on purpose: using a closed stream stays an error.
      _ = open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY)
    }
  }

  /// Writes a result.
  /// - Throws: status 74 where it cannot be written whole.
  package static func writeOutput(_ text: String) throws(GoraError) {
    if let problem = write(text, to: STDOUT_FILENO) {
      throw GoraError(.io, at: .file("standard output"), problem)
    }
  }

  /// Closes standard output, which is when a full disk may first show.
  static func closeOutput() throws(GoraError) {
    if close(STDOUT_FILENO) != 0, errno != EBADF {
      throw GoraError(.io, at: .file("standard output"), systemMessage(errno))
    }
  }

  /// Writes a message; nowhere to complain where that fails.
  static func writeError(_ text: String) { _ = write(text, to: STDERR_FILENO) }

  /// Waits until whoever reads standard error through a pipe has what was written, at most 2 seconds: a launcher may end the processes,
  /// and throw away what it has not read by then.
  static func drainError() {
    var status = stat()
    guard fstat(STDERR_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return }
    for _ in 0..<2000 {
      var unread: Int32 = 0
      guard ioctl(STDERR_FILENO, UInt(FIONREAD), &unread) == 0, unread > 0 else { return }
      usleep(1000)
    }
  }

  static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }
  package static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
  package static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }

  private static func write(_ text: String, to descriptor: Int32) -> String? {
    var text = text
    return text.withUTF8 { bytes -> String? in
      var done = 0
      while done < bytes.count {
        let count = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        if count < 0 {
          if errno == EINTR { continue }
          // Somebody who shares the stream has made it one that does not wait.
          if errno == EAGAIN {
            var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&wanted, 1, -1)
            continue
          }
          return systemMessage(errno)
        }
        done += count
      }
      return nil
    }
  }
}

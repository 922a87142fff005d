import Glibc
import GoraCore

/// The two ends of a pipe, neither of which goes to other programs by itself.
struct ClosingPipe {
  let read: Int32
  let write: Int32

  /// - Throws: status 74 where there is none left.
  init() throws(GoraError) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw GoraError(.io, "cannot make a pipe: \(String(cString: strerror(errno)))") }
    (read, write) = (ends[0], ends[1])
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
  }
}

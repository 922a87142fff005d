import Glibc
import GoraCore

/// The system's sentence for an error number, starting with a lower-case letter as all messages do.
package func systemMessage(_ number: Int32) -> String {
  let text = String(cString: strerror(number))
  guard let first = text.first else { return "error \(number)" }
  return first.lowercased() + text.dropFirst()
}

/// Whether a call failed for the disk's sake, not for the path's.
private func isIO(_ number: Int32) -> Bool { [EIO, ESTALE, ENOSPC, EDQUOT].contains(number) }

extension GoraError {
  /// An input that cannot be opened or read (exit 66), or whose disk fails (74).
  static func unreadable(_ path: String, _ number: Int32) -> GoraError {
    let status: ExitStatus = isIO(number) ? .io : .noInput
    return GoraError(
      status, at: .file(path), number == ENOENT ? "no such file or folder" : "cannot read: \(systemMessage(number))")
  }

  /// An output that cannot be made (exit 73), or for which there is no room (74).
  static func cannotCreate(_ path: String, _ number: Int32) -> GoraError {
    if isIO(number) { return .cannotWrite(path, number) }
    return GoraError(.cannotCreate, at: .file(path), "cannot create: \(systemMessage(number))")
  }

  /// An output that could be made but not written (exit 74).
  static func cannotWrite(_ path: String, _ number: Int32) -> GoraError {
    GoraError(
      .io, at: .file(path), "cannot write: \(systemMessage(number))",
      hint: number == ENOSPC || number == EDQUOT ? "free some space, or write to another place" : nil)
  }

  /// An input beyond what is read into memory at once (exit 65).
  static func tooLarge(_ path: String, _ limit: Int) -> GoraError {
    GoraError(.data, at: .file(path), "more than \(limit) bytes, the limit", hint: "split the file")
  }
}

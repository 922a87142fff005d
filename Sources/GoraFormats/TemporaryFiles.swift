import CGoraSignals
import Glibc
import GoraCore

/// What is on the disk only until this process ends: files without their names yet, and folders that were made for them. A signal
/// removes it.
package enum TemporaryFiles {
  /// One of them, to be struck off.
  package struct Entry: @unchecked Sendable {
    fileprivate let pointer: OpaquePointer?
  }

  /// Where files lie that no one is to see: TMPDIR, or /tmp.
  package static var folder: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

  /// Notes a file. Registered before it exists: a signal in between finds nothing to remove, which is harmless.
  package static func register(_ path: String) -> Entry { Entry(pointer: gora_cleanup_add(path)) }

  /// Notes a folder, which goes where it is empty.
  package static func register(folder path: String) -> Entry {
    Entry(pointer: gora_cleanup_add(path.hasSuffix("/") ? path : path + "/"))
  }

  /// Strikes it off: it has been renamed or removed.
  package static func forget(_ entry: Entry) { gora_cleanup_forget(entry.pointer) }

  /// Removes all that is noted.
  package static func removeAll() { gora_cleanup_run() }

  /// Runs what must not be cut in two by a signal: one that comes meanwhile waits.
  package static func undisturbed<T>(_ body: () throws(GoraError) -> T) throws(GoraError) -> T {
    gora_signals_hold()
    defer { gora_signals_release() }
    return try body()
  }
}

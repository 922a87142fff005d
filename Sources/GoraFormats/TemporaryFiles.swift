import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The temporary files that this process has not renamed yet, so that a signal handler can remove them.
///
/// A fixed table of atomic pointers: reading it takes no lock and no memory, which is all that a signal handler may do. Names are
/// never freed (some hundred bytes a file), because a handler may be reading them while another thread finishes the file.
package enum TemporaryFiles {
  private typealias Slot = Atomic<UnsafeMutablePointer<CChar>?>
  private static let capacity = 256
  private nonisolated(unsafe) static let slots: UnsafeMutablePointer<Slot> = {
    let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
    for i in 0..<capacity { (slots + i).initialize(to: Slot(nil)) }
    return slots
  }()

  /// Makes the table; to be called before a signal handler that calls `unlinkAll` is installed.
  package static func prepare() { _ = slots }

  /// Notes the name of a temporary file; where the table is full, the file is merely not removed on a signal.
  package static func register(_ path: String) {
    guard let name = strdup(path) else { return }
    for i in 0..<capacity {
      if slots[i].compareExchange(expected: nil, desired: name, ordering: .acquiringAndReleasing).exchanged { return }
    }
    free(name)
  }

  /// Strikes a name off: the file has been renamed or removed.
  package static func forget(_ path: String) {
    for i in 0..<capacity {
      guard let name = slots[i].load(ordering: .acquiring), strcmp(name, path) == 0 else { continue }
      if slots[i].compareExchange(expected: name, desired: nil, ordering: .acquiringAndReleasing).exchanged { return }
    }
  }

  /// Removes every temporary file of this process (`unlink`); safe in a signal handler once `prepare` has run.
  package static func unlinkAll() {
    for i in 0..<capacity {
      if let name = slots[i].load(ordering: .acquiring) { _ = unlink(name) }
    }
  }
}

import CGoraSignals
import Glibc
import GoraCore

/// A file mapped read-only into memory for as long as the object lives.
package final class MappedFile: @unchecked Sendable {
  package let path: String
  /// Valid while the object lives, and no longer: hold it (`withExtendedLifetime`) around every use.
  package let bytes: UnsafeRawBufferPointer
  /// Tells the signal handler whose bytes they are: a file that is cut short while it is mapped faults.
  private let entry: OpaquePointer?

  /// - Throws: `.noInput` where the file is missing, unreadable or not a regular file. An empty file has no bytes.
  package init(path: String) throws(GoraError) {
    self.path = path
    let file = try InputFile(path)
    let count = file.size ?? 0
    if count == 0 {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      entry = nil
      return
    }
    guard let start = mmap(nil, count, PROT_READ, MAP_PRIVATE, file.descriptor, 0), start != MAP_FAILED else {
      throw .unreadable(path, errno)
    }
    bytes = UnsafeRawBufferPointer(start: start, count: count)
    entry = gora_mapping_add(start, count, path.escapingControls)
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
    gora_mapping_forget(entry)
    if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
  }
}

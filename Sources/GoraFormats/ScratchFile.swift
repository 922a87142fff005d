import Glibc
import GoraCore

/// Zeroed floats in a file without a name, mapped and shared: memory that the kernel may write back to the disk instead of keeping.
///
/// The file has been unlinked before anything is in it, so that it goes with the process, however that ends.
package final class ScratchFile {
  private let folder: String
  /// What it holds, for messages.
  private let contents: String
  private let descriptor: Int32
  private var size = 0

  /// - Parameter folder: on a disk; a file system that lives in memory would gain nothing.
  /// - Throws: `.cannotCreate` naming the folder.
  package init(folder: String, of contents: String = "gradients") throws(GoraError) {
    self.folder = folder
    self.contents = contents
    descriptor = try TemporaryFiles.undisturbed { () throws(GoraError) in
      var name = Array("\(folder)/.gora-spill.XXXXXX".utf8CString)
      let descriptor = mkstemp(&name)
      guard descriptor >= 0 else { throw .cannotCreate(folder, errno) }
      unlink(name)
      return descriptor
    }
  }

  deinit { close(descriptor) }

  /// The next `count` floats of the file, all 0. They stay valid without this object.
  /// - Throws: `.io` where the disk has no room for them.
  package func floats(_ count: Int) throws(GoraError) -> FloatBuffer {
    let page = max(4096, Int(sysconf(Int32(_SC_PAGESIZE))))
    let bytes = max(1, (count * MemoryLayout<Float>.stride + page - 1) / page) * page
    // Reserved now: without room for a page, the first write to it would end the process by a signal.
    var number = posix_fallocate(descriptor, off_t(size), off_t(bytes))
    while number == EINTR { number = posix_fallocate(descriptor, off_t(size), off_t(bytes)) }
    guard number == 0 else { throw refusal(bytes, number) }
    guard let start = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, off_t(size)), start != MAP_FAILED else {
      throw refusal(bytes, errno)
    }
    size += bytes
    return FloatBuffer(mapping: start, byteCount: bytes, count: count)
  }

  private func refusal(_ bytes: Int, _ number: Int32) -> GoraError {
    GoraError(
      .io, at: .file(folder), "cannot reserve \(bytes) bytes beside \(size) for \(contents): \(systemMessage(number))",
      hint: contents == "gradients"
        ? "name a folder with more room by --spill DIR, or keep gradients in memory with --spill never"
        : "name a folder with more room by TMPDIR")
  }
}

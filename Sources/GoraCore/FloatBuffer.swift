import CGoraKernels
import Glibc

/// Owns 64-byte aligned floats; the one owner of what its pointer shows.
package final class FloatBuffer {
  package private(set) var pointer: UnsafeMutablePointer<Float>
  package private(set) var count: Int
  /// Bytes of the mapping it shows; 0 where its memory is the heap's.
  private let mappedBytes: Int

  /// From now on buffers of 256 KiB and more have pages of their own, which go back to the kernel with them: memory is then what is counted,
  /// however buffers grow.
  package static func mapLargeOnes() { gora_map_large_blocks() }

  /// Zero-filled.
  package init(zeros count: Int) {
    self.count = count
    mappedBytes = 0
    pointer = Self.allocate(count)
    zero()
  }

  /// Uninitialised: for buffers that are written before they are read.
  package init(capacity count: Int = 0) {
    self.count = count
    mappedBytes = 0
    pointer = Self.allocate(count)
  }

  /// Shows a shared mapping of a file, and unmaps it when it goes.
  /// - Parameter byteCount: of the whole mapping, at least 4·count.
  package init(mapping start: UnsafeMutableRawPointer, byteCount: Int, count: Int) {
    self.count = count
    mappedBytes = byteCount
    pointer = start.bindMemory(to: Float.self, capacity: count)
  }

  package convenience init(_ values: [Float]) {
    self.init(capacity: values.count)
    for (i, value) in values.enumerated() { pointer[i] = value }
  }

  deinit {
    if mappedBytes > 0 { munmap(pointer, mappedBytes) } else { free(pointer) }
  }

  /// Memory for `count` floats; without it the process ends (`gora_fail`).
  private static func allocate(_ count: Int) -> UnsafeMutablePointer<Float> {
    let bytes = max(0, count).multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
    return gora_allocate(bytes.overflow ? .max : bytes.partialValue).bindMemory(to: Float.self, capacity: max(16, count))
  }

  /// Makes room for at least `count` floats; contents are lost when it grows.
  @discardableResult
  package func reserve(_ count: Int) -> UnsafeMutablePointer<Float> {
    if count > self.count {
      precondition(mappedBytes == 0, "a mapping does not grow")
      free(pointer)
      pointer = Self.allocate(count)
      self.count = count
    }
    return pointer
  }

  package func zero() { memset(pointer, 0, count * MemoryLayout<Float>.stride) }

  /// Takes a mapping's pages out of this process: the file keeps their contents, and the kernel may write them back and reuse the
  /// memory. The next access brings them in again. The heap's memory stays where it is.
  package func letGo() {
    if mappedBytes > 0 { madvise(pointer, mappedBytes, MADV_DONTNEED) }
  }

  package var array: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

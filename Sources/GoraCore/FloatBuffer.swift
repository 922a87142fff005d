#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Owns 64-byte aligned floats; the one owner of what its pointer shows.
package final class FloatBuffer {
  package private(set) var pointer: UnsafeMutablePointer<Float>
  package private(set) var count: Int

  /// Zero-filled.
  package init(zeros count: Int) {
    self.count = count
    pointer = Self.allocate(count)
    pointer.update(repeating: 0, count: count)
  }

  /// Uninitialised: for buffers that are written before they are read.
  package init(capacity count: Int = 0) {
    self.count = count
    pointer = Self.allocate(count)
  }

  package convenience init(_ values: [Float]) {
    self.init(capacity: values.count)
    for (i, value) in values.enumerated() { pointer[i] = value }
  }

  deinit { free(pointer) }

  private static func allocate(_ count: Int) -> UnsafeMutablePointer<Float> {
    var raw: UnsafeMutableRawPointer?
    let status = posix_memalign(&raw, 64, max(64, count * MemoryLayout<Float>.stride))
    precondition(status == 0, "out of memory: \(count) floats")
    return raw!.bindMemory(to: Float.self, capacity: max(16, count))
  }

  /// Makes room for at least `count` floats; contents are lost when it grows.
  @discardableResult
  package func reserve(_ count: Int) -> UnsafeMutablePointer<Float> {
    if count > self.count {
      free(pointer)
      pointer = Self.allocate(count)
      self.count = count
    }
    return pointer
  }

  package func zero() { pointer.update(repeating: 0, count: count) }

  package var array: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}

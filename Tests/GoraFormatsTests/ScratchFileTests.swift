import GoraCore
import Testing

@testable import GoraFormats

@Suite struct ScratchFileTests {
  @Test func keepsWhatIsWritten() throws {
    let folder = HDF5Folder()
    let counts = [0, 1, 1024, 100_000]
    var buffers: [FloatBuffer] = []
    do {
      let scratch = try ScratchFile(folder: folder.path)
      #expect(folder.names.isEmpty, "the file has no name")
      for count in counts { buffers.append(try scratch.floats(count)) }
    }
    for (number, buffer) in buffers.enumerated() {
      #expect(buffer.count == counts[number] && buffer.array.allSatisfy { $0 == 0 })
      for i in 0..<buffer.count { buffer.pointer[i] = Float(number * 1_000_000 + i) }
    }
    for buffer in buffers { buffer.letGo() }
    for (number, buffer) in buffers.enumerated() {
      #expect(buffer.array == (0..<buffer.count).map { Float(number * 1_000_000 + $0) })
      buffer.zero()
      buffer.letGo()
      #expect(buffer.array.allSatisfy { $0 == 0 })
    }
    // Letting go of the heap's memory changes nothing.
    let heap = FloatBuffer([1, 2, 3])
    heap.letGo()
    #expect(heap.array == [1, 2, 3])
  }

  @Test func refusals() throws {
    let folder = HDF5Folder()
    let missing = hdf5Refusal { () throws(GoraError) in try ScratchFile(folder: "\(folder.path)/nowhere") }
    #expect(missing?.status == .cannotCreate)
    // More than any disk has: an error, not a signal at the first write.
    let full = hdf5Refusal { () throws(GoraError) in
      let scratch = try ScratchFile(folder: folder.path)
      _ = try scratch.floats(8)
      return try scratch.floats(1 << 58)
    }
    #expect(full?.status == .io)
    #expect(full?.problem.contains("cannot reserve") == true && full?.hint != nil)
    #expect(folder.names.isEmpty)
  }
}

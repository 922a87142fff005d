import CHDF5
import CZlib
import CZstd
import Glibc
import GoraCore
import Testing

@testable import GoraFormats

@Suite struct HDF5FilterTests {
  /// Writes one chunk's stored bytes as they are, without the filters, into a dataset that says it has them.
  private func read(
    storing stored: [UInt8], filter: H5Z_filter_t? = 32015, parameters: [UInt32] = [3], mask: UInt32 = 0
  ) -> (error: GoraError?, values: [Float]) {
    let folder = HDF5Folder()
    let path = "\(folder.path)/g.h5"
    var values: [Float] = []
    let error = hdf5Refusal { () throws(GoraError) in
      let writer = try GradientFileWriter(path: path, compression: .none, storesBFloat16: false, attributes: [])
      try writer.finish()
      try HDF5.exclusively { () throws(GoraError) in
        let file = try HDF5FileWriter(creating: path, reported: path)
        try file.write(attribute: "format", "gora-gradients")
        try file.write(attribute: "format_version", 1)
        try file.write(attribute: "complete", 1)
        try file.createGroup("/gradients")
        let place = file.place
        let list = try HDF5Handle("H5Pcreate", at: place) { H5Pcreate(gora_h5_class_dataset_create()) }
        H5Pset_chunk(list.id, 2, [4, 256])
        if let filter { H5Pset_filter(list.id, filter, 0, parameters.count, parameters) }
        let space = try HDF5Handle("H5Screate_simple", at: place) { H5Screate_simple(2, [4, 256], nil) }
        let dataset = try HDF5Handle("H5Dcreate2", at: place) {
          H5Dcreate2(file.id, "/gradients/w", gora_h5_f32le(), space.id, 0, list.id, 0)
        }
        try h5Call("H5Dwrite_chunk", at: place) { H5Dwrite_chunk(dataset.id, 0, mask, [0, 0], stored.count, stored) }
        try dataset.close("H5Dclose", at: place)
        try file.close()
      }
      values = try GradientFileReader(path: path).read("w")
    }
    return (error, values)
  }

  private func frame(_ bytes: [UInt8], contentSize: Bool = true) -> [UInt8] {
    let context = ZSTD_createCCtx()
    defer { ZSTD_freeCCtx(context) }
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, contentSize ? 1 : 0)
    var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
    let count = ZSTD_compress2(context, &output, output.count, bytes, bytes.count)
    return Array(output.prefix(count))
  }

  @Test func honestFrame() {
    let result = read(storing: frame([UInt8](repeating: 0, count: 4096)))
    #expect(result.error == nil)
    #expect(result.values == [Float](repeating: 0, count: 1024))
  }

  @Test func framesOfAnotherSizeAreRefused() {
    let long = read(storing: frame([UInt8](repeating: 0, count: 1 << 26)))
    #expect(long.error?.problem.contains("destination buffer is too small") == true)
    let short = read(storing: frame([UInt8](repeating: 0, count: 4095)))
    #expect(short.error?.problem.contains("decodes to 4095 bytes of 4096") == true)
    let silent = read(storing: frame([UInt8](repeating: 0, count: 4096), contentSize: false))
    #expect(silent.error == nil, "a frame need not state its size")
  }

  @Test func headersThatLieAreRefused() {
    // Frame header: magic, descriptor 0xA0 (4-byte content size, single segment), the size; then one RLE block of the last flag.
    func lying(claimed: UInt32, actual: UInt32) -> [UInt8] {
      let block = actual << 3 | 1 << 1 | 1
      return [0x28, 0xB5, 0x2F, 0xFD, 0xA0]
        + (0..<4).map { UInt8(truncatingIfNeeded: claimed >> (8 * $0)) }
        + (0..<3).map { UInt8(truncatingIfNeeded: block >> (8 * $0)) } + [0x00]
    }
    #expect(read(storing: lying(claimed: 4096, actual: 4096)).error == nil, "the frame is well made")
    #expect(read(storing: lying(claimed: 4096, actual: 100_000)).error?.problem.contains("damaged") == true)
    #expect(read(storing: lying(claimed: 4096, actual: 5)).error?.problem.contains("damaged") == true)
    #expect(read(storing: lying(claimed: .max, actual: 4096)).error?.problem.contains("damaged") == true)
  }

  @Test func deflatedChunksOfAnotherSizeAreRefused() {
    func deflated(_ count: Int) -> [UInt8] {
      var size = compressBound(UInt(count))
      var output = [UInt8](repeating: 0, count: Int(size))
      compress(&output, &size, [UInt8](repeating: 0, count: count), UInt(count))
      return Array(output.prefix(Int(size)))
    }
    #expect(read(storing: deflated(4096), filter: 1).values == [Float](repeating: 0, count: 1024))
    #expect(read(storing: deflated(16), filter: 1).error?.problem.contains("decodes to 16 bytes of 4096") == true)
    // 4 MB out of 4 kB.
    #expect(read(storing: deflated(4_000_000), filter: 1).error?.problem.contains("more than its 4096") == true)
    #expect(read(storing: [1, 2, 3, 4], filter: 1).error?.problem.contains("deflate, after 0 bytes") == true)
    #expect(read(storing: [UInt8](repeating: 0, count: 500), filter: 2).error?.problem.contains("500 bytes of 4096") == true)
    #expect(read(storing: [1], filter: 3).error?.status == .data)
    // szip reads two parameters, coding and pixels a block, wherever they come from.
    let szip = read(storing: [1], filter: 4, parameters: [4, 8]).error
    #expect(szip?.problem.contains("HDF5 filters [4]") == true, "\(String(describing: szip))")
  }

  @Test func otherBytesAreRefused() {
    let whole = frame((0..<4096).map { UInt8(truncatingIfNeeded: $0 &* $0) })
    #expect(read(storing: whole + [0]).error?.status == .data)
    #expect(read(storing: Array(whole.dropLast())).error?.status == .data)
    #expect(read(storing: [1, 2, 3]).error?.problem.contains("damaged: zstd") == true)
  }

  /// A compression that does not pay may be passed over; a mask on another filter is damage.
  @Test func passedOverFilters() {
    let zeros = [UInt8](repeating: 0, count: 4096)
    #expect(read(storing: zeros, mask: 1).values == [Float](repeating: 0, count: 1024))
    #expect(read(storing: zeros, filter: 2, parameters: [4], mask: 1).error?.problem.contains("skips filter shuffle") == true)
    #expect(read(storing: zeros, filter: 3, parameters: [], mask: 1).error?.problem.contains("skips filter fletcher32") == true)
  }
}

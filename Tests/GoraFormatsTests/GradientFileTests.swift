import Glibc
import GoraCore
import Testing

@testable import GoraFormats

@Suite struct GradientFileTests {
  @Test(arguments: [Compression.zstd(3), .zstd(1), .gzip(6), .none], [false, true])
  func roundTrip(_ compression: Compression, storesBFloat16: Bool) throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    try writeSample(path, compression, storesBFloat16: storesBFloat16)
    #expect(folder.names == ["grad.h5"])

    let reader = try GradientFileReader(path: path)
    #expect(reader.names == ["lm_head.weight"] + sampleNames, "layer 2 comes before layer 10")
    #expect(reader.model == "llama π 17")
    #expect(try reader.attribute("creator") == "gora-grad")
    #expect(try reader.attribute("complete") == "1")
    #expect(try reader.attribute("tokenizer") == nil)
    #expect(try reader.steps() == sampleSteps)
    for name in reader.names {
      let shape = try reader.shape(name)
      #expect(shape == (name == "lm_head.weight" ? [600, 700] : [50, 33]))
      let expected = sampleGradient(rows: shape[0], columns: shape[1], name: name).map { value in
        // Rounding written out: to nearest even of the upper 16 bits.
        guard storesBFloat16 else { return value }
        let bits = value.bitPattern
        return Float(bitPattern: (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000)
      }
      let values = try reader.read(name)
      #expect(values == expected)
      #expect(GradientFileReader.isFinite(values))
    }
  }

  @Test(arguments: [false, true]) func rowsAcrossChunks(storesBFloat16: Bool) throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    try writeSample(path, .zstd(3), storesBFloat16: storesBFloat16)
    let reader = try GradientFileReader(path: path)
    let whole = try reader.read("lm_head.weight")
    for range in [0..<1, 373..<376, 0..<600, 599..<600, 10..<10] {
      var rows = [Float](repeating: 9, count: range.count * 700 + 1)
      try reader.readRows("lm_head.weight", range, into: &rows)
      #expect(rows.dropLast().elementsEqual(whole[range.lowerBound * 700..<range.upperBound * 700]))
      #expect(rows.last == 9, "nothing is written past the rows")
    }
  }

  @Test(arguments: [Compression.zstd(3), .gzip(6), .none]) func equalRunsGiveEqualBytes(_ compression: Compression) throws {
    let folder = HDF5Folder()
    try writeSample("\(folder.path)/a", compression)
    sleep(1)  // Object times have a resolution of one second.
    try writeSample("\(folder.path)/b", compression)
    #expect(folder.bytes("a").count > 1000)
    #expect(folder.bytes("a") == folder.bytes("b"))
  }

  @Test func compressionNames() throws {
    #expect(try Compression(parsing: "zstd:19") == .zstd(19))
    #expect(try Compression(parsing: "zstd") == .zstd(3))
    #expect(try Compression(parsing: "gzip") == .gzip(4))
    #expect(try Compression(parsing: "gzip:1") == .gzip(1))
    #expect(try Compression(parsing: "none") == .none)
    for bad in ["", "zstd:", "zstd:0", "zstd:23", "gzip:10", "none:1", "lzma", "zstd:3:3", "zstd:+"] {
      #expect(hdf5Refusal { () throws(GoraError) in try Compression(parsing: bad) }?.status == .usage, "\(bad)")
    }
  }

  /// Changes of importances and windows of them, and a factor of the values.
  @Test(arguments: [false, true]) func trajectoriesAndScale(storesBFloat16: Bool) throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    var steps = sampleSteps
    steps.changeMax = [1, 0.5, 1e-300]
    steps.changeMean = [1, 0.25, 0]
    let track = GradientTrack(steps: [2, 4], importance: [("model.layers.2.w", [1, 2]), ("model.layers.10.w", [1e-300, 3])])
    let writer = try GradientFileWriter(path: path, compression: .zstd(3), storesBFloat16: storesBFloat16, attributes: [])
    let values = sampleGradient(rows: 600, columns: 700, name: "w")
    try writer.write(name: "w", rows: 600, columns: 700, values: values, scale: 0.25, samples: 4, tokens: 9)
    try writer.write(steps: steps)
    try writer.write(track: track)
    try writer.finish()
    let reader = try GradientFileReader(path: path)
    #expect(try reader.steps() == steps)
    #expect(try reader.track() == track)
    // A power of two: exact, and rounding to bf16 commutes with it.
    #expect(try reader.read("w") == values.map { 0.25 * (storesBFloat16 ? Float(BFloat16($0)) : $0) })
    // A file without them.
    try writeSample(path, .zstd(3))
    #expect(try GradientFileReader(path: path).track() == nil)
    #expect(try GradientFileReader(path: path).steps().changeMax.isEmpty)
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity], [0, 4095, 4096, 8190])
  func onlyFiniteGradientsAreStored(_ value: Float, index: Int) throws {
    let folder = HDF5Folder()
    let writer = try GradientFileWriter(
      path: "\(folder.path)/grad.h5", compression: .none, storesBFloat16: false, attributes: [])
    var values = [Float](repeating: .greatestFiniteMagnitude, count: 8191)
    values[index] = value
    let error = hdf5Refusal { () throws(GoraError) in
      try writer.write(name: "w", rows: 1, columns: 8191, values: values, samples: 1, tokens: 1)
    }
    #expect(error?.status == .negative)
    #expect(error?.description.contains("grad.h5:/gradients/w: the gradient is \(value) in row 0, column \(index)") == true)
    #expect(folder.names.isEmpty, "nothing is left, although the writer still lives")
    #expect(hdf5Refusal { () throws(GoraError) in try writer.finish() }?.status == .internal)
    #expect(!GradientFileReader.isFinite(values))
  }

  @Test func valuesBeyondBFloat16AreRefused() throws {
    let folder = HDF5Folder()
    let writer = try GradientFileWriter(path: "\(folder.path)/g", compression: .none, storesBFloat16: true, attributes: [])
    let error = hdf5Refusal { () throws(GoraError) in
      try writer.write(name: "w", rows: 1, columns: 1, values: [.greatestFiniteMagnitude], samples: 1, tokens: 1)
    }
    #expect(error?.status == .negative)
  }

  @Test func withoutFinishNothingIsLeft() throws {
    let folder = HDF5Folder()
    let path = folder.write("grad.h5", [1, 2, 3])
    do {
      let writer = try GradientFileWriter(path: path, compression: .zstd(3), storesBFloat16: false, attributes: [])
      try writer.write(name: "w", rows: 1, columns: 1, values: [1], samples: 1, tokens: 1)
      #expect(folder.names.count == 2)
    }
    #expect(folder.names == ["grad.h5"])
    #expect(folder.bytes("grad.h5") == [1, 2, 3], "the old file is untouched")
  }

  @Test func writerRefusals() {
    let folder = HDF5Folder()
    func status(_ path: String) -> GoraCore.ExitStatus? {
      hdf5Refusal { () throws(GoraError) in
        try GradientFileWriter(path: path, compression: .none, storesBFloat16: false, attributes: [])
      }?.status
    }
    #expect(status("\(folder.path)/no/such/folder/g.h5") == .cannotCreate)
    #expect(status(folder.path) == .cannotCreate)
    #expect(status("/dev/null") == .cannotCreate)
    for name in ["", ".", "a/b", "a\0b"] {
      let error = hdf5Refusal { () throws(GoraError) in
        let writer = try GradientFileWriter(
          path: "\(folder.path)/g.h5", compression: .none, storesBFloat16: false, attributes: [])
        try writer.write(name: name, rows: 1, columns: 1, values: [1], samples: 1, tokens: 1)
      }
      #expect(error?.status == .data, "\(name)")
    }
    #expect(folder.names.isEmpty)
  }

  @Test func readerRefusesWhatIsNoGradientFile() throws {
    let folder = HDF5Folder()
    func error(_ path: String) -> GoraError? {
      hdf5Refusal { () throws(GoraError) in try GradientFileReader(path: path) }
    }
    #expect(error("\(folder.path)/missing.h5")?.status == .noInput)
    #expect(error(folder.path)?.status == .noInput)
    #expect(error("/dev/null")?.status == .noInput)
    #expect(error(folder.write("empty", []))?.status == .data)
    #expect(error(folder.write("text", Array("not HDF5 at all".utf8)))?.problem.contains("not a whole HDF5 file") == true)
    var random = Random(seed: 1, stream: "noise")
    #expect(error(folder.write("noise", (0..<5000).map { _ in UInt8(random.below(256)) }))?.status == .data)

    try writeSample("\(folder.path)/grad.h5", .zstd(3))
    let bytes = folder.bytes("grad.h5")
    #expect(error(folder.write("cut", Array(bytes.dropLast())))?.problem.contains("truncated") == true)
  }

  @Test func readerNamesWhatIsWrong() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    /// A file whose root attributes and contents the test chooses.
    func error(
      format: String = "gora-gradients", version: Int = 1, complete: Int? = 1,
      _ fill: (HDF5FileWriter) throws(GoraError) -> Void = { _ in }
    ) -> GoraError? {
      hdf5Refusal { () throws(GoraError) in
        try HDF5.exclusively { () throws(GoraError) in
          let file = try HDF5FileWriter(creating: path, reported: path)
          try file.write(attribute: "format", format)
          try file.write(attribute: "format_version", version)
          try file.createGroup("/gradients")
          try file.createGroup("/steps")
          try file.createGroup("/steps/importance")
          try fill(file)
          if let complete { try file.write(attribute: "complete", complete) }
          try file.close()
        }
        let reader = try GradientFileReader(path: path)
        for name in reader.names { _ = try reader.read(name) }
        if reader.names.isEmpty { _ = try reader.steps() }
      }
    }
    #expect(error(format: "gora-scores")?.problem.contains("not a gradient file") == true)
    #expect(error(version: 2)?.problem == "format version 2; this gora reads version 1")
    #expect(error(complete: nil)?.problem == "the file was never finished")
    #expect(error(complete: 0)?.problem == "the file was never finished")

    func create(
      _ name: String, _ element: HDF5Element, _ shape: [Int]
    ) -> (HDF5FileWriter) throws(GoraError) -> Void {
      { file throws(GoraError) in
        let dataset = try HDF5DatasetWriter(creating: name, in: file, element: element, shape: shape, compression: .zstd(3))
        try dataset.close()
      }
    }
    let rank = error(create("/gradients/w", .float32, [3]))
    #expect(rank?.description == "\(path):/gradients/w: 1 dimensions; expected 2")
    #expect(rank?.status == .data)
    #expect(error(create("/gradients/w", .float64, [3, 3]))?.problem.contains("element type") == true)
    #expect(error(create("/gradients/w", .uint16, [3, 3]))?.problem.contains("missing") == true)
    // 10¹² elements of which none is stored.
    #expect(
      error(create("/gradients/w", .float32, [1_000_000, 1_000_000]))?.problem.contains("the chunk at [0, 0] is missing") == true)
    #expect(error(create("/gradients/w", .float32, [1 << 40, 1 << 10]))?.problem.contains("missing") == true)
    // 10¹² elements of which one chunk of zeros is stored.
    let sparse = error { file throws(GoraError) in
      let dataset = try HDF5DatasetWriter(
        creating: "/gradients/w", in: file, element: .float32, shape: [1_000_000, 1_000_000], compression: .zstd(3))
      try dataset.write(rows: 0..<1, from: [Float](repeating: 0, count: 1_000_000))
      try dataset.close()
    }
    #expect(sparse?.problem.contains("the chunk at [1, 0] is missing") == true)
    // Few enough elements, but not all chunks are there.
    let holes = error { file throws(GoraError) in
      let dataset = try HDF5DatasetWriter(
        creating: "/gradients/w", in: file, element: .float32, shape: [600, 700], compression: .none)
      try dataset.write(rows: 0..<1, from: [Float](repeating: 1, count: 700))
      try dataset.close()
    }
    #expect(holes?.problem.contains("the chunk at [374, 0] is missing") == true)
    // Values that are uint16, but not said to be bf16.
    let integers = error { file throws(GoraError) in
      let dataset = try HDF5DatasetWriter(
        creating: "/gradients/w", in: file, element: .uint16, shape: [1, 1], compression: .none)
      try dataset.write(rows: 0..<1, from: [UInt16(1)])
      try dataset.close()
    }
    #expect(integers?.problem.contains("expected \"bf16\"") == true)
    #expect(error(create("/steps/loss", .int64, [2]))?.description.contains("/steps/loss: the element type") == true)
    #expect(error()?.description.contains(":/steps/loss: there is no such object") == true)

    let reader = { () throws(GoraError) -> GradientFileReader in
      try writeSample(path, .zstd(3))
      return try GradientFileReader(path: path)
    }
    let absent = hdf5Refusal { () throws(GoraError) in try reader().read("model.layers.99.w") }
    #expect(absent?.description.contains("grad.h5:/gradients/model.layers.99.w: no such gradient") == true)
  }

  /// A damaged key of the chunk index hides the chunk from the search, not from a walk: it must not read as zeros or as stale memory.
  @Test(arguments: [29, 33, 39, 45, 53, 61, 70]) func damagedChunkIndexIsRefused(_ offset: Int) throws {
    let folder = HDF5Folder()
    try writeSample("\(folder.path)/grad.h5", .zstd(3))
    var bytes = folder.bytes("grad.h5")
    let tree = try #require(bytes.indices.dropLast(4).first { Array(bytes[$0..<$0 + 4]) == Array("TREE".utf8) })
    bytes[tree + offset] ^= 0x40
    let path = folder.write("mutant", bytes)
    let error = hdf5Refusal { () throws(GoraError) in
      let reader = try GradientFileReader(path: path)
      for name in reader.names {
        let shape = try reader.shape(name)
        let values = try reader.read(name)
        #expect(values == sampleGradient(rows: shape[0], columns: shape[1], name: name))
      }
    }
    #expect(error == nil || error?.status == .data)
  }

  @Test func longAttributes() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    let text = String(repeating: "{\"tool\": \"gora-grad\"}, ", count: 10_000)
    let writer = try GradientFileWriter(
      path: path, compression: .none, storesBFloat16: false, attributes: [("provenance", text), ("data", "")])
    try writer.finish()
    let reader = try GradientFileReader(path: path)
    #expect(try reader.attribute("provenance") == text)
    #expect(try reader.attribute("data") == "")
    #expect(reader.names.isEmpty)
    #expect(reader.model == nil)
  }

  /// Truncated, flipped and overwritten files are refused or read as they were: never a crash, never other numbers.
  @Test(arguments: [Compression.zstd(3), .gzip(6)]) func damagedFilesAreRefusedOrEqual(_ compression: Compression) throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/grad.h5"
    try writeSample(path, compression)
    let bytes = folder.bytes("grad.h5")
    var expected: [String: [Float]] = [:]
    for name in sampleNames { expected[name] = sampleGradient(rows: 50, columns: 33, name: name) }
    expected["lm_head.weight"] = sampleGradient(rows: 600, columns: 700, name: "lm_head.weight")

    var random = Random(seed: 11, stream: "\(compression)")
    var refused = 0
    for trial in 0..<250 {
      var mutant = bytes
      switch trial % 4 {
      case 0: mutant.removeLast(1 + random.below(mutant.count))
      case 1: mutant[random.below(mutant.count)] ^= 1 << UInt8(random.below(8))
      // Structure lies at the front.
      case 2: mutant[random.below(min(4096, mutant.count))] = UInt8(random.below(256))
      default:
        let start = random.below(mutant.count - 16)
        for i in start..<start + 16 { mutant[i] = UInt8(random.below(256)) }
      }
      let mutantPath = folder.write("mutant", mutant)
      let error = hdf5Refusal { () throws(GoraError) in
        let reader = try GradientFileReader(path: mutantPath)
        #expect(reader.names.count == expected.count)
        for name in reader.names {
          let values = try reader.read(name)
          #expect(values == expected[name], "trial \(trial), \(name)")
        }
        let steps = try reader.steps()
        #expect(steps == sampleSteps, "trial \(trial)")
        #expect(reader.model == "llama π 17")
      }
      if let error {
        refused += 1
        #expect(error.status == .data)
        #expect(error.description.hasPrefix(mutantPath))
      }
    }
    #expect(refused > 125, "a mutation is mostly harmful: \(refused)")
  }
}

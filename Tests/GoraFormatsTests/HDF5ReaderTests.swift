import CHDF5
import Glibc
import GoraCore
import Testing

@testable import GoraFormats

private let stored = [
  "b-tree", "b-tree-filters", "compact", "contiguous", "earliest", "earliest-chunks", "extensible-array",
  "extensible-array-columns", "extensible-array-pages", "fixed-array", "fixed-array-limits", "fixed-array-pages", "gzip-noise",
  "implicit", "latest", "repacked", "single-chunk", "userblock", "v18-attributes", "v18-bytes", "zstd",
]

private let fixtures = #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" } + "/Fixtures"

@Suite struct HDF5ReaderTests {
  /// Whatever h5py and h5repack write is read as they do (Tests/Fixtures/hdf5/make_fixtures.py).
  @Test(arguments: stored) func everyWayOfStoring(_ name: String) throws {
    let reader = try GradientFileReader(path: "\(fixtures)/hdf5/\(name).h5")
    let shape = try reader.shape("w")
    let shapes = [
      "earliest": [3, 2], "latest": [3, 2], "v18-attributes": [3, 2], "fixed-array-pages": [40, 40], "b-tree-filters": [30, 30],
      "extensible-array-columns": [40, 20], "extensible-array-pages": [6000, 1],
    ]
    #expect(shape == shapes[name] ?? [12, 10])
    #expect(try reader.read("w") == (0..<shape[0] * shape[1]).map { Float($0) })
    #expect(reader.model == "model π")
    #expect(reader.names.count == (shape == [3, 2] ? 41 : 1))
    for other in reader.names { #expect(try reader.read(other).count == shape[0] * shape[1]) }
    // Rows across chunks, and only those.
    var rows = [Float](repeating: -1, count: 2 * shape[1] + 1)
    try reader.readRows("w", 1..<3, into: &rows)
    let second: [Float] = (shape[1]..<3 * shape[1]).map { Float($0) }
    #expect(rows.dropLast().elementsEqual(second) && rows.last == -1)
  }

  /// HDF5 2.0 with `libver="latest"` writes chunks in a layout that the reader does not know, and says so.
  @Test func aLaterLayoutIsNamed() {
    let path = "\(fixtures)/hdf5/latest-chunks.h5"
    let error = hdf5Refusal { () throws(GoraError) in try GradientFileReader(path: path).read("w") }
    #expect(error?.description.contains("layout: version 5; expected 3 or 4") == true)
  }

  @Test func attributesInAHeap() throws {
    let reader = try GradientFileReader(path: "\(fixtures)/hdf5/v18-attributes.h5")
    for i in 0..<12 { #expect(try reader.attribute("attribute \(i)") == String(repeating: "x", count: i == 3 ? 70_000 : i)) }
    #expect(try reader.attribute("attribute 12") == nil)
  }

  /// lookup3 of two texts, as its author gives them, with the start value 0.
  @Test func checksum() {
    #expect(hdf5Checksum([]) == 0xDEAD_BEEF)
    #expect(hdf5Checksum(Array("Four score and seven years ago".utf8)[...]) == 0x1777_0551)
  }

  /// 65,536 chunks, which took two minutes when each was searched for among all.
  @Test(.timeLimit(.minutes(1))) func manyChunksAreWalkedOnce() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/g.h5"
    try HDF5.exclusively { () throws(GoraError) in
      let file = try HDF5FileWriter(creating: path, reported: path)
      try file.write(attribute: "format", "gora-gradients")
      try file.write(attribute: "format_version", 1)
      try file.write(attribute: "complete", 1)
      try file.createGroup("/gradients")
      let list = try HDF5Handle("H5Pcreate", at: file.place) { H5Pcreate(gora_h5_class_dataset_create()) }
      H5Pset_chunk(list.id, 2, [1, 1])
      H5Pset_alloc_time(list.id, H5D_ALLOC_TIME_EARLY)
      let space = try HDF5Handle("H5Screate_simple", at: file.place) { H5Screate_simple(2, [256, 256], nil) }
      let dataset = try HDF5Handle("H5Dcreate2", at: file.place) {
        H5Dcreate2(file.id, "/gradients/w", gora_h5_f32le(), space.id, 0, list.id, 0)
      }
      try dataset.close("H5Dclose", at: file.place)
      try file.close()
    }
    #expect(try GradientFileReader(path: path).read("w") == [Float](repeating: 0, count: 65_536))
  }

  /// A small file may not claim arrays of steps that fill the memory.
  @Test func stepsHaveALimit() throws {
    let folder = HDF5Folder()
    let path = "\(folder.path)/g.h5"
    let writer = try GradientFileWriter(path: path, compression: .zstd(3), storesBFloat16: false, attributes: [])
    let count = 1 << 20 + 1
    try writer.write(
      steps: GradientSteps(
        loss: [Double](repeating: 1, count: count), tokens: [Int](repeating: 1, count: count),
        rows: [Int](repeating: 1, count: count)))
    try writer.finish()
    let error = hdf5Refusal { () throws(GoraError) in try GradientFileReader(path: path).steps() }
    #expect(error?.description.contains(":/steps/loss: 1048577 steps; gora reads at most 1048576") == true)
  }

  /// Files with any bytes changed, checksums made right again, are refused or read; they never end the process or take long.
  /// `GORA_MUTATIONS` sets how many are made of each (they are seeded: a larger number goes on where a smaller one ends).
  @Test(arguments: stored + ["gora-zstd", "gora-gzip"]) func craftedFiles(_ name: String) throws {
    let trials = getenv("GORA_MUTATIONS").flatMap { Int(String(cString: $0)) } ?? 60
    var bytes: [UInt8]
    if name.hasPrefix("gora") {
      let folder = HDF5Folder()
      let path = "\(folder.path)/g.h5"
      let writer = try GradientFileWriter(
        path: path, compression: name == "gora-zstd" ? .zstd(3) : .gzip(4), storesBFloat16: name == "gora-zstd",
        attributes: [("creator", "gora-grad"), ("model", "m"), ("provenance", String(repeating: "x", count: 70_000))])
      for name in sampleNames {
        try writer.write(
          name: name, rows: 7, columns: 5, values: sampleGradient(rows: 7, columns: 5, name: name), samples: 3, tokens: 9)
      }
      try writer.write(steps: sampleSteps)
      try writer.finish()
      bytes = folder.bytes("g.h5")
    } else {
      bytes = try readWholeFile("\(fixtures)/hdf5/\(name).h5")
    }
    let structures = ChecksummedStructure.all(in: bytes)
    var random = Random(seed: 3, stream: name)
    var refused = 0
    for _ in 0..<trials {
      var mutant = bytes
      for _ in 0...random.below(3) {
        // Half of the changes fall on structures, which are small beside the values.
        var at = random.below(mutant.count)
        if !structures.isEmpty, random.below(2) == 0 {
          let structure = structures[random.below(structures.count)]
          at = structure.start + random.below(structure.count)
        }
        switch random.below(4) {
        case 0: mutant[at] = UInt8(random.below(256))
        case 1: mutant[at] ^= 1 << UInt8(random.below(8))
        case 2: for i in at..<min(at + 8, mutant.count) { mutant[i] = [0, 0xFF, 0x7F, 0x80][random.below(4)] }
        default:
          let from = random.below(mutant.count - 8)
          for i in 0..<min(8, mutant.count - at) { mutant[at + i] = bytes[from + i] }
        }
      }
      for structure in structures { structure.repair(&mutant) }
      let error = hdf5Refusal { () throws(GoraError) in
        let reader = try GradientFileReader(bytes: mutant, path: "mutant")
        for name in reader.names where try reader.shape(name).reduce(1, *) < 1 << 22 { _ = try reader.read(name) }
        _ = try reader.attribute("creator")
        _ = try reader.attribute("provenance")
        if reader.names.count != 1 && reader.names.count != 41 { _ = try reader.steps() }
      }
      if let error {
        refused += 1
        #expect(error.status == .data)
      }
    }
    #expect(refused > trials / 20, "some changes matter: \(refused) of \(trials)")
  }
}

/// A structure of an HDF5 file that ends in a checksum of itself.
private struct ChecksummedStructure {
  let start: Int
  let count: Int

  static func all(in bytes: [UInt8]) -> [ChecksummedStructure] {
    let signatures = [
      "OHDR", "OCHK", "FRHP", "FHIB", "BTHD", "BTIN", "BTLF", "FAHD", "FADB", "EAHD", "EAIB", "EASB", "EADB", "\u{89}HDF",
    ]
    .map { $0.unicodeScalars.map { UInt8($0.value) } }
    return bytes.indices.dropLast(16).compactMap { start in
      guard signatures.contains(Array(bytes[start..<start + 4])) else { return nil }
      let most = min(2048, bytes.count - start - 4)
      let end = (start + 8..<start + max(8, most)).first { sum(bytes, $0) == hdf5Checksum(bytes[start..<$0]) }
      return end.map { ChecksummedStructure(start: start, count: $0 - start) }
    }
  }

  private static func sum(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[at + $1]) << UInt32(8 * $1) }
  }

  func repair(_ bytes: inout [UInt8]) {
    let sum = hdf5Checksum(bytes[start..<start + count])
    for i in 0..<4 { bytes[start + count + i] = UInt8(truncatingIfNeeded: sum >> UInt32(8 * i)) }
  }
}

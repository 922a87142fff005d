import Foundation
import GoraCore
import Testing

@testable import GoraFormats

private func unhex(_ text: String) -> [UInt8] {
  var bytes: [UInt8] = []
  var rest = text[...]
  while let byte = UInt8(rest.prefix(2), radix: 16) {
    bytes.append(byte)
    rest = rest.dropFirst(2)
  }
  return bytes
}

/// `{"text": "café"}` and a newline, compressed by gzip 1.12 and zstd 1.5.4.
private let plain = "{\"text\": \"café\"}\n"
private let gzipped = unhex("1f8b0800000000000003ab562a49ad2851b252504a4e4c3bbc52a9960b002a7e68df12000000")
private let zstandard = unhex("28b52ffd24129100007b2274657874223a2022636166c3a9227d0a9c6d97d6")

@Suite struct InputFileTests {
  @Test func readsPlainAndCompressed() throws {
    let scratch = ScratchFolder()
    for (name, bytes) in [("a", Array(plain.utf8)), ("a.gz", gzipped), ("b", gzipped), ("a.zst", zstandard), ("c", zstandard)] {
      #expect(try InputText.read(scratch.file(name, bytes)) == Array(plain.utf8), "\(name)")
    }
    #expect(try InputText.read(scratch.file("two.gz", gzipped + gzipped)) == Array((plain + plain).utf8))
    #expect(try InputText.read(scratch.file("two.zst", zstandard + zstandard)) == Array((plain + plain).utf8))
    #expect(try InputText.read(scratch.file("empty", [])) == [])
    // Padding, as tapes and archives leave it, and the empty member that ends bgzip's files.
    let zeros = [UInt8](repeating: 0, count: 300_000)
    #expect(try InputText.read(scratch.file("padded.gz", gzipped + zeros)) == Array(plain.utf8))
    let empty = unhex("1f8b08000000000000ff03000000000000000000")
    #expect(try InputText.read(scratch.file("bgzip.gz", gzipped + empty)) == Array(plain.utf8))
    let skippable: [UInt8] = [0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3]
    #expect(try InputText.read(scratch.file("frames.zst", zstandard + skippable + zstandard)) == Array((plain + plain).utf8))
  }

  @Test func refusesEveryTruncationAndOtherDamage() throws {
    let scratch = ScratchFolder()
    for (name, bytes) in [("a.gz", gzipped), ("a.zst", zstandard)] {
      for count in 0..<bytes.count {
        let path = try scratch.file(name, Array(bytes[..<count]))
        let error = errorThrown { try InputText.read(path) }
        #expect(error.status == .data && error.description.contains(path), "\(name) \(count)")
      }
      var wrong = bytes
      wrong[bytes.count - 6] ^= 4
      #expect(errorThrown { try InputText.read(scratch.file(name, wrong)) }.status == .data, "\(name)")
      #expect(errorThrown { try InputText.read(scratch.file(name, bytes + [1, 2, 3])) }.status == .data, "\(name)")
    }
  }

  @Test func stopsAtTheLimit() throws {
    let scratch = ScratchFolder()
    for (name, bytes) in [("a", Array(plain.utf8)), ("a.gz", gzipped), ("a.zst", zstandard)] {
      let path = try scratch.file(name, bytes)
      #expect(errorThrown { try InputText.read(path, limit: 17) }.status == .data, "\(name)")
    }
    #expect(try InputText.read(scratch.file("a", plain), limit: plain.utf8.count).count == plain.utf8.count)
  }

  /// A frame header that asks for a window of 2^28 bytes.
  @Test func namesTheWindowThatIsTooLarge() throws {
    let scratch = ScratchFolder()
    let error = errorThrown { try InputText.read(try scratch.file("a.zst", unhex("28b52ffd0490") + zstandard[6...])) }
    #expect(error.status == .data && error.problem == "a frame's window is larger than 128 MiB, the limit")
    #expect(errorThrown { try InputText.read(try scratch.file("a.gz", gzipped + [0, 0, 1])) }.status == .data)
  }

  /// Whatever its size, an input is read in pieces: nothing of it has to fit.
  @Test func piecesAreSmall() throws {
    let scratch = ScratchFolder()
    let bytes = [UInt8](repeating: 0x20, count: 3_000_000)
    let input = try InputText(scratch.file("spaces", bytes))
    var count = 0
    while let piece = try input.next() {
      #expect(!piece.isEmpty && piece.count <= 1 << 18)
      count += piece.count
    }
    #expect(count == bytes.count)
  }

  @Test func saysWhatCannotBeRead() throws {
    let scratch = ScratchFolder()
    let missing = "\(scratch.path)/none"
    for error in [
      errorThrown { try InputText.read(missing) }, errorThrown { try readWholeFile(missing) },
      errorThrown { try MappedFile(path: missing) },
    ] {
      #expect(error.status == .noInput && error.location == .file(missing))
      #expect(error.problem == "no such file or folder")
    }
    for error in [
      errorThrown { try InputText.read(scratch.path) }, errorThrown { try readWholeFile(scratch.path) },
      errorThrown { try MappedFile(path: scratch.path) },
    ] {
      #expect(error.status == .noInput)
    }
  }

  @Test func mapsAndReads() throws {
    let scratch = ScratchFolder()
    let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
    let path = try scratch.file("a", bytes)
    let mapped = try MappedFile(path: path)
    #expect(withExtendedLifetime(mapped) { [UInt8](mapped.bytes) } == bytes)
    #expect(try readWholeFile(path) == bytes)
    let empty = try scratch.file("b", [])
    #expect(try MappedFile(path: empty).bytes.count == 0)
    #expect(try readWholeFile(empty) == [])
    // A file whose size the system does not tell.
    #expect(try readWholeFile("/proc/self/stat").isEmpty == false)
  }

  /// FIPS 180-4 examples.
  @Test func digests() throws {
    let scratch = ScratchFolder()
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(Array("abc".utf8).withUnsafeBytes { SHA256.hex($0) } == abc)
    #expect(try SHA256.hex(file: scratch.file("a", "abc")) == abc)
    let pieces = SHA256()
    pieces.update("a")
    pieces.update("")
    pieces.update("bc")
    #expect(pieces.finish() == abc)
    #expect(
      try SHA256.hex(file: scratch.file("b", "")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  }
}

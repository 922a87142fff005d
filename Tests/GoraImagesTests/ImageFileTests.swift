import GoraCore
import GoraImages
import Testing

/// Files of all kinds beside Pillow's pixels (Fixtures/images/make_fixtures.py), byte by byte, and files that must be refused.
@Suite struct ImageFileTests {
  @Test func pixelsArePillows() throws {
    for (name, field) in try ImageFixtures.golden {
      let image = try ImageFile.read(ImageFixtures.path(name))
      #expect(ImageFixtures.summary(image) == (try ImageFixtures.summary(field)), "\(name)")
    }
  }

  @Test func theNameSaysNothing() throws {
    let image = try ImageFile.decode(ImageFixtures.bytes("rgb.png"), path: "x.jpg")
    #expect(image.width == 37 && image.height == 23)
  }

  /// Cut at any length a file is refused in one line that names it; no cut crashes.
  @Test(arguments: ["texture.jpg", "progressive.jpg", "rgb.png", "interlaced.png", "palette.png", "grey.pgm", "rgb-16-bit.ppm"])
  func cutFilesAreRefused(_ name: String) throws {
    let bytes = try ImageFixtures.bytes(name)
    for count in stride(from: 0, to: bytes.count - 2, by: max(1, bytes.count / 61)) {
      let error = errorThrown { try ImageFile.decode(Array(bytes.prefix(count)), path: name) }
      #expect(error.status == .data && "\(error)".contains(name), "\(count) of \(bytes.count) bytes: \(error)")
    }
  }

  /// Changed anywhere a file gives an image or an error, and never a crash.
  @Test(arguments: ["texture.jpg", "cmyk.jpg", "progressive.jpg", "rgb.png", "interlaced.png", "palette.png", "sign.ppm"])
  func changedFilesDoNotCrash(_ name: String) throws {
    let bytes = try ImageFixtures.bytes(name)
    var refused = 0
    for at in stride(from: 2, to: bytes.count, by: max(1, bytes.count / 199)) {
      var changed = bytes
      changed[at] ^= 0x55
      do { _ = try ImageFile.decode(changed, path: name) } catch {
        #expect(error.status == .data)
        refused += 1
      }
    }
    #expect(refused > 0)
  }

  @Test func otherFilesAreRefused() throws {
    let cases: [(bytes: [UInt8], problem: String)] = [
      ([], "the file is empty"), (Array("GIF89a".utf8), "not an image of a known kind"),
      (Array("P3 1 1 255 0 0 0".utf8), "portable pixmaps of kind P3 are not supported; expected P5 or P6"),
      (Array("P5 1 1 65535 \0\0".utf8), "grey of 16 bits is not supported; expected at most 8 bits"),
      (Array("P6 0 1 255 ".utf8), "expected the image's width, a number from 1 to"),
      (Array("P6 2 2 255 abc".utf8), "the file ends before the image does: 3 bytes of pixels, expected 12"),
      (Array("P6 100000 100000 255 abc".utf8), "the image is 100000 x 100000 pixels; expected 1 to 178956970"),
    ]
    for (bytes, problem) in cases {
      let error = errorThrown { try ImageFile.decode(bytes, path: "x") }
      #expect(error.status == .data && "\(error)".contains(problem), "\(error)")
    }
  }

  /// Headers that claim more than the limit are refused before memory for them is taken.
  @Test func giganticImagesAreRefused() throws {
    var jpeg = try ImageFixtures.bytes("texture.jpg")
    let frame = try #require((0..<jpeg.count - 1).first { jpeg[$0] == 0xFF && jpeg[$0 + 1] == 0xC0 })
    jpeg.replaceSubrange(frame + 5..<frame + 9, with: [0xFF, 0xDC, 0xFF, 0xDC])
    #expect("\(errorThrown { try ImageFile.decode(jpeg, path: "x.jpg") })".contains("65500 x 65500 pixels; expected 1 to"))

    let header: [UInt8] = [0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 8, 2, 0, 0, 0]
    let png = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + Self.chunk("IHDR", header) + Self.chunk("IDAT", [0])
    #expect(
      "\(errorThrown { try ImageFile.decode(png, path: "x.png") })".contains("2147483647 x 2147483647 pixels; expected 1 to"))
  }

  @Test func palettesWithoutTheColourAreRefused() throws {
    let header: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0]
    // One row: filter 0, index 1, as a stored block of zlib.
    let data: [UInt8] = [0x78, 0x01, 0x01, 0x02, 0x00, 0xFD, 0xFF, 0x00, 0x01, 0x00, 0x03, 0x00, 0x02]
    let png =
      [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + Self.chunk("IHDR", header) + Self.chunk("PLTE", [1, 2, 3])
      + Self.chunk("IDAT", data) + Self.chunk("IEND", [])
    #expect("\(errorThrown { try ImageFile.decode(png, path: "x.png") })".contains("names a colour that the palette lacks"))
  }

  private static func chunk(_ kind: String, _ data: [UInt8]) -> [UInt8] {
    func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
    let body = Array(kind.utf8) + data
    var remainder: UInt32 = 0xFFFF_FFFF
    for byte in body {
      remainder ^= UInt32(byte)
      for _ in 0..<8 { remainder = remainder >> 1 ^ (remainder & 1 == 1 ? 0xEDB8_8320 : 0) }
    }
    return word(UInt32(data.count)) + body + word(~remainder)
  }

  @Test func orientationsOfOddMetadataAreUpright() {
    let upright: [[UInt8]] = [
      [], Array("MM\0*".utf8), [0x4D, 0x4D, 0, 0x2A, 0xFF, 0xFF, 0xFF, 0xFF],
      // One entry that says 9, which is no orientation; one of another type; one that the bytes end in.
      [0x4D, 0x4D, 0, 0x2A, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 9, 0, 0],
      [0x4D, 0x4D, 0, 0x2A, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 7, 0, 0, 0, 1, 0, 6, 0, 0],
      [0x4D, 0x4D, 0, 0x2A, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3],
    ]
    for bytes in upright { #expect(ImageOrientation(exif: bytes) == .upright) }
    let little: [UInt8] = [0x49, 0x49, 0x2A, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]
    #expect(ImageOrientation(exif: little) == .turnedLeft)
  }
}

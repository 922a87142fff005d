import GoraCore

/// Binary PPM ("P6") and PGM ("P5") as Pillow reads them: samples of 8 bits, or colours of 16, scaled to 0…255.
enum PortablePixmap {
  /// Whether the file begins as one, of a kind that is read or not.
  static func isOne(_ bytes: [UInt8]) -> Bool {
    bytes.count >= 3 && bytes[0] == UInt8(ascii: "P") && (UInt8(ascii: "1")...UInt8(ascii: "7")).contains(bytes[1])
      && (isSpace(bytes[2]) || bytes[2] == UInt8(ascii: "#"))
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  /// - Throws: `.data` naming the file where it is of another kind, malformed, too large or too short.
  static func decode(_ bytes: [UInt8], path: String, mostPixels: Int) throws(GoraError) -> RGBImage {
    let channels: Int
    switch bytes[1] {
    case UInt8(ascii: "5"): channels = 1
    case UInt8(ascii: "6"): channels = 3
    default:
      let name = String(decoding: bytes.prefix(2), as: UTF8.self)
      throw GoraError(.data, at: .file(path), "portable pixmaps of kind \(name) are not supported; expected P5 or P6")
    }
    var position = 2
    let width = try number(bytes, &position, path, "width", mostPixels)
    let height = try number(bytes, &position, path, "height", mostPixels)
    let most = try number(bytes, &position, path, "largest value", 65_535)
    guard position < bytes.count, isSpace(bytes[position]) else {
      throw GoraError(.data, at: .bytes(path, offset: position, part: "header"), "expected one blank before the pixels")
    }
    position += 1
    guard width <= mostPixels / height else {
      throw GoraError(
        .data, at: .file(path), "the image is \(width) x \(height) pixels; expected 1 to \(mostPixels) pixels in all")
    }
    let isWide = most > 255
    if isWide && channels == 1 {
      throw GoraError(.data, at: .file(path), "grey of 16 bits is not supported; expected at most 8 bits")
    }
    let samples = width * height * channels
    let expected = samples * (isWide ? 2 : 1)
    guard bytes.count - position >= expected else {
      throw GoraError(
        .data, at: .file(path),
        "the file ends before the image does: \(bytes.count - position) bytes of pixels, expected \(expected)")
    }
    let values = (0...most).map { UInt8((Double($0) / Double(most) * 255).rounded(.toNearestOrEven)) }
    let result = [UInt8](unsafeUninitializedCapacity: width * height * 3) { out, count in
      for i in 0..<samples {
        let sample = isWide ? Int(bytes[position + 2 * i]) << 8 | Int(bytes[position + 2 * i + 1]) : Int(bytes[position + i])
        let value = values[min(sample, most)]
        if channels == 3 {
          out.initializeElement(at: i, to: value)
        } else {
          for channel in 0..<3 { out.initializeElement(at: 3 * i + channel, to: value) }
        }
      }
      count = width * height * 3
    }
    return RGBImage(width: width, height: height, pixels: result)
  }

  /// The next number of the header, past blanks and comments, which reach from "#" to the line's end.
  private static func number(
    _ bytes: [UInt8], _ position: inout Int, _ path: String, _ name: String, _ limit: Int
  ) throws(GoraError) -> Int {
    while position < bytes.count {
      if bytes[position] == UInt8(ascii: "#") {
        while position < bytes.count, bytes[position] != 0x0A, bytes[position] != 0x0D { position += 1 }
      } else if isSpace(bytes[position]) {
        position += 1
      } else {
        break
      }
    }
    let start = position
    var value = 0
    while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]), value <= limit {
      value = value * 10 + Int(bytes[position] - UInt8(ascii: "0"))
      position += 1
    }
    guard position > start, (1...limit).contains(value) else {
      throw GoraError(
        .data, at: .bytes(path, offset: start, part: "header"), "expected the image's \(name), a number from 1 to \(limit)")
    }
    return value
  }
}

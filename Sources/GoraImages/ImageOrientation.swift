/// How a camera was held, by EXIF's tag 0x0112: what has to be done to the stored pixels (`ImageOps.exif_transpose` of Pillow).
package enum ImageOrientation: Int, Sendable, CaseIterable {
  case upright = 1
  case mirrored = 2
  case turnedHalf = 3
  case flipped = 4
  case transposed = 5
  case turnedLeft = 6
  case transversed = 7
  case turnedRight = 8

  /// Reads a TIFF structure; upright where it has no orientation, or is not one.
  package init(exif bytes: [UInt8]) {
    self = Self.value(bytes).flatMap(ImageOrientation.init(rawValue:)) ?? .upright
  }

  private static let tag = 0x0112
  /// TIFF's name of 16-bit numbers.
  private static let short = 3

  private static func value(_ bytes: [UInt8]) -> Int? {
    guard bytes.count >= 8 else { return nil }
    let isLittle = bytes.starts(with: [0x49, 0x49, 0x2A, 0x00])
    guard isLittle || bytes.starts(with: [0x4D, 0x4D, 0x00, 0x2A]) else { return nil }
    func number(_ offset: Int, _ count: Int) -> Int? {
      guard offset >= 0, offset + count <= bytes.count else { return nil }
      let digits = isLittle ? Array(bytes[offset..<offset + count].reversed()) : Array(bytes[offset..<offset + count])
      return digits.reduce(0) { $0 << 8 | Int($1) }
    }
    guard let directory = number(4, 4), let entries = number(directory, 2) else { return nil }
    for entry in 0..<entries {
      let start = directory + 2 + 12 * entry
      guard let name = number(start, 2), let type = number(start + 2, 2), let count = number(start + 4, 4) else { return nil }
      if name == tag { return type == short && count >= 1 ? number(start + 8, 2) : nil }
    }
    return nil
  }

  /// Whether width and height change places.
  private var swaps: Bool { rawValue >= ImageOrientation.transposed.rawValue }

  /// Where a pixel of the turned image lies in the stored one of a width and a height.
  fileprivate func origin(_ x: Int, _ y: Int, _ width: Int, _ height: Int) -> (x: Int, y: Int) {
    switch self {
    case .upright: (x, y)
    case .mirrored: (width - 1 - x, y)
    case .turnedHalf: (width - 1 - x, height - 1 - y)
    case .flipped: (x, height - 1 - y)
    case .transposed: (y, x)
    case .turnedLeft: (y, height - 1 - x)
    case .transversed: (width - 1 - y, height - 1 - x)
    case .turnedRight: (width - 1 - y, x)
    }
  }

  fileprivate func size(_ width: Int, _ height: Int) -> (width: Int, height: Int) { swaps ? (height, width) : (width, height) }
}

extension RGBImage {
  /// The image as it was seen.
  package func turned(_ orientation: ImageOrientation) -> RGBImage {
    if orientation == .upright { return self }
    let size = orientation.size(width, height)
    let result = [UInt8](unsafeUninitializedCapacity: pixels.count) { out, count in
      for y in 0..<size.height {
        for x in 0..<size.width {
          let origin = orientation.origin(x, y, width, height)
          let (from, to) = ((origin.y * width + origin.x) * 3, (y * size.width + x) * 3)
          for channel in 0..<3 { out.initializeElement(at: to + channel, to: pixels[from + channel]) }
        }
      }
      count = pixels.count
    }
    return RGBImage(width: size.width, height: size.height, pixels: result)
  }
}

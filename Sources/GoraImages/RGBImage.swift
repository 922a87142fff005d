import GoraCore

/// Pixels in 8 bits, red, green and blue side by side, row by row.
package struct RGBImage: Sendable, Equatable {
  package let width: Int
  package let height: Int
  /// [height, width, 3]
  package let pixels: [UInt8]

  package init(width: Int, height: Int, pixels: [UInt8]) {
    precondition(pixels.count == width * height * 3, "an image's pixels are as many as its size says")
    self.width = width
    self.height = height
    self.pixels = pixels
  }

  /// The most pixels that an image may have, before and after it is resized: where Pillow takes a file for a decompression bomb.
  package static let mostPixels = 178_956_970

  /// Part of the image, black where it lies outside.
  package func cropped(left: Int, top: Int, width: Int, height: Int) -> RGBImage {
    var result = [UInt8](repeating: 0, count: width * height * 3)
    let columns = max(0, left)..<max(max(0, left), min(self.width, left + width))
    for y in 0..<height where (0..<self.height).contains(top + y) && !columns.isEmpty {
      let from = ((top + y) * self.width + columns.lowerBound) * 3
      let to = (y * width + columns.lowerBound - left) * 3
      result.replaceSubrange(to..<to + columns.count * 3, with: pixels[from..<from + columns.count * 3])
    }
    return RGBImage(width: width, height: height, pixels: result)
  }
}

import CGoraImages
import GoraCore
import GoraFormats

/// Image files, told by what they begin with, not by their names: JPEG, PNG, binary PPM and PGM.
package enum ImageFile {
  /// Most bytes of a file: more than the pixels of the largest image in 16 bits take.
  private static let mostBytes = FileLimit.companion

  /// The pixels of a file as Pillow's `convert("RGB")` gives them: alpha is dropped, inks become colours, colour profiles are not
  /// applied. An image with an EXIF orientation is turned as that says (Pillow's `ImageOps.exif_transpose`).
  /// - Throws: `.noInput` where the file cannot be read; `.data` naming it where it is none of these kinds, damaged or too large.
  package static func read(_ path: String) throws(GoraError) -> RGBImage {
    try decode(readWholeFile(path, limit: mostBytes), path: path)
  }

  /// - Parameters:
  ///   - path: for messages.
  ///   - mostPixels: an image of more is refused.
  package static func decode(
    _ bytes: [UInt8], path: String, mostPixels: Int = RGBImage.mostPixels
  ) throws(GoraError) -> RGBImage {
    if bytes.starts(with: [0xFF, 0xD8, 0xFF]) { return try decode(bytes, path, "JPEG", mostPixels, gora_jpeg_decode) }
    if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]) {
      return try decode(bytes, path, "PNG", mostPixels, gora_png_decode)
    }
    if PortablePixmap.isOne(bytes) { return try PortablePixmap.decode(bytes, path: path, mostPixels: mostPixels) }
    throw GitLFS.refusal(of: bytes, path)
      ?? GoraError(
        .data, at: .file(path), bytes.isEmpty ? "the file is empty" : "not an image of a known kind",
        hint: "expected JPEG, PNG, or binary PPM or PGM")
  }

  private typealias Decoder = (UnsafePointer<UInt8>?, Int, UInt64, UnsafeMutablePointer<gora_image>?) -> Bool

  private static func decode(
    _ bytes: [UInt8], _ path: String, _ kind: String, _ mostPixels: Int, _ decoder: Decoder
  ) throws(GoraError) -> RGBImage {
    var image = gora_image()
    let isDecoded = bytes.withUnsafeBufferPointer {
      decoder($0.baseAddress, $0.count, UInt64(mostPixels), &image)
    }
    defer { gora_image_free(&image) }
    guard isDecoded else {
      let reason = withUnsafeBytes(of: &image.failure) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      throw GoraError(.data, at: .file(path), "cannot decode this \(kind) file: \(reason.escapingControls)")
    }
    let (width, height) = (Int(image.width), Int(image.height))
    let pixels = Array(UnsafeBufferPointer(start: image.pixels, count: width * height * 3))
    let decoded = RGBImage(width: width, height: height, pixels: pixels)
    guard let exif = image.exif else { return decoded }
    return decoded.turned(ImageOrientation(exif: Array(UnsafeBufferPointer(start: exif, count: image.exif_size))))
  }
}

import Foundation
import GoraCore
import GoraFormats
import GoraImages
import Testing

/// Images of Tests/Fixtures/images and what Pillow and Transformers make of them.
enum ImageFixtures {
  static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/images").path()

  static func path(_ name: String) -> String { "\(folder)/\(name)" }
  static func bytes(_ name: String) throws -> [UInt8] { try readWholeFile(path(name)) }

  /// What golden.json says of each file.
  static var golden: [(name: String, field: JSONField)] {
    get throws {
      try JSONDocument(path: path("golden.json"), text: bytes("golden.json")).root.members.map { ($0.key, $0.field) }
    }
  }

  static func digest(_ image: RGBImage) -> String { digest(image.pixels) }

  static func digest(_ bytes: [UInt8]) -> String {
    let digest = SHA256()
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.finish()
  }

  /// Size and pixels, for comparison with those of golden.json.
  static func summary(_ image: RGBImage) -> String { "\(image.width) x \(image.height) \(digest(image))" }

  static func summary(_ field: JSONField) throws -> String {
    "\(try field.required("width").int) x \(try field.required("height").int) \(try field.required("pixels").string)"
  }
}

/// The error that `body` throws; a test fails where it throws none.
func errorThrown<T>(_ sourceLocation: SourceLocation = #_sourceLocation, by body: () throws -> T) -> GoraError {
  let error = #expect(throws: GoraError.self, sourceLocation: sourceLocation) { _ = try body() }
  return error ?? GoraError(.success, "nothing was thrown")
}

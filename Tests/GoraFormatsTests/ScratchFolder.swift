import Foundation
import GoraCore
import Testing

/// A folder of its own for one test, removed with the object.
final class ScratchFolder {
  let path: String

  init() {
    path = FileManager.default.temporaryDirectory.appending(path: "gora-formats-\(UUID().uuidString)").path()
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file and returns its path.
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(filePath: file))
    return file
  }

  func file(_ name: String, _ text: String) throws -> String { try file(name, Array(text.utf8)) }

  func bytes(_ name: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(filePath: "\(path)/\(name)"))) }

  /// Names in the folder, hidden ones too, sorted.
  var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}

/// Tests/Fixtures of the project.
let fixturesFolder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .appending(path: "Fixtures").path()

/// The error that `body` throws; a test fails where it throws none.
func errorThrown<T>(_ sourceLocation: SourceLocation = #_sourceLocation, by body: () throws -> T) -> GoraError {
  let error = #expect(throws: GoraError.self, sourceLocation: sourceLocation) { _ = try body() }
  return error ?? GoraError(.success, "nothing was thrown")
}

/// Numbers for tests from one 64-bit seed (SplitMix64).
struct TestNumbers: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}

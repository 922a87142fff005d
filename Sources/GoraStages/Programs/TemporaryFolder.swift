import Glibc
import GoraCore

/// A new folder for a program's files, gone with all that is in it.
final class TemporaryFolder {
  let path: String

  /// Where such folders are made.
  static var parent: String { getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp" }

  /// - Throws: status 73 where it cannot be made.
  init() throws(GoraError) {
    var name = Array("\(Self.parent)/gora-program.XXXXXX".utf8CString)
    guard mkdtemp(&name) != nil else {
      throw GoraError(.cannotCreate, at: .file(Self.parent), "cannot create: \(String(cString: strerror(errno)))")
    }
    path = String(decoding: name.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit { Self.remove(Array(path.utf8)) }

  /// Links are not followed. A folder that the program has locked is opened again first.
  private static func remove(_ path: [UInt8]) {
    let name = path.map(CChar.init(bitPattern:)) + [0]
    if unlink(name) == 0 { return }
    var status = stat()
    guard lstat(name, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return }
    chmod(name, 0o700)
    var inside: [[UInt8]] = []
    if let listing = opendir(name) {
      while let entry = readdir(listing) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name != Array(".".utf8), name != Array("..".utf8) { inside.append(path + [UInt8(ascii: "/")] + name) }
      }
      closedir(listing)
    }
    for path in inside { remove(path) }
    rmdir(name)
  }
}

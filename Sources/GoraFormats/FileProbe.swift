import Glibc
import GoraCore

/// What lies under a path, looked at without reading it.
package enum FileProbe: Sendable, Equatable {
  case folder, regular
  /// Pipes, devices and the like.
  case other

  /// - Parameter followsLinks: whether a symbolic link is what it leads to; otherwise it is `other`.
  /// - Throws: `.noInput` where there is nothing, or it may not be looked at.
  package init(_ path: String, followsLinks: Bool = true) throws(GoraError) {
    var status = stat()
    guard (followsLinks ? stat(path, &status) : lstat(path, &status)) == 0 else { throw .unreadable(path, errno) }
    switch status.st_mode & S_IFMT {
    case S_IFDIR: self = .folder
    case S_IFREG: self = .regular
    default: self = .other
    }
  }

  /// Whether both paths lead to one file, by device and inode; false where either is missing.
  package static func isSame(_ a: String, _ b: String) -> Bool {
    var (x, y) = (stat(), stat())
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino
  }

  /// The names in a folder in natural order, without those that begin with a dot.
  /// - Throws: `.noInput` where it cannot be read.
  package static func names(in folder: String) throws(GoraError) -> [String] {
    guard let stream = opendir(folder) else { throw .unreadable(folder, errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: Int(entry.pointee.d_reclen)) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted(by: naturallyPrecedes)
  }

  /// The first bytes of a file, and its size.
  /// - Throws: `.noInput` where it cannot be read.
  package static func beginning(of path: String, count: Int) throws(GoraError) -> (bytes: [UInt8], size: Int) {
    let file = try InputFile(path)
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let got = bytes.withUnsafeMutableBytes { read(file.descriptor, $0.baseAddress.map { $0 + filled }, count - filled) }
      if got < 0 {
        if errno == EINTR { continue }
        throw .unreadable(path, errno)
      }
      if got == 0 { break }
      filled += got
    }
    return (Array(bytes.prefix(filled)), file.size ?? filled)
  }
}

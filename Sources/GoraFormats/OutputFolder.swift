import Glibc
import GoraCore

/// A folder whose files appear together: made, with its parents, and opened before the work; without `commit` all that was made goes
/// again.
package final class OutputFolder {
  package let path: String
  private var files: [(name: String, file: AtomicFile)] = []
  private var made: [(path: String, entry: TemporaryFiles.Entry)] = []

  /// - Parameters:
  ///   - names: its files, or paths in it, last the one that makes the folder valid.
  ///   - folders: folders in it for what is written on the way.
  /// - Throws: `.cannotCreate` where the folder or one of its files cannot be made, or another run is writing them.
  package init(path: String, files names: [String], folders: [String] = []) throws(GoraError) {
    self.path = path
    do throws(GoraError) {
      let inside = folders + names.map { AtomicFile.split($0).folder }.filter { $0 != "." }
      for folder in [path] + inside.map({ "\(path)/\($0)" }) {
        try makeFolder(folder) { made.append(($0, TemporaryFiles.register(folder: $0))) }
      }
      for name in names { files.append((name, try AtomicFile(path: "\(path)/\(name)"))) }
    } catch {
      discard()
      throw error
    }
  }

  deinit { discard() }

  /// One of the files that it was opened with.
  package subscript(_ name: String) -> AtomicFile {
    guard let found = files.first(where: { $0.name == name }) else { preconditionFailure("\(name) was not opened") }
    return found.file
  }

  /// Gives all files their names.
  package func commit() throws(GoraError) {
    try AtomicFile.commit(files.map(\.file))
    for (_, entry) in made { TemporaryFiles.forget(entry) }
    made = []
  }

  private func discard() {
    files = []
    // A folder that somebody has put something into stays.
    for (path, entry) in made.reversed() {
      rmdir(path)
      TemporaryFiles.forget(entry)
    }
    made = []
  }
}

/// Makes a folder and its parents, as `mkdir -p` does; one that exists is left as it is.
/// - Parameter isMaking: told of each before it is made.
/// - Throws: `.cannotCreate` naming the folder.
package func makeFolder(_ path: String, isMaking: (String) -> Void = { _ in }) throws(GoraError) {
  var status = stat()
  var end = path.utf8.startIndex
  while end != path.utf8.endIndex {
    // Every prefix up to a slash, then the whole path.
    let start = path.utf8.index(after: end)
    end = path.utf8[start...].firstIndex(of: UInt8(ascii: "/")) ?? path.utf8.endIndex
    let prefix = String(path[..<end])
    if stat(prefix, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFDIR else { throw .cannotCreate(path, ENOTDIR) }
      continue
    }
    isMaking(prefix)
    // Somebody else may make it at the same moment.
    if mkdir(prefix, 0o777) != 0, errno != EEXIST { throw .cannotCreate(path, errno) }
    try AtomicFile.syncFolder(AtomicFile.split(prefix).folder, path: path)
  }
  if path.isEmpty { throw .cannotCreate(path, ENOENT) }
}

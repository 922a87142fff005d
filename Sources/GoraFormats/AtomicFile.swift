import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// An output file that appears under its name only when it is whole.
///
/// Bytes go to `.<name>.<pid>.tmp` in the destination folder; `commit` syncs it, renames it and syncs the folder. Without a commit
/// the temporary file is removed when the object goes, or by `TemporaryFiles.unlinkAll` on a signal. A destination that is a device
/// or a pipe (`/dev/null`) is written directly: renaming over it would replace it.
package final class AtomicFile {
  /// The destination as given.
  package let path: String
  /// The file that is being written (another library may write it by name before `commit`).
  package let temporaryPath: String
  private let destination: String
  private let isDirect: Bool
  private var descriptor: Int32
  /// Whether the temporary name is ours to remove.
  private var isPending = false

  /// Creates the temporary file.
  /// - Throws: `.cannotCreate` naming the destination.
  package init(path: String) throws(GoraError) {
    self.path = path
    var destination = path
    var status = stat()
    var isDirect = false
    if stat(path, &status) == 0 {
      let kind = status.st_mode & S_IFMT
      if kind == S_IFDIR { throw .cannotCreate(path, EISDIR) }
      isDirect = kind != S_IFREG
      // A symbolic link stays a link: the file that it leads to is replaced.
      if let real = realpath(path, nil) {
        destination = String(cString: real)
        free(real)
      }
    }
    self.isDirect = isDirect
    self.destination = destination
    if isDirect {
      temporaryPath = destination
      descriptor = open(destination, O_WRONLY | O_CLOEXEC)
    } else {
      let (folder, name) = AtomicFile.split(destination)
      if name.isEmpty || name == "." || name == ".." { throw .cannotCreate(path, EISDIR) }
      temporaryPath = "\(folder)/.\(name).\(getpid()).tmp"
      // Registered before it exists: a signal in between finds nothing to remove, which is harmless.
      TemporaryFiles.register(temporaryPath)
      descriptor = open(temporaryPath, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o666)
    }
    if descriptor < 0 {
      let number = errno
      if !isDirect { TemporaryFiles.forget(temporaryPath) }
      throw .cannotCreate(path, number)
    }
    isPending = !isDirect
  }

  deinit { discard() }

  /// Appends bytes.
  /// - Throws: `.io` with the system's reason (disk full, file too large).
  package func write(_ bytes: UnsafeRawBufferPointer) throws(GoraError) {
    precondition(descriptor >= 0, "the file is committed")
    var done = 0
    while let start = bytes.baseAddress, done < bytes.count {
      // The kernel writes at most 2 GiB a call.
      let count = systemWrite(descriptor, start + done, min(bytes.count - done, 1 << 30))
      if count < 0 {
        if errno == EINTR { continue }
        throw .cannotWrite(path, errno)
      }
      done += count
    }
  }

  /// Appends bytes.
  package func write(_ bytes: [UInt8]) throws(GoraError) {
    let result = bytes.withUnsafeBytes { bytes -> Result<Void, GoraError> in
      do throws(GoraError) { return .success(try self.write(bytes)) } catch { return .failure(error) }
    }
    try result.get()
  }

  /// Syncs, renames, and syncs the folder: afterwards the file is whole under its name, and stays so over a crash.
  package func commit() throws(GoraError) {
    precondition(descriptor >= 0, "the file is committed already")
    do throws(GoraError) {
      // Pipes and character devices cannot be synced.
      if fsync(descriptor) != 0, errno != EINVAL, errno != EROFS { throw .cannotWrite(path, errno) }
      let closing = descriptor
      descriptor = -1
      if close(closing) != 0, errno != EINTR { throw .cannotWrite(path, errno) }
      if isDirect { return }
      if rename(temporaryPath, destination) != 0 { throw .cannotCreate(path, errno) }
      isPending = false
      TemporaryFiles.forget(temporaryPath)
      try AtomicFile.syncFolder(AtomicFile.split(destination).folder)
    } catch {
      discard()
      throw error
    }
  }

  private func discard() {
    if descriptor >= 0 {
      close(descriptor)
      descriptor = -1
    }
    if isPending {
      isPending = false
      unlink(temporaryPath)
      TemporaryFiles.forget(temporaryPath)
    }
  }

  /// Writes a whole file at once.
  package static func write(path: String, bytes: [UInt8]) throws(GoraError) {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.commit()
  }

  /// Writes a whole text at once, as UTF-8.
  package static func write(path: String, text: String) throws(GoraError) { try write(path: path, bytes: Array(text.utf8)) }

  static func split(_ path: String) -> (folder: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
    let folder = path[..<slash]
    return (folder.isEmpty ? "/" : String(folder), String(path[path.utf8.index(after: slash)...]))
  }

  static func syncFolder(_ path: String) throws(GoraError) {
    let folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    // Some file systems do not let a folder be opened or synced; the rename itself has happened.
    if folder < 0 { return }
    defer { close(folder) }
    if fsync(folder) != 0, errno != EINVAL, errno != EROFS { throw .cannotWrite(path, errno) }
  }
}

private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}

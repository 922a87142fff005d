import Glibc
import GoraCore

/// An output file that appears under its name only when it is whole.
///
/// Bytes go to `.<name>.<16 random digits>.tmp` in the destination folder, locked while its writer lives; `commit` syncs it, renames
/// it and syncs the folder. Without a commit the temporary file is removed when the object goes, or by a signal; what SIGKILL leaves
/// is removed by the next writer of the same output, which knows it by the lock that is gone.
///
/// A symbolic link stays a link: the file that it leads to is replaced, or made. A file that is replaced keeps its mode. A
/// destination that is a device or a pipe (`/dev/null`) is written directly: renaming over it would replace it.
package final class AtomicFile {
  /// The destination as given.
  package let path: String
  /// The file that is being written (another library may write it by name before `commit`).
  package let temporaryPath: String
  private let destination: String
  private let isDirect: Bool
  private var descriptor: Int32
  /// The temporary name, while it is ours to remove.
  private var pending: TemporaryFiles.Entry?

  /// Creates the temporary file.
  /// - Throws: `.cannotCreate` naming the destination, also where another run is writing it.
  package init(path: String) throws(GoraError) {
    self.path = path
    destination = try AtomicFile.destination(of: path)
    var status = stat()
    let exists = stat(destination, &status) == 0
    let kind = status.st_mode & S_IFMT
    if exists, kind == S_IFDIR { throw .cannotCreate(path, EISDIR) }
    isDirect = exists && kind != S_IFREG
    if isDirect {
      temporaryPath = destination
      descriptor = open(destination, O_WRONLY | O_CLOEXEC | O_NOCTTY)
      pending = nil
      if descriptor < 0 { throw .cannotCreate(path, errno) }
      return
    }
    let (folder, name) = AtomicFile.split(destination)
    if name.isEmpty || name == "." || name == ".." { throw .cannotCreate(path, EISDIR) }
    // Renaming would not ask for it.
    if exists, access(destination, W_OK) != 0 { throw .cannotCreate(path, errno) }
    (temporaryPath, descriptor, pending) = try AtomicFile.create(in: folder, name, path: path, mode: exists ? 0o600 : 0o666)
    if exists {
      // Only the superuser may give files away; for others the mode alone is kept.
      _ = fchown(descriptor, status.st_uid, status.st_gid)
      fchmod(descriptor, status.st_mode & 0o777)
    }
    try AtomicFile.removeLeftovers(of: path, except: temporaryPath)
  }

  deinit { discard() }

  /// Whether it has been given its name, or was given up.
  package var isClosed: Bool { descriptor < 0 }

  /// Makes a temporary file of a new name, and locks it.
  private static func create(
    in folder: String, _ name: String, path: String, mode: mode_t
  ) throws(GoraError) -> (path: String, descriptor: Int32, entry: TemporaryFiles.Entry) {
    while true {
      let temporary = "\(folder)/.\(name).\(randomDigits()).tmp"
      let entry = TemporaryFiles.register(temporary)
      let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)
      guard descriptor >= 0 else {
        let number = errno
        TemporaryFiles.forget(entry)
        if number == EEXIST { continue }
        throw .cannotCreate(path, number)
      }
      // A writer that looks for leftovers may have seen the file before its lock, and taken it for one.
      let isTaken = flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
      var status = stat()
      if !isTaken, fstat(descriptor, &status) == 0, status.st_nlink > 0 { return (temporary, descriptor, entry) }
      unlink(temporary)
      TemporaryFiles.forget(entry)
      close(descriptor)
    }
  }

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
  package func commit() throws(GoraError) { try AtomicFile.commit([self]) }

  /// Commits files that belong together, such as those of a folder, of which the last makes it valid: no reader finds old and new ones
  /// together.
  ///
  /// The old files go first, beginning with the one that makes the folder valid, and come back where a new one cannot be put in
  /// place. A process that is killed in between leaves a folder that readers call incomplete, and no signal falls there.
  package static func commit(_ files: [AtomicFile]) throws(GoraError) {
    do throws(GoraError) {
      for file in files { try file.seal() }
      try TemporaryFiles.undisturbed { () throws(GoraError) in
        let replaced = files.count > 1 ? try setAside(files) : []
        var placed: [AtomicFile] = []
        do throws(GoraError) {
          for file in files {
            try file.place()
            placed.append(file)
          }
        } catch {
          for file in placed where !file.isDirect { unlink(file.destination) }
          for (aside, destination) in replaced.reversed() { rename(aside, destination) }
          throw error
        }
        for (aside, _) in replaced { unlink(aside) }
      }
      for folder in Set(files.filter { !$0.isDirect }.map { split($0.destination).folder }).sorted() {
        try syncFolder(folder, path: files.last?.path ?? folder)
      }
    } catch {
      for file in files { file.discard() }
      throw error
    }
    for file in files { file.discard() }
  }

  /// Gives the file its name and goes on writing it in place, locked.
  package func publish() throws(GoraError) {
    do throws(GoraError) {
      try sync()
      try place()
      if !isDirect { try AtomicFile.syncFolder(AtomicFile.split(destination).folder, path: path) }
    } catch {
      discard()
      throw error
    }
  }

  /// Syncs and closes, which is when a disk may first say that it is full.
  private func seal() throws(GoraError) {
    precondition(descriptor >= 0, "the file is committed already")
    try sync()
    // The lock outlives this descriptor in a copy of it, so that nobody takes the file for a leftover before it has its name.
    let lock = isDirect ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    let closing = descriptor
    descriptor = lock
    if close(closing) != 0, errno != EINTR { throw .cannotWrite(path, errno) }
  }

  private func sync() throws(GoraError) {
    // Pipes and character devices cannot be synced.
    if fsync(descriptor) != 0, errno != EINVAL, errno != EROFS { throw .cannotWrite(path, errno) }
  }

  private func place() throws(GoraError) {
    guard let entry = pending else { return }
    if rename(temporaryPath, destination) != 0 { throw .cannotCreate(path, errno) }
    pending = nil
    TemporaryFiles.forget(entry)
  }

  /// Renames what stands under the files' names, last first.
  private static func setAside(_ files: [AtomicFile]) throws(GoraError) -> [(aside: String, destination: String)] {
    var replaced: [(aside: String, destination: String)] = []
    for file in files.reversed() where !file.isDirect {
      let (folder, name) = split(file.destination)
      let aside = "\(folder)/.\(name).\(randomDigits()).tmp"
      if rename(file.destination, aside) == 0 {
        replaced.append((aside, file.destination))
      } else if errno != ENOENT {
        let number = errno
        for (aside, destination) in replaced.reversed() { rename(aside, destination) }
        throw .cannotCreate(file.path, number)
      }
    }
    return replaced
  }

  private func discard() {
    if let entry = pending {
      pending = nil
      unlink(temporaryPath)
      TemporaryFiles.forget(entry)
    }
    if descriptor >= 0 {
      close(descriptor)
      descriptor = -1
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

  // MARK: Leftovers and other runs

  /// Removes the temporary files that killed writers of an output left.
  /// - Parameter except: the caller's own.
  /// - Throws: `.cannotCreate` where another run is writing the same output.
  package static func removeLeftovers(of path: String, except own: String? = nil) throws(GoraError) {
    let (folder, name) = split(try destination(of: path))
    guard let listing = opendir(folder) else { return }
    defer { closedir(listing) }
    let (beginning, end) = (Array(".\(name).".utf8), Array(".tmp".utf8))
    while let entry = readdir(listing) {
      let found = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      guard found.count == beginning.count + 16 + end.count, found.starts(with: beginning), found.suffix(end.count) == end[...],
        found[beginning.count..<beginning.count + 16].allSatisfy({ digits.contains($0) })
      else { continue }
      let file = "\(folder)/\(String(decoding: found, as: UTF8.self))"
      if file != own, try isLocked(file, orElse: { unlink(file) }) { throw busy(path) }
    }
  }

  /// - Throws: `.cannotCreate` where another run holds a file open that it has published.
  package static func requireUnlocked(_ path: String) throws(GoraError) {
    if try isLocked(path, orElse: {}) { throw busy(path) }
  }

  private static func busy(_ path: String) -> GoraError {
    GoraError(
      .cannotCreate, at: .file(path), "another run is writing it", hint: "wait until that run has ended, or name another output")
  }

  /// Whether a living process has the regular file locked; where none has, `body` is run under our lock.
  private static func isLocked(_ path: String, orElse body: () -> Void) throws(GoraError) -> Bool {
    let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
    if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
      body()
      return false
    }
    // A file system without locks says nothing about the writer.
    return errno == EWOULDBLOCK
  }

  private static let digits = Array("0123456789abcdef".utf8)

  private static func randomDigits() -> String {
    let text = String(UInt64.random(in: 0 ... .max), radix: 16)
    return String(repeating: "0", count: 16 - text.utf8.count) + text
  }

  // MARK: Paths

  /// The file that a path leads to over symbolic links, whether or not it is there.
  static func destination(of path: String) throws(GoraError) -> String {
    // A pipe's link below /proc leads to no path.
    var status = stat()
    if stat(path, &status) == 0, ![S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) { return path }
    var destination = path
    for _ in 0..<40 {
      var target = [UInt8](repeating: 0, count: 4097)
      let count = readlink(destination, &target, target.count)
      if count < 0 { return destination }
      guard count < target.count, let text = String(validating: target[..<count], as: UTF8.self) else {
        throw .cannotCreate(path, EILSEQ)
      }
      destination = text.hasPrefix("/") ? text : "\(split(destination).folder)/\(text)"
    }
    throw .cannotCreate(path, ELOOP)
  }

  static func split(_ path: String) -> (folder: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
    let folder = path[..<slash]
    return (folder.isEmpty ? "/" : String(folder), String(path[path.utf8.index(after: slash)...]))
  }

  static func syncFolder(_ folder: String, path: String) throws(GoraError) {
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    // Some file systems do not let a folder be opened or synced; the rename itself has happened.
    if descriptor < 0 { return }
    defer { close(descriptor) }
    if fsync(descriptor) != 0, errno != EINVAL, errno != EROFS {
      throw GoraError(
        .io, at: .file(path), "written, but a power cut may undo it: its folder cannot be synchronised: \(systemMessage(errno))")
    }
  }
}

private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}

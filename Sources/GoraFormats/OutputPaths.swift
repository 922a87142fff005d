import GoraCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Makes a folder and its parents, as `mkdir -p` does; one that exists is left as it is.
/// - Throws: `.cannotCreate` naming the folder.
package func makeFolder(_ path: String) throws(GoraError) {
  var status = stat()
  var end = path.utf8.startIndex
  while end != path.utf8.endIndex {
    // Every prefix up to a slash, then the whole path.
    let start = path.utf8.index(after: end)
    end = path.utf8[start...].firstIndex(of: UInt8(ascii: "/")) ?? path.utf8.endIndex
    let prefix = String(path[..<end])
    if mkdir(prefix, 0o777) == 0 { continue }
    let number = errno
    if stat(prefix, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFDIR else { throw .cannotCreate(path, ENOTDIR) }
    } else {
      throw .cannotCreate(path, number)
    }
  }
  if path.isEmpty { throw .cannotCreate(path, ENOENT) }
}

/// Refuses an output that is one of the inputs, by device and inode, so that links are seen through.
/// - Throws: `.usage` naming both.
package func refuseOverwrite(of inputs: [String], output: String) throws(GoraError) {
  var written = stat()
  guard stat(output, &written) == 0, written.st_mode & S_IFMT != S_IFCHR else { return }
  for input in inputs {
    var read = stat()
    if stat(input, &read) == 0, read.st_dev == written.st_dev, read.st_ino == written.st_ino {
      throw GoraError(
        .usage, at: .file(output), "the output is also the input \"\(input)\"", hint: "name another output with -o")
    }
  }
}

/// Whether something of that name exists (access).
package func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Removes those of the folders that are empty, in order (rmdir).
package func removeEmptyFolders(_ paths: [String]) {
  for path in paths { rmdir(path) }
}

/// Removes what killed processes left in a folder that is one run's own: temporary files of `AtomicFile` whose process is gone.
package func removeLeftovers(in folder: String) {
  guard let listing = opendir(folder) else { return }
  defer { closedir(listing) }
  while let entry = readdir(listing) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(cString: $0.bindMemory(to: CChar.self).baseAddress!) }
    // `.<name>.<pid>.tmp`
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count >= 4, parts[0].isEmpty, parts.last == "tmp", let process = pid_t(parts[parts.count - 2]), process > 0 else {
      continue
    }
    if kill(process, 0) != 0, errno == ESRCH { unlink("\(folder)/\(name)") }
  }
}

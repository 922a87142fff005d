import Glibc
import GoraCore

/// Refuses outputs that would write over an input, become part of one, or write over each other, whatever paths lead to them: files
/// are told apart by device and inode, files that are not there yet by those of the folder and their names.
///
/// - Parameters:
///   - outputs: every file that the run will write: results, logs, samples, checkpoints, each file of a folder.
///   - inputs: files and folders as given, `-` for standard input. Of a folder every file counts that a reader of checkpoints or
///     adapters may look for, and every one that does not look like a result beside them.
/// - Throws: `.usage` naming both.
package func checkOutputs(_ outputs: [String], against inputs: [String]) throws(GoraError) {
  let read = InputFiles(inputs)
  var written: [(path: String, place: FilePlace)] = []
  for output in outputs {
    guard let place = FilePlace(try AtomicFile.destination(of: output)) else { continue }
    if let input = read.input(at: place) {
      throw GoraError(.usage, at: .file(output), "the output is also the input \"\(input)\"", hint: "name another output")
    }
    if let folder = read.folder(thatReads: place) {
      throw GoraError(
        .usage, at: .file(output), "the output would become a part of the input \"\(folder)\"", hint: "name another output")
    }
    if let other = written.first(where: { $0.place.collides(with: place) }) {
      throw GoraError(
        .usage, at: .file(output), "the output is also the output \"\(other.path)\"", hint: "give each output a file of its own")
    }
    written.append((output, place))
  }
}

/// Where a file is or would be: the last thing on its path that exists, and the names that follow.
private struct FilePlace: Hashable {
  let device: UInt64
  let inode: UInt64
  let names: [String]

  /// nil for devices and pipes, which nothing writes over, and for paths that lead nowhere.
  init?(_ path: String) {
    var status = stat()
    var rest = path
    var names: [String] = []
    while stat(rest, &status) != 0 {
      guard rest != ".", rest != "/", !rest.isEmpty else { return nil }
      let (folder, name) = AtomicFile.split(rest)
      if !name.isEmpty, name != "." { names.insert(name, at: 0) }
      rest = folder
    }
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFREG || kind == S_IFDIR else { return nil }
    self.init(status, names)
  }

  init(_ status: stat, _ names: [String] = []) {
    self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino), names: names)
  }

  init(device: UInt64, inode: UInt64, names: [String]) {
    self.device = device
    self.inode = inode
    self.names = names
  }

  /// The same file, or one where the other needs a folder.
  func collides(with other: FilePlace) -> Bool {
    guard device == other.device, inode == other.inode else { return false }
    return names.starts(with: other.names) || other.names.starts(with: names)
  }
}

/// What the inputs of a run are on the disk.
private struct InputFiles {
  private var files: [FilePlace: String] = [:]
  private var folders: [FilePlace: String] = [:]

  init(_ inputs: [String]) {
    for input in inputs {
      var status = stat()
      // A missing input is for its reader to tell.
      guard (input == "-" ? fstat(STDIN_FILENO, &status) : stat(input, &status)) == 0 else { continue }
      switch status.st_mode & S_IFMT {
      case S_IFREG:
        files[FilePlace(status)] = input == "-" ? "standard input" : input
        for other in GGUFFile.others(than: input) where stat(other, &status) == 0 { files[FilePlace(status)] = other }
      case S_IFDIR:
        folders[FilePlace(status)] = input
        addFiles(in: input)
      default: break
      }
    }
  }

  private mutating func addFiles(in folder: String) {
    guard let listing = opendir(folder) else { return }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: Int(entry.pointee.d_reclen)) { String(cString: $0) }
      }
      var status = stat()
      guard Self.isRead(name) || !Self.isResult(name), stat("\(folder)/\(name)", &status) == 0,
        status.st_mode & S_IFMT == S_IFREG
      else { continue }
      files[FilePlace(status)] = "\(folder)/\(name)"
    }
  }

  func input(at place: FilePlace) -> String? { files[place] }

  /// The input folder whose readers would take the new file for a part of it.
  func folder(thatReads place: FilePlace) -> String? {
    guard place.names.count == 1, Self.isRead(place.names[0]) else { return nil }
    return folders[FilePlace(device: place.device, inode: place.inode, names: [])]
  }

  /// Whether readers of checkpoints and adapters look for files of this name.
  private static func isRead(_ name: String) -> Bool {
    for end in [".safetensors", ".index.json", "config.json", ".jinja", ".model", ".bin"] where name.hasSuffix(end) {
      return true
    }
    for start in ["tokenizer", "special_tokens_map", "added_tokens", "chat_template", "vocab.", "merges."]
    where name.hasPrefix(start) { return true }
    return false
  }

  /// Whether it is the name of what stages write beside a checkpoint or adapter, such as a log in `tuned/`, and may write again.
  private static func isResult(_ name: String) -> Bool {
    for end in [".json", ".jsonl", ".h5", ".html", ".svg", ".txt", ".log"] where name.hasSuffix(end) { return true }
    return false
  }
}

/// Whether something of that name exists (access).
package func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
